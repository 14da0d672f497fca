"""What a batch of events says, sorted by the table it concerns. Pure: no database, no clock.

Everything here may be said twice and in any batch; what depends on other rows is settled in SQL.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import cached_property
from typing import Any

from domain.channel import (
    ChannelCreated,
    ConnectionCreated,
    ConnectionDeleted,
    ConnectionDisabled,
    ConnectionEnabled,
)
from domain.chat_events import (
    ChatAssigned,
    ChatClosed,
    ChatOpened,
    ChatStarted,
    ChatUnassigned,
    CustomerBlocked,
    CustomerUnblocked,
    EchoReceived,
    EditReceived,
    MessageFailed,
    MessageReceived,
    MessageSent,
    ReactionReceived,
    ReceiptReceived,
    ReplyRequested,
    SendUncertain,
    UnsendReceived,
    WindowOpened,
)
from domain.contact import (
    AddressAdded,
    AddressRemoved,
    ContactNamed,
    MarketingPreferenceChanged,
)
from domain.event import Event, Recorded
from domain.inbound import CONNECTION_KIND
from domain.outgoing import STATUS_RANK
from projections.engine.sealed_parts import pack
from projections.inbox.records import (
    FAILED,
    QUEUED,
    SENT,
    WHOLE_ACCOUNT,
    Message,
    Receipt,
    Settlement,
    Thread,
    storable_code,
    storable_text,
)
from projections.inbox.rows import NO_RANK
from projections.inbox.services import Channel

Key = tuple[str, bytes]  # A chat, and a message's key in it.


class Changes:
    """A batch, sorted. Positions grow, so what comes later in the batch is the newer."""

    def __init__(self, batch: Iterable[Recorded]) -> None:
        self.channels: list[Channel] = []
        self.connections: list[tuple[str, Recorded]] = []  # By channel, in order.
        self.threads: dict[str, Thread] = {}
        self.customer_wrote: dict[str, datetime] = {}  # Or did what counts as much: newest time.
        self.messages: dict[tuple[str, str], Message] = {}
        self.settlements: dict[tuple[str, str], Settlement] = {}
        self.receipts: list[Receipt] = []
        self.edits: dict[tuple[str, bytes], tuple[Any, ...]] = {}
        self.unsends: dict[tuple[str, bytes], datetime] = {}
        self.reactions: dict[tuple[str, bytes, str], tuple[Any, ...]] = {}
        self.names: dict[str, tuple[bytes, str, int]] = {}
        self.addresses: dict[tuple[str, bytes], tuple[str, int, bytes, str] | None] = {}
        self.preferences: dict[tuple[str, str], tuple[datetime, int, bool]] = {}
        # By chat: what services decided, and what opens a chat.
        self.decisive: dict[str, list[Recorded]] = defaultdict(list)
        self.is_empty = True
        stream = name = ""
        for recorded in batch:
            note = _NOTES.get(type(recorded.event))
            if note is not None:
                self.is_empty = False
                if recorded.stream != stream:
                    stream = recorded.stream
                    name = stream.partition(":")[2]
                note(self, recorded, name, recorded.event)

    @cached_property
    def touched(self) -> set[str]:
        """Chats whose rows may look different afterwards."""
        chat_ids = {chat_id for chat_id, _ in (*self.messages, *self.settlements)}
        failures = {each.chat_id for each in self.receipts if each.rank == FAILED}
        return chat_ids | failures | self.decisive.keys()

    @cached_property
    def outbound_keys(self) -> set[Key]:
        """Of outbound messages: keys by which a receipt or an echo may now be joined."""
        keys = {(each.chat_id, each.key) for each in self.receipts}
        keys.update(
            (each.chat_id, each.key) for each in self.settlements.values() if each.key is not None
        )
        return keys | {
            (each.chat_id, each.key)
            for each in self.messages.values()
            if each.rank != NO_RANK and each.key is not None
        }

    @cached_property
    def keys(self) -> set[Key]:
        """Keys by which anything may now be joined."""
        keys = {(each.chat_id, each.key) for each in self.messages.values() if each.key is not None}
        return keys | self.outbound_keys | self.edits.keys() | self.unsends.keys()

    # Channels.

    def _channel(self, recorded: Recorded, channel_id: str, event: ChannelCreated) -> None:
        self.channels.append(
            Channel(channel_id, event.platform, event.account_id, event.shared, recorded.position)
        )

    def _connection(self, recorded: Recorded, channel_id: str, _event: Any) -> None:
        self.connections.append((channel_id, recorded))

    # What is written and received.

    def _started(self, recorded: Recorded, chat_id: str, event: ChatStarted) -> None:
        self.threads[chat_id] = Thread(
            chat_id=chat_id,
            platform=event.platform,
            account_id=event.account_id,
            contact_id=event.contact_id,
            is_group=event.group,
            started_position=recorded.position,
        )

    def _received(self, recorded: Recorded, chat_id: str, event: MessageReceived) -> None:
        self._add_message(recorded, chat_id, event, rank=NO_RANK, member=event.member)
        self._window_opened(recorded, chat_id, event)
        self.decisive[chat_id].append(recorded)

    def _window_opened(
        self, _recorded: Recorded, chat_id: str, event: MessageReceived | WindowOpened
    ) -> None:
        newest = self.customer_wrote.get(chat_id)
        if newest is None or event.at > newest:
            self.customer_wrote[chat_id] = event.at

    def _echo(self, recorded: Recorded, chat_id: str, event: EchoReceived) -> None:
        self._add_message(recorded, chat_id, event, rank=SENT)

    def _reply(self, recorded: Recorded, chat_id: str, event: ReplyRequested) -> None:
        self._add_message(
            recorded,
            chat_id,
            event,
            rank=QUEUED,
            channel_id=event.channel_id,
            service=event.service,
            user_id=event.user_id,
            retry_of=event.retry_of,
        )
        self.decisive[chat_id].append(recorded)

    def _add_message(
        self,
        recorded: Recorded,
        chat_id: str,
        event: MessageReceived | EchoReceived | ReplyRequested,
        *,
        channel_id: str = WHOLE_ACCOUNT,
        **columns: Any,
    ) -> None:
        key = None if isinstance(event, ReplyRequested) else event.key
        self.messages[chat_id, event.message_id] = Message(
            chat_id=chat_id,
            message_id=event.message_id,
            channel_id=channel_id,
            position=recorded.position,
            at=event.at,
            kind=storable_text(event.kind),
            content=pack(event.content),
            content_key=event.content.key,
            content_type=event.stored_type,
            key=key,
            quotes=event.quotes,
            **columns,
        )

    # What became of it.

    def _sent(self, _recorded: Recorded, chat_id: str, event: MessageSent) -> None:
        self._settle(chat_id, event.message_id, rank=SENT, key=event.key)

    def _uncertain(self, _recorded: Recorded, chat_id: str, event: SendUncertain) -> None:
        self._settle(chat_id, event.message_id, rank=STATUS_RANK["uncertain"])

    def _failed(self, recorded: Recorded, chat_id: str, event: MessageFailed) -> None:
        settled = self._settle(chat_id, event.message_id, rank=FAILED)
        _note_failure(settled, recorded, event.reason, event.error_code)

    def _receipt(self, recorded: Recorded, chat_id: str, event: ReceiptReceived) -> None:
        rank = STATUS_RANK.get(event.status, NO_RANK)
        self.receipts.append(
            Receipt(
                chat_id,
                event.key,
                recorded.position,
                storable_text(event.status),
                rank,
                event.at,
                event.participant,
                storable_code(event.error_code),
                event.reason,
                pack(event.detail) if event.detail else None,
                event.detail.key if event.detail else None,
            )
        )
        if event.message_id is not None:
            # Our own mark came back, so the message has this key: nobody need have told us before.
            settled = self._settle(chat_id, event.message_id, rank=rank, key=event.key)
            if rank == FAILED:
                _note_failure(settled, recorded, event.reason, event.error_code)

    def _settle(
        self, chat_id: str, message_id: str, *, rank: int, key: bytes | None = None
    ) -> Settlement:
        settled = self.settlements.get((chat_id, message_id))
        if settled is None:
            settled = Settlement(chat_id=chat_id, message_id=message_id)
            self.settlements[chat_id, message_id] = settled
        if rank > settled.rank:
            settled.rank = rank
        if key is not None:
            settled.key = settled.key or key
        return settled

    # What is changed about it later (C17): the latest by the platform's time, then by position.

    def _edit(self, recorded: Recorded, chat_id: str, event: EditReceived) -> None:
        known = self.edits.get((chat_id, event.target))
        if known is None or event.at >= known[0]:
            packed = pack(event.content)
            edit = (event.at, recorded.position, packed, event.content.key)
            self.edits[chat_id, event.target] = edit

    def _unsend(self, _recorded: Recorded, chat_id: str, event: UnsendReceived) -> None:
        self.unsends.setdefault((chat_id, event.target), event.at)

    def _reaction(self, recorded: Recorded, chat_id: str, event: ReactionReceived) -> None:
        author = "business" if event.echo else event.member or "customer"
        known = self.reactions.get((chat_id, event.target, author))
        if known is None or event.at >= known[0]:
            content = event.content
            self.reactions[chat_id, event.target, author] = (
                event.at,
                recorded.position,
                pack(content) if content else None,
                content.key if content else None,
            )

    # What services decide, and who the customer is.

    def _decision(self, recorded: Recorded, chat_id: str, _event: Any) -> None:
        self.decisive[chat_id].append(recorded)

    def _named(self, recorded: Recorded, contact_id: str, event: ContactNamed) -> None:
        self.names[contact_id] = (pack(event.profile), event.profile.key, recorded.position)

    def _address(self, recorded: Recorded, contact_id: str, event: AddressAdded) -> None:
        if event.kind.startswith(f"{CONNECTION_KIND}:"):
            return
        address = (event.kind, recorded.position, pack(event.address), event.address.key)
        self.addresses[contact_id, event.key] = address

    def _no_address(self, _recorded: Recorded, contact_id: str, event: AddressRemoved) -> None:
        self.addresses[contact_id, event.key] = None

    def _preference(
        self, recorded: Recorded, contact_id: str, event: MarketingPreferenceChanged
    ) -> None:
        known = self.preferences.get((contact_id, event.account))
        if known is None or event.at >= known[0]:
            preference = (event.at, recorded.position, event.wants_marketing)
            self.preferences[contact_id, event.account] = preference


def merge_settlements(changes: Changes) -> None:
    """Have messages written as the batch leaves them, instead of written and changed."""
    for name, settlement in changes.settlements.items():
        message = changes.messages.get(name)
        if message is not None:
            message.rank = max(message.rank, settlement.rank)
            message.key = settlement.key
            message.failed_position = settlement.failed_position
            message.failure_reason = settlement.failure_reason
            message.failure_code = settlement.failure_code


def note_customers(threads: dict[str, Thread], changes: Changes) -> None:
    """Note in the threads when the customers wrote last."""
    for chat_id, at in changes.customer_wrote.items():
        known = threads[chat_id].last_customer_message_at
        threads[chat_id].last_customer_message_at = max(known or at, at)


def _note_failure(
    settled: Settlement, recorded: Recorded, reason: str | None, code: int | None
) -> None:
    if settled.failed_position is None:
        settled.failed_position = recorded.position
        settled.failure_reason, settled.failure_code = reason, storable_code(code)


_NOTES: dict[type[Event], Callable[[Changes, Recorded, str, Any], None]] = {
    ChannelCreated: Changes._channel,
    ConnectionCreated: Changes._connection,
    ConnectionEnabled: Changes._connection,
    ConnectionDisabled: Changes._connection,
    ConnectionDeleted: Changes._connection,
    ChatStarted: Changes._started,
    MessageReceived: Changes._received,
    EchoReceived: Changes._echo,
    ReplyRequested: Changes._reply,
    MessageSent: Changes._sent,
    SendUncertain: Changes._uncertain,
    MessageFailed: Changes._failed,
    ReceiptReceived: Changes._receipt,
    EditReceived: Changes._edit,
    UnsendReceived: Changes._unsend,
    ReactionReceived: Changes._reaction,
    WindowOpened: Changes._window_opened,
    ChatAssigned: Changes._decision,
    ChatUnassigned: Changes._decision,
    ChatClosed: Changes._decision,
    ChatOpened: Changes._decision,
    CustomerBlocked: Changes._decision,
    CustomerUnblocked: Changes._decision,
    ContactNamed: Changes._named,
    AddressAdded: Changes._address,
    AddressRemoved: Changes._no_address,
    MarketingPreferenceChanged: Changes._preference,
}

# The stored types of what is looked at; a rebuild leaves the others where they are.
EVENT_TYPES = frozenset(event.stored_type for event in _NOTES)
