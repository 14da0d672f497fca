"""The messages that wait to be sent, over all organisations, for the dispatcher (N3, N4)."""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, Literal

import msgspec
from psycopg.rows import class_row, dict_row

from domain import contact
from domain.contact import AddressAdded
from domain.dispatch_ports import PassedOver
from domain.event import Recorded, Sealed
from projections.engine import named_sql
from projections.engine.bulk import columns_by_name
from projections.engine.projection import Connection
from projections.outbox.batch import FOLDED, WIDE, apply_to_all, fold

SQL = named_sql.load(__file__)
DUE = SQL["due_messages"] + SQL["outgoing"]
OUTGOING = SQL["one_message"] + SQL["outgoing"]

NOBODY = PassedOver()

_sealed = msgspec.json.Decoder(Sealed)


class Recipient(msgspec.Struct, frozen=True, kw_only=True):
    """One address of the customer, or of the group; the oldest comes first."""

    kind: str
    address: Sealed
    stream: str  # The address is sealed for this stream,
    stored_type: str  # and this type of event.
    wrapped_key: bytes | None  # None: erased.


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """A message whose turn has come, with all that sending it takes."""

    org: int
    chat_id: str
    message_id: str
    platform: str
    account_id: str
    kind: str
    content: Sealed  # For the chat's stream and `chat.reply_requested`.
    wrapped_key: bytes | None  # None: erased.
    tag: str | None
    attempt: int  # How often it was tried before.
    recipients: tuple[Recipient, ...]


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A message that a dispatcher took and has not settled."""

    org: int
    platform: str
    account_id: str
    chat_id: str
    message_id: str
    attempt: int


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A message whose turn it is, and which nobody is sending."""

    org: int
    platform: str
    account_id: str
    chat_id: str
    message_id: str


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """What waits for one platform; `held`: its account is stopped."""

    platform: str
    state: Literal["waiting", "sending", "held"]
    messages: int
    oldest_seconds: float


async def due(
    connection: Connection,
    *,
    now: datetime,
    limit: int,
    limit_per_account: int,
    passed_over: PassedOver = NOBODY,
) -> list[Outgoing]:
    """The next message of each chat that has one, the longest due first. Spec N3, N4.

    Each account's first comes before any account's second. Not of accounts that are stopped,
    unless the service has left: then it is due, to fail.
    """
    cursor = connection.cursor(row_factory=dict_row)
    parameters = {
        "now": now,
        "limit": limit,
        "limit_per_account": limit_per_account,
        **columns_by_name("orgs platforms account_ids", passed_over.accounts),
        **columns_by_name("chat_orgs chat_ids", passed_over.chats),
    }
    await cursor.execute(DUE, parameters)
    return [_outgoing(row) for row in await cursor.fetchall()]


async def outgoing(
    connection: Connection, *, org: int, chat_id: str, message_id: str
) -> Outgoing | None:
    """One message that is not settled yet, for whoever has taken it; its keys as they are now."""
    cursor = connection.cursor(row_factory=dict_row)
    await cursor.execute(OUTGOING, {"org": org, "chat_id": chat_id, "message_id": message_id})
    row = await cursor.fetchone()
    return _outgoing(row) if row else None


async def orphans(connection: Connection, *, claimed_before: datetime, limit: int) -> list[Claim]:
    """Messages that were taken before a time and are not settled. Spec N3."""
    cursor = connection.cursor(row_factory=class_row(Claim))
    await cursor.execute(SQL["orphans"], {"claimed_before": claimed_before, "limit": limit})
    return await cursor.fetchall()


async def next_due(connection: Connection) -> datetime | None:
    """When `due` will have something to say; in the past if it has now, None if it never will."""
    cursor = await connection.execute(SQL["next_due"])
    row = await cursor.fetchone()
    return row[0] if row else None


async def waiting(connection: Connection, *, after: tuple[int, str], limit: int) -> list[Waiting]:
    """What is to be sent next in each chat, whatever it waits for. Spec N3.

    Its window may close meanwhile: then it is to fail. By org and chat, behind `after`.
    """
    org, chat_id = after
    cursor = connection.cursor(row_factory=class_row(Waiting))
    await cursor.execute(SQL["waiting"], {"org": org, "chat_id": chat_id, "limit": limit})
    return await cursor.fetchall()


async def backlogs(connection: Connection) -> list[Backlog]:
    """How much waits, of all organisations that this connection sees."""
    cursor = connection.cursor(row_factory=class_row(Backlog))
    await cursor.execute(SQL["backlogs"])
    return await cursor.fetchall()


def _outgoing(row: dict[str, Any]) -> Outgoing:
    stream = contact.stream_of(row.pop("contact_id"))
    kinds, addresses, keys = (
        row.pop(name) or () for name in ("address_kinds", "addresses", "address_keys")
    )
    recipients = tuple(
        Recipient(
            kind=kind,
            address=_sealed.decode(address),
            stream=stream,
            stored_type=AddressAdded.stored_type,
            wrapped_key=key,
        )
        for kind, address, key in zip(kinds, addresses, keys, strict=True)
    )
    content = _sealed.decode(row.pop("content"))
    return Outgoing(content=content, recipients=recipients, **row)


class Outbox:
    """Messages come with their request and go when they are settled."""

    name = "outbox"
    version = 2
    is_watched = False
    tables = SQL["tables"]

    async def apply(self, connection: Connection, org: int, batch: Sequence[Recorded]) -> None:
        """Fold a batch, in runs between the rare events that concern many messages at once."""
        relevant = (each for each in batch if isinstance(each.event, FOLDED + WIDE))
        for is_wide, run in groupby(relevant, lambda each: isinstance(each.event, WIDE)):
            if is_wide:
                for recorded in run:
                    await apply_to_all(connection, org, recorded)
            else:
                await fold(connection, org, list(run))
