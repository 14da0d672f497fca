"""What tests ask an inbox."""

from typing import Any

from projections.engine.sealed_parts import SealedPart
from projections.inbox.queries import ChatFilters, View, chat, chats_page
from projections.inbox.rows import ChatRow, MessageRow
from tests.projections.histories import Projected


class Lists(Projected):
    """What the services of one org have in their lists."""

    async def listed(
        self, service: str, view: View = "all", viewer: str = "ann", **filters: Any
    ) -> list[str]:
        page = await chats_page(
            self.connection,
            org=self.org,
            service=service,
            view=view,
            viewer=viewer,
            filters=ChatFilters(**filters),
            limit=50,
        )
        return [row.chat_id for row in page]

    async def chat(self, service: str, chat_id: str = "a") -> ChatRow:
        row = await chat(self.connection, org=self.org, service=service, chat_id=chat_id)
        assert row is not None
        return row

    async def is_connected(self, service: str, chat_id: str = "a") -> bool | None:
        """None where the service has no such chat."""
        row = await chat(self.connection, org=self.org, service=service, chat_id=chat_id)
        return row.connected if row else None


def text(part: SealedPart | None) -> str | None:
    return part.sealed.box.decode() if part else None


def last(row: ChatRow) -> tuple[str, str]:
    message: MessageRow = row.last_message
    return message.message_id, message.status
