"""A short day on one platform: in, out, receipts, an outage, a lost answer, everything again.

Nothing here knows which platform it is: a customer is an address, and what they write a text.
"""

from dataclasses import dataclass, field
from typing import Any

from rich.text import Text

from api.cli.demo.screen import Screen, number, ticks
from api.cli.demo.stage import Person, Stage, expect
from api.main import Pretended

NAMES = {
    "whatsapp": "WhatsApp",
    "messenger": "Messenger",
    "line": "LINE",
    "telegram": "Telegram",
    "wechat": "WeChat",
}
SERVICE = "crm"
CUSTOMERS = ("Ayumi", "Boris", "Chloé")
MORNING = ("Good morning! This is {}.", "Is the blue vase still there?", "I would come at noon.")
ANSWERS = ("Good morning, {}!", "It is. We keep it for you.")
NEWS = ("We close at five today.", "The vase is wrapped, {}.")
LOST = "One more thing, {}: bring the coupon."

# The longest pause between two tries, and half of that again.
SEND_SECONDS_MAX = 90.0

# What may become of a message whose answer was lost.
SETTLED = ("sent", "delivered", "read")


@dataclass
class PlatformDay:
    """Where the day stands: what was written, and what was asked for."""

    stage: Stage
    screen: Screen
    platform: str
    one: Pretended
    agent: Person
    addresses: dict[str, str]  # By the customer's name.
    chats: dict[str, str] = field(default_factory=dict)
    written: dict[str, list[str]] = field(default_factory=dict)
    asked: dict[str, list[str]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As people call the platform."""
        return NAMES[self.platform]

    async def hears(self, customer: str, text: str) -> None:
        """A customer writes, and the webhook is acknowledged."""
        self.one.says(self.addresses[customer], text)
        self.written.setdefault(customer, []).append(text)
        await self.one.fake.settled()

    async def answers(self, customer: str, text: str) -> dict[str, Any]:
        """The agent writes; the answer is queued."""
        path = f"/v1/services/{SERVICE}/chats/{self.chats[customer]}/messages"
        self.asked.setdefault(customer, []).append(text)
        shown: dict[str, Any] = await self.agent.post(
            path, {"kind": "text", "text": text}, status=202
        )
        return shown

    async def timeline(self, customer: str) -> list[dict[str, Any]]:
        """What the agent sees of a chat, oldest first."""
        path = f"/v1/services/{SERVICE}/chats/{self.chats[customer]}/messages?limit=200"
        items: list[dict[str, Any]] = (await self.agent.get(path))["items"]
        return items[::-1]

    async def texts(self, customer: str, direction: str) -> list[str]:
        """Their texts, oldest first."""
        shown = await self.timeline(customer)
        return [each["content"]["text"] for each in shown if each["direction"] == direction]

    async def statuses(self, customer: str) -> list[str]:
        """The statuses of the answers."""
        shown = await self.timeline(customer)
        return [each["status"] for each in shown if each["direction"] == "outbound"]

    def taken(self, customer: str) -> list[str | None]:
        """What the platform has taken for a customer, in its own order."""
        address = self.addresses[customer]
        return [each.text for each in self.one.fake.accepted if each.to == address]

    async def until_all_are_taken(self) -> None:
        """Wait until the platform has every answer, and Trunkline knows what became of it."""

        async def look() -> list[str]:
            await self.one.fake.settled()
            return [status for each in self.asked for status in await self.statuses(each)]

        await self.stage.until(
            look,
            lambda seen: "queued" not in seen,
            f"every answer is sent to {self.name}",
            within_seconds=SEND_SECONDS_MAX,
        )


async def play_on(stage: Stage, screen: Screen, platform: str, one: Pretended) -> None:
    """The whole day, section by section. Raises NotAsExpected."""
    screen.opening(
        f"A day on {NAMES[platform]}",
        f"A whole Trunkline at {stage.http.base_url}, with a database of its own, and a stand-in "
        f"for {NAMES[platform]} at {one.fake.base_url} that behaves as badly as the real one may.",
    )
    day = await _connect(stage, screen, platform, one)
    await _receive(day)
    await _repeat(day)
    await _answer(day)
    await _survive_an_outage(day)
    await _lose_an_answer(day)
    await _prove(day)


async def _connect(stage: Stage, screen: Screen, platform: str, one: Pretended) -> PlatformDay:
    await stage.found("Hanamizuki Flowers")
    service = {"subscription": "bundled", "reply_requires_ownership": False}
    await stage.admin.put(f"/v1/services/{SERVICE}", service)
    body = {
        "service": SERVICE,
        "platform": platform,
        "account_id": one.account_id,
        "name": NAMES[platform],
        "credentials": dict(one.credentials),
    }
    await stage.admin.post("/v1/channels", body, status=201)
    one.fake.deliver_to(str(stage.http.base_url.join(f"/webhooks/{platform}")))
    agent = await stage.hire("Aiko Mori", "agent", {SERVICE: "reply"})
    ends = range(1, len(CUSTOMERS) + 1)
    addresses = {
        name: f"{one.customer[:-1]}{end}" for name, end in zip(CUSTOMERS, ends, strict=True)
    }
    return PlatformDay(stage, screen, platform, one, agent, addresses)


async def _receive(day: PlatformDay) -> None:
    day.screen.section(
        "The morning's messages",
        f"Three customers write on {day.name}. Each webhook is acknowledged when it is durable.",
    )
    for text in MORNING:
        for name in CUSTOMERS:
            await day.hears(name, text.format(name))
    await day.stage.catch_up()
    chats = (await day.agent.get(f"/v1/services/{SERVICE}/chats"))["items"]
    expect(len(chats) == len(CUSTOMERS), "each customer has one chat")
    for chat in chats:
        path = f"/v1/services/{SERVICE}/chats/{chat['id']}/messages?limit=200"
        first = (await day.agent.get(path))["items"][-1]["content"]["text"]
        name = next(each for each in CUSTOMERS if MORNING[0].format(each) == first)
        day.chats[name] = chat["id"]
    await _show(day)
    await _expect_whole(day)
    day.screen.checked("Nine messages in three chats, each once and in its customer's order.")


async def _repeat(day: PlatformDay) -> None:
    day.screen.section(
        "Everything again",
        f"{day.name} delivers every webhook once more, in another order.",
    )
    await day.stage.catch_up()
    before = day.stage.position
    count = len(day.one.fake.deliveries)
    day.one.fake.deliver_again()
    await day.one.fake.settled()
    expect(all(each.is_done for each in day.one.fake.deliveries), "all of it is acknowledged")
    await day.stage.catch_up()
    expect(day.stage.position == before, "nothing was written down again")
    await _expect_whole(day)
    day.screen.checked(f"{count} deliveries came again; the log still ends at {before}.")


async def _answer(day: PlatformDay) -> None:
    day.screen.section("Answers", "Aiko answers everybody, twice at once: the order is kept.")
    for name in CUSTOMERS:
        for text in ANSWERS:
            await day.answers(name, text.format(name))
    await day.until_all_are_taken()
    await _show(day)
    await _expect_whole(day)
    day.screen.checked(f"{day.name} has six answers, each once and in order.")


async def _survive_an_outage(day: PlatformDay) -> None:
    day.screen.section(
        "The platform is down",
        f"{day.name} refuses connections, and Aiko writes on. What is queued is kept, and tried "
        "until it is taken.",
    )
    fake = day.one.fake
    await fake.go_down()
    before = len(fake.accepted)
    for name in CUSTOMERS:
        for text in NEWS:
            await day.answers(name, text.format(name))
    rows: list[tuple[str | Text, ...]] = []
    for name in CUSTOMERS:
        await day.stage.catch_up()
        rows.append((name, "while it is down", *map(ticks, (await day.statuses(name))[-2:])))
    expect(len(fake.accepted) == before, "nothing was taken while it was down")
    await fake.come_back()
    await day.until_all_are_taken()
    for name in CUSTOMERS:
        rows.append((name, "when it is back", *map(ticks, (await day.statuses(name))[-2:])))
    await _expect_whole(day)
    day.screen.table("To", "", "The first", "The second", rows=rows)
    day.screen.checked("Everything arrived, once; no later answer overtook an earlier one.")


async def _lose_an_answer(day: PlatformDay) -> None:
    day.screen.section(
        "A lost answer",
        f"{day.name} takes a message and hangs up before it says so. Trunkline never sends blindly "
        "again what may have arrived: it finds out, or says that it does not know.",
    )
    day.one.fake.next_requests(day.one.loses_answer)
    name = CUSTOMERS[0]
    await day.answers(name, LOST.format(name))
    await day.until_all_are_taken()
    status = (await day.statuses(name))[-1]
    expect(status in (*SETTLED, "uncertain"), "it is settled, or shown as uncertain")
    expect(day.taken(name).count(LOST.format(name)) == 1, f"{day.name} has it once")
    says = "what it did is known" if status in SETTLED else "Aiko may retry or discard it"
    day.screen.table("To", "Shown as", "", rows=[(name, ticks(status), says)])
    day.screen.checked(f"{day.name} has the message once.")


async def _prove(day: PlatformDay) -> None:
    day.screen.section("The evening", "What was written, and what is there.")
    rows = []
    for name in CUSTOMERS:
        heard, shown = day.written[name], await day.texts(name, "inbound")
        asked, taken = day.asked[name], day.taken(name)
        in_order = shown == heard and taken == asked
        rows.append(
            (
                name,
                number(len(heard)),
                number(len(shown)),
                number(len(asked)),
                number(len(taken)),
                Text("kept" if in_order else "broken", style="green" if in_order else "red"),
            )
        )
    day.screen.table("Customer", "Wrote", "In the inbox", "Answers", "Taken", "Order", rows=rows)
    await _expect_whole(day)
    events, head = await day.stage.verified()
    day.screen.checked(
        f"Nothing lost, nothing doubled; the chain of {events} events is whole ({head[:16]}…)."
    )


async def _show(day: PlatformDay) -> None:
    rows = []
    for name in CUSTOMERS:
        for shown in await day.timeline(name):
            is_theirs = shown["direction"] == "inbound"
            author = name if is_theirs else f"Aiko to {name}"
            status = Text("received", style="dim") if is_theirs else ticks(shown["status"])
            rows.append((author, shown["content"]["text"], status))
    day.screen.table("Who", "What", "Status", rows=rows)


async def _expect_whole(day: PlatformDay) -> None:
    """Nothing lost, nothing doubled, the order kept, on both ways."""
    await day.stage.catch_up()
    for name in CUSTOMERS:
        heard, asked = day.written.get(name, []), day.asked.get(name, [])
        expect(await day.texts(name, "inbound") == heard, f"{name}'s messages are shown as written")
        expect(await day.texts(name, "outbound") == asked, f"the answers to {name} are shown")
        expect(day.taken(name) == asked, f"{day.name} has the answers to {name}, once, in order")
