"""A chat: one customer on one account. Its state; what happens in it stands in `chat_events.py`,
what may be done in `ownership.py` (who looks after it) and `sending.py` (what is written).

Stream `chat:{id}`. Every service sees the same chat with its own owner, status and block (S5, C7).
"""

from datetime import datetime

import msgspec
from msgspec.structs import replace

from domain import conversation, quota
from domain.chat_events import (
    ChatAssigned,
    ChatClosed,
    ChatOpened,
    ChatStarted,
    ChatUnassigned,
    CustomerBlocked,
    CustomerUnblocked,
    MessageFailed,
    MessageReceived,
    MessageSent,
    ReceiptReceived,
    ReplyRequested,
    SendDeferred,
    SendStarted,
    SendUncertain,
    WindowOpened,
)
from domain.conversation import Billing, ChargeVoided, ConversationStarted, MessageCharged
from domain.event import Event
from domain.outgoing import OUTBOUND_REMEMBERED_MAX, Outbound, Reply, forget_oldest, greatest
from domain.quota import Counted


def stream_of(chat_id: str) -> str:
    """The stream that holds one chat's events."""
    return f"chat:{chat_id}"


class Owner(msgspec.Struct, frozen=True):
    """Who owns a chat in one service. `version` orders owners across services."""

    user_id: str
    since: datetime
    version: int


class Chat(msgspec.Struct, frozen=True, kw_only=True):
    """The chat as decisions see it. Bounded: it remembers no message that is settled for long."""

    version: int = 0
    chat_id: str | None = None
    platform: str = ""
    account_id: str = ""
    contact_id: str = ""
    group: bool = False
    last_customer_message_at: datetime | None = None  # Or of what opens the window like one.
    heard: int = 0  # Version of their newest message,
    heard_at: datetime | None = None  # and its time.
    owners: dict[str, Owner] = {}  # By service.
    closed: frozenset[str] = frozenset()  # Services.
    blocked: frozenset[str] = frozenset()  # Services.
    last_reply: dict[str, Reply] = {}  # By channel.
    outbound: dict[str, Outbound] = {}  # By message id, oldest first.
    early: dict[bytes, str] = {}  # By key: what receipts said of a message we cannot name yet.
    billing: Billing = Billing()
    counted: tuple[Counted, ...] = ()  # Against the platform's limits (N1).

    @property
    def queue(self) -> list[str]:
        """The messages that wait to be sent, in their order (N4)."""
        return [key for key, message in self.outbound.items() if message.status == "queued"]

    @property
    def awaits_answer(self) -> bool:
        """Whether the platform may have a message of ours whose id there we do not know."""
        nameless = [message for message in self.outbound.values() if message.key is None]
        return any(message.sending or message.status == "uncertain" for message in nameless)


def evolve(chat: Chat, event: Event) -> Chat:
    """The chat after one more fact. It copes with every fact and refuses none."""
    version = chat.version + 1
    match event:
        case MessageReceived():
            is_newest = chat.heard_at is None or event.at >= chat.heard_at
            return replace(
                chat,
                version=version,
                last_customer_message_at=_newest(chat.last_customer_message_at, event.at),
                heard=version if is_newest else chat.heard,
                heard_at=event.at if is_newest else chat.heard_at,
                closed=frozenset(),
                counted=quota.after_customer(chat.counted, wrote_at=event.at),
                billing=conversation.after_customer(chat.billing, event, chat.outbound, version),
            )
        case WindowOpened():
            opened_at = _newest(chat.last_customer_message_at, event.at)
            return replace(chat, version=version, last_customer_message_at=opened_at)
        case ChatStarted():
            return replace(
                chat,
                version=version,
                chat_id=event.chat_id,
                platform=event.platform,
                account_id=event.account_id,
                contact_id=event.contact_id,
                group=event.group,
            )
        case ReplyRequested():
            return _with_reply(chat, version, event)
        case SendStarted():
            changes = {"sending": True, "attempt": event.attempt, "started_at": event.at}
            return _with_outbound(chat, version, event.message_id, **changes)
        case SendDeferred():
            return _with_deferral(chat, version, event)
        case MessageSent():
            return _with_sent(chat, version, event)
        case SendUncertain():
            return _with_status(chat, version, event.message_id, "uncertain")
        case MessageFailed():
            # C15, L4: who discards a message gives it up; that is no refusal by the platform.
            refused = event.reason != "discarded"
            return _with_status(chat, version, event.message_id, "failed", refused=refused)
        case ConversationStarted() | MessageCharged() | ChargeVoided():
            billing = conversation.evolve(chat.billing, event)
            return replace(chat, version=version, billing=billing)
        case ReceiptReceived():
            return _with_receipt(chat, version, event)
        case ChatAssigned():
            owner = Owner(event.owner, event.at, version)
            return replace(chat, version=version, owners={**chat.owners, event.service: owner})
        case ChatUnassigned():
            rest = {name: each for name, each in chat.owners.items() if name != event.service}
            return replace(chat, version=version, owners=rest)
        case ChatClosed():
            return replace(chat, version=version, closed=chat.closed | {event.service})
        case ChatOpened():
            return replace(chat, version=version, closed=chat.closed - {event.service})
        case CustomerBlocked():
            return replace(chat, version=version, blocked=chat.blocked | {event.service})
        case CustomerUnblocked():
            return replace(chat, version=version, blocked=chat.blocked - {event.service})
        case _:
            return replace(chat, version=version)


def find_outbound(chat: Chat, *, key: bytes | None, mark: str | None) -> str | None:
    """The message that a receipt or an echo is about: by our own mark, else by its key."""
    if mark in chat.outbound:
        return mark
    known = chat.outbound.items() if key is not None else ()
    return next((message_id for message_id, message in known if message.key == key), None)


def _with_reply(chat: Chat, version: int, event: ReplyRequested) -> Chat:
    outbound = dict(chat.outbound)
    charge = conversation.charge_for(
        chat.billing, message_id=event.message_id, conversation_id=event.conversation
    )
    if event.retry_of in outbound:
        outbound[event.retry_of] = replace(outbound[event.retry_of], retried=True)
    outbound[event.message_id] = Outbound(
        service=event.service,
        channel_id=event.channel_id,
        requested=version,
        requested_at=event.at,
        template=event.template,
        category=event.category,
        tag=event.tag,
        charge=charge,
    )
    forget_oldest(outbound)
    wrote_at = chat.last_customer_message_at
    billing = conversation.with_message(chat.billing, charge, event)
    known = (message.charge for message in outbound.values())
    return replace(
        chat,
        version=version,
        closed=chat.closed - {event.service},  # C4: writing opens it, in this service only.
        last_reply={**chat.last_reply, event.channel_id: Reply(version, event.message_id)},
        outbound=outbound,
        counted=quota.with_message(chat.counted, chat.platform, event, wrote_at=wrote_at),
        billing=conversation.forget_oldest(billing, known=known),
    )


def _newest(before: datetime | None, at: datetime) -> datetime:
    return at if before is None else max(before, at)


def _with_outbound(chat: Chat, version: int, message_id: str, **changes: object) -> Chat:
    message = chat.outbound.get(message_id)
    if message is None:
        return replace(chat, version=version)
    changed = replace(message, **changes)
    return replace(chat, version=version, outbound={**chat.outbound, message_id: changed})


def _with_deferral(chat: Chat, version: int, event: SendDeferred) -> Chat:
    message = chat.outbound.get(event.message_id)
    if message is None:
        return replace(chat, version=version)
    return _with_outbound(
        chat,
        version,
        event.message_id,
        sending=False,
        unanswered_since=event.unanswered_since,
        deferred_for=message.deferred_for | {event.reason},
    )


def _with_status(
    chat: Chat,
    version: int,
    message_id: str,
    status: str,
    *,
    key: bytes | None = None,
    refused: bool = True,
) -> Chat:
    message = chat.outbound.get(message_id)
    if message is None:
        return replace(chat, version=version)
    known = greatest(message.status, status)
    sending = message.sending and known == "queued"
    changes = {"status": known, "sending": sending, "key": message.key or key}
    if refused and known == "failed" != message.status:
        billing = conversation.with_refusal(chat.billing, message_id, chat.outbound)
        counted = quota.without_message(chat.counted, message_id)
        chat = replace(chat, billing=billing, counted=counted)
        changes["refused"] = True
    return _with_outbound(chat, version, message_id, **changes)


def _with_sent(chat: Chat, version: int, event: MessageSent) -> Chat:
    # C15: what receipts said before the answer counts from here.
    early = {key: status for key, status in chat.early.items() if key != event.key}
    status = greatest("sent", chat.early.get(event.key, "sent"))
    sent = _with_status(chat, version, event.message_id, status, key=event.key)
    return replace(sent, early=early if sent.awaits_answer else {})


def _with_receipt(chat: Chat, version: int, event: ReceiptReceived) -> Chat:
    message_id = find_outbound(chat, key=event.key, mark=event.message_id)
    if message_id is not None:
        return _with_status(chat, version, message_id, event.status, key=event.key)
    if not chat.awaits_answer:
        return replace(chat, version=version)
    status = greatest(chat.early.get(event.key, "queued"), event.status)
    early = list({**chat.early, event.key: status}.items())[-OUTBOUND_REMEMBERED_MAX:]
    return replace(chat, version=version, early=dict(early))
