"""What is written to a customer: requested, sent, settled (N1–N4, C15, C17, S14)."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from domain import windows
from domain.channel import Channel, require_active
from domain.chat import Chat, find_outbound
from domain.chat_events import (
    MessageFailed,
    MessageSent,
    ReceiptReceived,
    ReplyRequested,
    SendDeferred,
    SendStarted,
    SendUncertain,
)
from domain.event import Event, Sealed
from domain.organisation import Organisation, require_reply
from domain.outbound import Accepted, AccountUnusable, Deferred, Rejected, SendAnswer, Unsettled
from domain.outgoing import Outbound
from domain.quota import in_month, is_after_window, next_month, since_customer
from domain.refusal import (
    AnsweredMeanwhile,
    ChatBlocked,
    NotFound,
    NotOwner,
    QuotaExceeded,
    Refusal,
    WindowClosed,
)
from domain.windows import TEMPLATE_LIFETIME, WindowRule

# Waits between attempts when the platform names none: 1, 2, 4 … 60 seconds.
BACK_OFF_FIRST = timedelta(seconds=1)
BACK_OFF_MAX = timedelta(seconds=60)

# Towards a customer who was sent too much: 1, 4, 16, 64, 256 seconds, as WhatsApp asks for.
PAIR_BACK_OFF_STEPS = 4

# How long a platform knows a message again by the key that we give it: asked twice, it delivers
# once (N3). LINE keeps its keys for 24 hours of its own clock; the last one is left to slow
# requests and to clocks that differ.
KNOWN_AGAIN: Mapping[str, timedelta] = {"line": timedelta(hours=23)}


class NotSettled(Refusal):
    """Only a message that is uncertain or failed can be retried or discarded, and only once."""

    code = "not_retryable"


class RequestReply(msgspec.Struct, frozen=True, kw_only=True):
    """A reply as an agent wrote it; its content is sealed already."""

    message_id: str
    service: str
    kind: str
    content: Sealed
    template: str | None = None
    category: str | None = None
    quotes: bytes | None = None
    retry_of: str | None = None
    media_id: str | None = None
    seen_version: int | None = None  # What of the chat its writer had seen (S14).
    confirm: bool = False


def request_reply(
    chat: Chat,
    channel: Channel,
    organisation: Organisation,
    command: RequestReply,
    *,
    rule: WindowRule,
    approved_templates: list[str],
    unwanted: Refusal | None = None,
    user_id: str,
    now: datetime,
) -> list[ReplyRequested]:
    """Queue a reply, or refuse it before anything is sent. Spec C5, C7, N1, N2, N5, S14.

    `unwanted`: why the customer is not to get it, if it is marketing (N5).
    """
    require_may_write(chat, channel, organisation, service=command.service, user_id=user_id)
    _require_unanswered(chat, channel, command)
    if unwanted is not None:
        raise unwanted
    tag = None
    # A template needs no window; where a month's messages are counted it is one of them.
    if command.template is None or rule.monthly_max is not None:
        _require_open_window(chat, rule, approved_templates=approved_templates, now=now)
    if command.template is None:
        tag = windows.tag_for(rule, chat.last_customer_message_at, now=now)
    return [
        ReplyRequested(
            message_id=command.message_id,
            channel_id=channel.channel_id or "",
            service=command.service,
            user_id=user_id,
            kind=command.kind,
            at=now,
            content=command.content,
            template=command.template,
            category=command.category,
            quotes=command.quotes,
            retry_of=command.retry_of,
            tag=tag,
            media_id=command.media_id,
        )
    ]


def require_may_write(
    chat: Chat, channel: Channel, organisation: Organisation, *, service: str, user_id: str
) -> None:
    """Raises unless this user may write to this customer in this service. Spec C5, C7, S16."""
    require_active(channel, service)
    require_reply(organisation, user_id, service)
    owner = chat.owners.get(service)
    if organisation.services[service].owner_replies and (owner is None or owner.user_id != user_id):
        raise NotOwner(owner=owner.user_id if owner else None)
    if service in chat.blocked:
        raise ChatBlocked


def _require_unanswered(chat: Chat, channel: Channel, command: RequestReply) -> None:
    newest = chat.last_reply.get(channel.channel_id or "")
    if (
        command.seen_version is not None
        and not command.confirm
        and newest is not None
        and newest.version > command.seen_version
    ):
        raise AnsweredMeanwhile(message_id=newest.message_id)


def _require_open_window(
    chat: Chat, rule: WindowRule, *, approved_templates: list[str], now: datetime
) -> None:
    wrote_at = chat.last_customer_message_at
    if windows.is_open(rule, wrote_at, now=now, for_people=True):
        if rule.replies_max is not None and since_customer(chat.counted) >= rule.replies_max:
            raise QuotaExceeded(
                f"{rule.replies_max} messages were sent since the customer wrote;"
                " the next can be sent once they write again.",
                resets_at=None,
            )
    elif wrote_at is None or rule.monthly_max is None:
        raise WindowClosed(
            closed_at=windows.closes_at(rule, wrote_at, for_people=True),
            templates=approved_templates,
        )
    elif in_month(chat.counted, now) >= rule.monthly_max:
        raise QuotaExceeded(
            f"The window has closed, and {rule.monthly_max} messages were sent after it this"
            " month; it opens again when the customer writes.",
            resets_at=next_month(now),
        )


def require_retryable(chat: Chat, channel: Channel, message_id: str, *, service: str) -> Outbound:
    """The message to send again; raises unless its fate allows it. Spec N3."""
    message = _outbound_of(chat, channel, message_id, service)
    if message.status not in ("uncertain", "failed") or message.retried:
        raise NotSettled(message_status=message.status)
    return message


def discard(
    chat: Chat,
    channel: Channel,
    organisation: Organisation,
    message_id: str,
    *,
    service: str,
    user_id: str,
) -> list[Event]:
    """Give an uncertain message up. It ends as failed; that is no refusal. Spec C15."""
    require_active(channel, service)
    require_reply(organisation, user_id, service)
    message = _outbound_of(chat, channel, message_id, service)
    if message.status == "failed":
        return []
    if message.status != "uncertain":
        raise NotSettled(message_status=message.status)
    return [MessageFailed(message_id=message_id, reason="discarded", user_id=user_id)]


def _outbound_of(chat: Chat, channel: Channel, message_id: str, service: str) -> Outbound:
    message = chat.outbound.get(message_id)
    # What the service wrote through another channel does not exist in this one.
    if message is None or (message.service, message.channel_id) != (service, channel.channel_id):
        raise NotFound("This service has no such message in this chat.")
    return message


# What the dispatcher decides.


def start_sending(
    chat: Chat,
    channel: Channel,
    message_id: str,
    *,
    rule: WindowRule,
    unwanted: Refusal | None = None,
    dispatcher: str,
    now: datetime,
) -> list[Event]:
    """Take the next message of the chat, or end it if its time is over. Spec N3–N5.

    No event when it is not this message's turn: another one is before it, or a dispatcher has it.
    """
    message = chat.outbound.get(message_id)
    if message is None or message.status != "queued" or message.sending:
        return []
    over = end_if_over(chat, channel, message_id, rule=rule, unwanted=unwanted, now=now)
    if over:
        return over
    if chat.queue[0] != message_id:
        return []
    started = SendStarted(
        message_id=message_id,
        attempt=message.attempt + 1,
        dispatcher=dispatcher,
        at=now if chat.platform in KNOWN_AGAIN else None,
    )
    return [started]


def end_if_over(
    chat: Chat,
    channel: Channel,
    message_id: str,
    *,
    rule: WindowRule,
    unwanted: Refusal | None = None,
    now: datetime,
) -> list[Event]:
    """End a waiting message whose time is over, also while its account is stopped. Spec N3.

    `unwanted`: why the customer is not to get it any more, if it is marketing (N5).
    """
    message = chat.outbound.get(message_id)
    if message is None or message.status != "queued" or message.sending:
        return []
    reason = _reason_to_give_up(chat, channel, message_id, rule=rule, now=now)
    if unwanted is not None and reason is None:
        reason = unwanted.code
    since = message.unanswered_since
    if since is None:
        return [MessageFailed(message_id=message_id, reason=reason)] if reason else []
    if reason is None and _is_known_again(chat, since, at=now):
        return []
    return [SendUncertain(message_id=message_id, reason=reason or "answer_lost")]


def _reason_to_give_up(
    chat: Chat, channel: Channel, message_id: str, *, rule: WindowRule, now: datetime
) -> str | None:
    message = chat.outbound[message_id]
    if not channel.is_active(message.service):
        return "service_left"
    if message.is_template or is_after_window(chat.counted, message_id):
        return "window_closed" if now >= message.requested_at + TEMPLATE_LIFETIME else None
    is_open = windows.is_open(
        rule, chat.last_customer_message_at, now=now, for_people=message.tag is not None
    )
    return None if is_open else "window_closed"


def give_up_claim(chat: Chat, message_id: str, *, now: datetime) -> list[Event]:
    """The dispatcher that had the message is gone: nobody knows whether it was sent. Spec N3."""
    message = chat.outbound.get(message_id)
    if message is None or message.status != "queued" or not message.sending:
        return []
    return [_unanswered(chat, message_id, message, reason="dispatcher_lost", retry_at=now)]


def _unanswered(
    chat: Chat, message_id: str, message: Outbound, *, reason: str, retry_at: datetime
) -> Event:
    """Ask again where the platform knows the message; elsewhere only a person may. Spec N3."""
    since = message.unanswered_since or message.started_at
    if since is None or not _is_known_again(chat, since, at=retry_at):
        return SendUncertain(message_id=message_id, reason=reason)
    return SendDeferred(
        message_id=message_id, reason=reason, retry_at=retry_at, unanswered_since=since
    )


def _is_known_again(chat: Chat, since: datetime, *, at: datetime) -> bool:
    lifetime = KNOWN_AGAIN.get(chat.platform)
    return lifetime is not None and at < since + lifetime


def record_answer(
    chat: Chat,
    message_id: str,
    answer: SendAnswer,
    *,
    key: bytes | None,
    platform: Sealed | None,
    quote_token: Sealed | None = None,
    now: datetime,
) -> list[Event]:
    """What the platform's answer means for the message. `key` comes with Accepted. Spec N3."""
    message = chat.outbound.get(message_id)
    if message is None:
        return []
    match answer:
        case Accepted():
            assert key is not None
            sent = MessageSent(
                message_id=message_id, key=key, platform=platform, quote_token=quote_token
            )
            return [sent]
        case Rejected() if answer.code is None and message.unanswered_since is not None:
            # Not the platform's word but ours: it was not asked again, and may have it.
            return [SendUncertain(message_id=message_id, reason=answer.reason)]
        case Rejected(once_more=True) if answer.reason not in message.deferred_for:
            retry_at = now + back_off(message.attempt)
            again = SendDeferred(message_id=message_id, reason=answer.reason, retry_at=retry_at)
            return [again]
        case Rejected():
            failed = MessageFailed(
                message_id=message_id, reason=answer.reason, error_code=answer.code
            )
            return [failed]
        case Unsettled():
            retry_at = now + back_off(message.attempt)
            return [_unanswered(chat, message_id, message, reason=answer.reason, retry_at=retry_at)]
        case Deferred() | AccountUnusable():
            named = answer.retry_after_seconds if isinstance(answer, Deferred) else None
            own = pair_back_off if answer.reason == "pair_limited" else back_off
            wait = timedelta(seconds=named) if named is not None else own(message.attempt)
            deferred = SendDeferred(
                message_id=message_id,
                reason=answer.reason,
                retry_at=now + wait,
                unanswered_since=message.unanswered_since,
            )
            return [deferred]


def back_off(attempt: int) -> timedelta:
    """How long to wait after an attempt, counted from 1, where the platform names no time."""
    doubled = 1 << min(max(attempt - 1, 0), 6)
    return min(BACK_OFF_FIRST * doubled, BACK_OFF_MAX)


def pair_back_off(attempt: int) -> timedelta:
    """The same where one customer's limit was reached, which is no use to ask about so often."""
    quadrupled = 1 << 2 * min(max(attempt - 1, 0), PAIR_BACK_OFF_STEPS)
    return BACK_OFF_FIRST * quadrupled


# What the platform reports later.


def record_receipt(chat: Chat, receipt: ReceiptReceived) -> list[Event]:
    """Keep every receipt; one that carries our mark also settles an uncertain send. Spec C15."""
    message_id = find_outbound(chat, key=receipt.key, mark=receipt.message_id)
    if message_id is None:
        return [receipt]
    return [*confirm_sent(chat, message_id, key=receipt.key), receipt]


def confirm_sent(chat: Chat, message_id: str, *, key: bytes) -> list[Event]:
    """A receipt or an echo names a message of ours: the platform took it, if that is news."""
    is_news = chat.outbound[message_id].key is None
    return [MessageSent(message_id=message_id, key=key)] if is_news else []
