"""What a batch of events does to the messages that wait: loaded, moved on in memory, written."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from domain import account, channel, chat_events, contact
from domain.event import Recorded
from projections.engine import named_sql
from projections.engine.bulk import columns_by_name
from projections.engine.projection import Connection

SQL = named_sql.load(__file__)


class Progress(msgspec.Struct, frozen=True):
    """What of a waiting message changes."""

    turn: bool
    state: str
    attempt: int
    dispatcher: str | None
    claimed_at: datetime | None
    due_at: datetime


class Destination(msgspec.Struct, frozen=True):
    """Where a chat's messages go."""

    platform: str
    account_id: str
    contact_id: str


@dataclass(slots=True)
class Waiting:
    """One message that waits to be sent."""

    version: int
    progress: Progress
    stored: Progress | None = None  # As it was before this batch; None for a new one.
    request: Recorded | None = None  # Of a new one.
    service_left: bool = False


class Queues:
    """The queues of the chats that a batch is about."""

    def __init__(self) -> None:
        self.destinations: dict[str, Destination] = {}  # By chat.
        self.waiting: defaultdict[str, dict[str, Waiting]] = defaultdict(dict)
        self.stopped: set[tuple[str, str]] = set()  # Platform and account.
        # What is to be written.
        self.gone: list[tuple[str, int]] = []
        self.new_chats: list[str] = []
        self.new_channels: list[tuple[str, str, str]] = []
        self.addresses: dict[tuple[str, bytes], Recorded | None] = {}  # None: removed.

    def take(self, recorded: Recorded) -> None:
        """Move on by one event."""
        subject = recorded.stream.partition(":")[2]
        match recorded.event:
            case chat_events.ReplyRequested() as event:
                progress = Progress(False, "waiting", 0, None, None, event.at)
                waiting = Waiting(recorded.version, progress, request=recorded)
                self.waiting[subject][event.message_id] = waiting
            case chat_events.SendStarted() as event:
                self._move(
                    subject,
                    event.message_id,
                    state="sending",
                    attempt=event.attempt,
                    dispatcher=event.dispatcher,
                    claimed_at=recorded.recorded_at,
                )
            case chat_events.SendDeferred() as event:
                message = self.waiting[subject].get(event.message_id)
                failing = message is not None and message.service_left
                self._move(
                    subject,
                    event.message_id,
                    state="waiting",
                    dispatcher=None,
                    claimed_at=None,
                    due_at=recorded.recorded_at if failing else event.retry_at,
                )
            case (
                chat_events.MessageSent()
                | chat_events.SendUncertain()
                | chat_events.MessageFailed()
                | chat_events.ReceiptReceived() as event
            ):
                self._settle(subject, event.message_id)
            case chat_events.ChatStarted() as event:
                destination = Destination(event.platform, event.account_id, event.contact_id)
                self.destinations[subject] = destination
                self.new_chats.append(subject)
            case channel.ChannelCreated() as event:
                self.new_channels.append((subject, event.platform, event.account_id))
            case contact.AddressAdded() as event:
                self.addresses[subject, event.key] = recorded
            case contact.AddressRemoved() as event:
                self.addresses[subject, event.key] = None

    def _move(self, chat_id: str, message_id: str, **changes: Any) -> None:
        message = self.waiting[chat_id].get(message_id)
        if message is not None:
            message.progress = replace(message.progress, **changes)

    def _settle(self, chat_id: str, message_id: str | None) -> None:
        message = self.waiting[chat_id].pop(message_id or "", None)
        if message is not None and message.stored is not None:
            self.gone.append((chat_id, message.version))

    def settle_turns(self) -> None:
        """In each chat it is one message's turn: the one being sent, else the oldest (N4)."""
        for messages in self.waiting.values():
            if messages:
                first = min(
                    messages.values(),
                    key=lambda each: (each.progress.state != "sending", each.version),
                )
                for message in messages.values():
                    message.progress = replace(message.progress, turn=message is first)


CHAT_EVENTS = (
    chat_events.ReplyRequested,
    chat_events.SendStarted,
    chat_events.SendDeferred,
    chat_events.MessageSent,
    chat_events.SendUncertain,
    chat_events.MessageFailed,
    chat_events.ReceiptReceived,
)
FOLDED = (
    *CHAT_EVENTS,
    chat_events.ChatStarted,
    channel.ChannelCreated,
    contact.AddressAdded,
    contact.AddressRemoved,
)


async def fold(connection: Connection, org: int, batch: Sequence[Recorded]) -> None:
    """Take events of chats, channels and contacts; what is stored is written as sets."""
    queues = await _load(connection, org, batch)
    for recorded in batch:
        queues.take(recorded)
    queues.settle_turns()
    await _load_stopped(connection, org, queues)
    for statement, names, rows in _changes(queues):
        columns = columns_by_name(names, rows)
        if any(columns.values()):
            await connection.execute(SQL[statement], {"org": org, **columns})


async def _load(connection: Connection, org: int, batch: Sequence[Recorded]) -> Queues:
    queues = Queues()
    chat_ids = {
        recorded.stream.partition(":")[2]
        for recorded in batch
        if isinstance(recorded.event, CHAT_EVENTS)
    }
    if not chat_ids:
        return queues
    arguments = {"org": org, "chat_ids": list(chat_ids)}
    cursor = await connection.execute(SQL["load_messages"], arguments)
    for chat_id, version, message_id, service_left, *progress in await cursor.fetchall():
        stored = Progress(*progress)
        queues.waiting[chat_id][message_id] = Waiting(
            version, stored, stored, service_left=service_left
        )
    if any(isinstance(recorded.event, chat_events.ReplyRequested) for recorded in batch):
        cursor = await connection.execute(SQL["load_chats"], arguments)
        for chat_id, *destination in await cursor.fetchall():
            queues.destinations[chat_id] = Destination(*destination)
    return queues


async def _load_stopped(connection: Connection, org: int, queues: Queues) -> None:
    accounts = {(to.platform, to.account_id) for _, _, _, to in _new_messages(queues)}
    if accounts:
        columns = columns_by_name("platforms account_ids", accounts)
        cursor = await connection.execute(SQL["load_accounts"], {"org": org, **columns})
        queues.stopped.update(await cursor.fetchall())


def _new_messages(
    queues: Queues,
) -> Iterator[tuple[str, Waiting, Recorded, Destination]]:
    for chat_id, messages in queues.waiting.items():
        for message in messages.values():
            if message.request is not None:
                yield chat_id, message, message.request, queues.destinations[chat_id]


PROGRESS = "chat_ids versions turns states attempts dispatchers claimed_at due_at"
REQUEST = (
    "positions message_ids platforms account_ids contact_ids channel_ids services kinds"
    " requested_at contents sealed_by templates categories quotes tags held"
)


def _changes(queues: Queues) -> Iterator[tuple[str, str, Iterable[tuple[Any, ...]]]]:
    yield (
        "save_chats",
        "chat_ids platforms account_ids contact_ids",
        [(each, *_values(queues.destinations[each])) for each in queues.new_chats],
    )
    yield "save_channels", "channel_ids platforms account_ids", queues.new_channels
    removed = [key for key, added in queues.addresses.items() if added is None]
    yield "drop_addresses", "contact_ids keys", removed
    yield (
        "save_addresses",
        "contact_ids keys kinds positions addresses sealed_by",
        [_address(key, added) for key, added in queues.addresses.items() if added is not None],
    )
    yield "drop_messages", "chat_ids versions", queues.gone
    yield (
        "save_messages",
        PROGRESS,
        [
            (chat_id, message.version, *_values(message.progress))
            for chat_id, messages in queues.waiting.items()
            for message in messages.values()
            if message.stored not in (None, message.progress)
        ],
    )
    yield (
        "add_messages",
        f"{PROGRESS} {REQUEST}",
        [
            (chat_id, message.version, *_values(message.progress), *_request(queues, request, to))
            for chat_id, message, request, to in _new_messages(queues)
        ],
    )


def _address(key: tuple[str, bytes], added: Recorded) -> tuple[Any, ...]:
    event = added.event
    assert isinstance(event, contact.AddressAdded)
    sealed = event.address
    return (*key, event.kind, added.position, msgspec.json.encode(sealed), sealed.key)


def _request(queues: Queues, request: Recorded, to: Destination) -> tuple[Any, ...]:
    event = request.event
    assert isinstance(event, chat_events.ReplyRequested)
    return (
        request.position,
        event.message_id,
        *_values(to),
        event.channel_id,
        event.service,
        event.kind,
        event.at,
        msgspec.json.encode(event.content),
        event.content.key,
        event.template,
        event.category,
        event.quotes,
        event.tag,
        (to.platform, to.account_id) in queues.stopped,
    )


def _values(struct: msgspec.Struct) -> tuple[Any, ...]:
    return msgspec.structs.astuple(struct)


# What concerns a whole account or channel at once.

WIDE = (
    account.AccountStopped,
    account.AccountResumed,
    account.CredentialsChanged,
    channel.ConnectionCreated,
    channel.ConnectionEnabled,
    channel.ConnectionDisabled,
    channel.ConnectionDeleted,
)


async def apply_to_all(connection: Connection, org: int, recorded: Recorded) -> None:
    """Hold, release or give up every message of an account or of a service on a channel."""
    _, *subject = recorded.stream.split(":", 2)
    arguments = {"org": org, "at": recorded.recorded_at}
    match recorded.event:
        case account.AccountStopped():
            arguments |= {"platform": subject[0], "account_id": subject[1]}
            await connection.execute(SQL["stop_account"], arguments)
            await connection.execute(SQL["hold_messages"], arguments)
        case account.AccountResumed() | account.CredentialsChanged():
            arguments |= {"platform": subject[0], "account_id": subject[1]}
            await connection.execute(SQL["resume_account"], arguments)
            await connection.execute(SQL["release_messages"], arguments)
        case channel.ConnectionDisabled() | channel.ConnectionDeleted() as event:
            arguments |= {"channel_id": subject[0], "service": event.service}
            await connection.execute(SQL["leave_channel"], arguments)
        case channel.ConnectionCreated() | channel.ConnectionEnabled() as event:
            arguments |= {"channel_id": subject[0], "service": event.service}
            await connection.execute(SQL["return_to_channel"], arguments)
