"""Who takes part in the day, and what all of them do again and again."""

from dataclasses import dataclass, field
from typing import Any

from rich.text import Text

from api.cli.demo import recorded
from api.cli.demo.screen import SERVICES, Screen, clock_time, customer, line, number, service
from api.cli.demo.stage import Person, Stage, expect

TODAY = "Sat "


@dataclass
class Day:
    """Where the story stands, and who takes part in it."""

    stage: Stage
    screen: Screen
    channel_id: str
    aiko: Person  # Sells: works in CRM.
    ben: Person  # Helps: works in Desk, and may look into CRM.
    carmen: Person  # Helps too: works in Desk and SalesIQ, and sees nothing of CRM.
    chats: dict[str, str] = field(default_factory=dict)  # By the name of their customer.

    def move_to(self, written: str) -> None:
        """Let the clock go on to a moment such as `0509-0930`."""
        self.stage.clock.move_to(recorded.at(written))

    def viewers(self) -> tuple[tuple[Person, str], ...]:
        """Somebody for each service."""
        return (self.aiko, "crm"), (self.ben, "desk"), (self.carmen, "salesiq")

    def path(self, service: str, customer: str) -> str:
        """Where a service has the chat with a customer."""
        return f"/v1/services/{service}/chats/{self.chats[customer]}"

    async def timeline(self, viewer: Person, service: str, customer: str) -> list[dict[str, Any]]:
        """The messages of a chat as a service is shown them, oldest first."""
        shown = await viewer.get(f"{self.path(service, customer)}/messages?limit=200")
        items: list[dict[str, Any]] = shown["items"]
        return items[::-1]

    async def write(
        self, author: Person, service: str, customer: str, body: dict[str, Any]
    ) -> dict[str, Any]:
        """Queue an answer; returns it as its author was shown it, once WhatsApp has it too."""
        asked = len(self.stage.platform.accepted)
        path = f"{self.path(service, customer)}/messages"
        written: dict[str, Any] = await author.post(path, body, status=202)

        async def accepted() -> int:
            return len(self.stage.platform.accepted)

        await self.stage.until(accepted, lambda count: bool(count > asked), "the answer is sent")
        return written

    async def status_of(
        self, author: Person, service: str, customer: str, sent: dict[str, Any], wanted: str
    ) -> str:
        """Wait until a message has this status; the other services must be shown it too."""

        async def look(viewer: Person = author, viewing: str = service) -> str:
            shown = await self.timeline(viewer, viewing, customer)
            (status,) = [each["status"] for each in shown if each["id"] == sent["id"]]
            return str(status)

        status: str = await self.stage.until(
            look, lambda seen: bool(seen == wanted), f"the answer to {customer} is {wanted}"
        )
        for viewer, viewing in self.viewers():
            expect(
                await look(viewer, viewing) == status,
                f"{SERVICES[viewing]} is shown the same status",
            )
        return status


async def show_inboxes(day: Day) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The inboxes of CRM and Desk side by side, as Aiko and Carmen have them."""
    crm = (await day.aiko.get("/v1/services/crm/chats"))["items"]
    desk = (await day.carmen.get("/v1/services/desk/chats"))["items"]
    day.chats = {customer(chat): chat["id"] for chat in crm}
    day.screen.comparison(
        "Time",
        "Customer",
        Text.assemble("Last in ", service("crm")),
        "New",
        Text.assemble("Last in ", service("desk")),
        "New",
        rows=[
            (
                _time(left),
                customer(left),
                line(left["last_message"]),
                number(left["unread"]),
                line(right["last_message"]),
                number(right["unread"]),
            )
            for left, right in zip(crm, desk, strict=True)
        ],
        wide=(2, 4),
        cut=True,
    )
    return crm, desk


def _time(chat: dict[str, Any]) -> str:
    at = clock_time(chat["last_activity_at"], day=True)
    return at.removeprefix(TODAY)
