"""A platform in memory: it takes messages, says what became of them, and delivers until it is
acknowledged."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

from domain.credentials import Credentials
from domain.inbound import Address, AnyOccurrence, Content, MessageOccurred, Person, ReceiptOccurred
from domain.outbound import (
    Accepted,
    Deferred,
    NotReached,
    OutboundMessage,
    Rejected,
    SendAnswer,
    Unsettled,
    VerificationAnswer,
    Verified,
)
from domain.ports import Clock, Unavailable
from tests.simulation.machine import Gone, Machine, Weather

# One that says what became of messages, and one that knows a message again by its key (N3).
PLATFORMS = ("whatsapp", "line")
TOKEN = "token"
RETRY_SECONDS_MAX = 8.0


@dataclass
class Webhook:
    """One delivery: when it was first sent, and since when it need not be sent again."""

    occurrences: Sequence[AnyOccurrence]
    sent_at: float
    acknowledged_at: float | None = None


@dataclass
class Taken:
    """A message that the platform has accepted, whether or not its sender ever learnt so."""

    mark: str
    text: str | None
    platform_id: str


async def _nowhere(_occurrences: Sequence[AnyOccurrence]) -> None:
    """Until somebody says who answers."""


@dataclass
class Platform:
    """Everybody's platform. `send_to` delivers one webhook to whatever machine answers there."""

    name: str
    weather: Weather
    clock: Clock
    webhooks: list[Webhook] = field(default_factory=list)
    taken: list[Taken] = field(default_factory=list)
    send_to: Callable[[Sequence[AnyOccurrence]], Awaitable[None]] = _nowhere
    deliveries: set["asyncio.Task[None]"] = field(default_factory=set)
    _numbers: "count[int]" = field(default_factory=lambda: count(1))

    # Its customers.

    def message(self, account_id: str, phone: str, *, echo: bool = False) -> MessageOccurred:
        number = next(self._numbers)
        return MessageOccurred(
            kind="message.text",
            account_id=account_id,
            business_account_id=None,
            at=self.clock.now(),
            dedupe=(f"in{number}", "message"),
            platform_id=f"in{number}",
            person=Person(addresses=(Address("phone", phone),), name=f"Customer {phone}"),
            content=Content(text=f"message {number}"),
            echo=echo,
        )

    def post(self, occurrences: Sequence[AnyOccurrence], *, doubles: bool = False) -> None:
        """Deliver until it is acknowledged; `doubles`: twice at once, whatever is answered."""
        webhook = Webhook(occurrences, asyncio.get_running_loop().time())
        self.webhooks.append(webhook)
        for _ in range(2 if doubles else 1):
            task = asyncio.create_task(self._deliver(webhook))
            self.deliveries.add(task)
            task.add_done_callback(self.deliveries.discard)

    async def _deliver(self, webhook: Webhook) -> None:
        chance = self.weather.chance
        while True:
            try:
                await self.send_to(webhook.occurrences)
            except (Gone, Unavailable):
                await asyncio.sleep(0.1 + chance.random() * RETRY_SECONDS_MAX)
            else:
                if webhook.acknowledged_at is None:
                    webhook.acknowledged_at = asyncio.get_running_loop().time()
                return

    # What it is asked.

    def seen_from(self, machine: Machine) -> "Line":
        return Line(self, machine)

    def taken_before(self, message: OutboundMessage) -> Accepted | None:
        """What it answered when it took this message, where it knows messages again."""
        if self.name != "line":
            return None
        known = [each.platform_id for each in self.taken if each.mark == message.mark]
        return Accepted(platform_id=known[0]) if known else None

    def take(self, message: OutboundMessage) -> Accepted:
        taken = Taken(message.mark, message.content.text, f"out{next(self._numbers)}")
        self.taken.append(taken)
        if self.name == "line":
            return Accepted(platform_id=taken.platform_id)
        statuses = ["sent", "delivered", "read"]
        self.weather.chance.shuffle(statuses)
        for status in statuses:
            self.post([self._receipt(taken, status, message.account_id)])
        return Accepted(platform_id=taken.platform_id)

    def _receipt(self, taken: Taken, status: str, account_id: str) -> ReceiptOccurred:
        return ReceiptOccurred(
            kind=f"status.{status}",
            account_id=account_id,
            business_account_id=None,
            at=self.clock.now(),
            dedupe=(taken.platform_id, status),
            platform_id=taken.platform_id,
            status=status,
            person=Person(addresses=()),
            sent_by_us=taken.mark,
        )


@dataclass
class Line:
    """The platform as one machine reaches it."""

    platform: Platform
    machine: Machine

    async def send(self, message: OutboundMessage, credentials: Credentials) -> SendAnswer:
        assert credentials["access_token"] == TOKEN
        weather = self.machine.weather
        await self.machine.travel()
        if weather.is_platform_away:
            return Deferred(reason="unreachable")
        before = self.platform.taken_before(message)
        if weather.loses():
            answers: list[SendAnswer] = [
                Unsettled(reason="lost before it was taken"),
                Deferred(reason="limited", retry_after_seconds=1),
                before or Rejected(reason="undeliverable", code=131026, detail=""),
            ]
            return weather.chance.choice(answers)
        accepted = before or self.platform.take(message)
        is_lost = weather.loses()
        await self.machine.travel()
        return Unsettled(reason="lost after it was taken") if is_lost else accepted

    async def verify(self, account_id: str, credentials: Credentials) -> VerificationAnswer:
        await self.machine.travel()
        await self.machine.travel()
        if self.machine.weather.is_platform_away:
            return NotReached(reason="unreachable")
        return Verified()
