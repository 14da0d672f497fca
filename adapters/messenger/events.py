"""One event of a webhook as an occurrence: what it is about stands in a member named after it."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from msgspec.structs import replace

from adapters.happening import Happening
from adapters.messenger.content import describe
from adapters.readers import identifier, moment_of_milliseconds, part, text
from domain.inbound import AnyOccurrence, Condition, Content, WatermarkOccurred

Part = dict[str, Any]


def read_event(happening: Happening, event: Part) -> AnyOccurrence:
    """What an event says. Beside both sides and a time it has one member."""
    for name, body in event.items():
        reader = READERS.get(name)
        if reader is not None and isinstance(body, dict):
            return reader(happening, body)
    return happening.not_understood()


def _message(happening: Happening, message: Part) -> AnyOccurrence:
    platform_id = identifier(message.get("mid"))
    if platform_id is None:
        return happening.not_understood()
    echo = message.get("is_echo") is True or happening.by_business
    # A message and an echo may have the same id: they are two things that happened.
    happening = happening.named("echo" if echo else "message", platform_id)
    if message.get("is_deleted") is True:
        return happening.named("deleted", platform_id).change(
            "deleted", None, target=platform_id, echo=echo
        )
    kind, content = describe(message)
    return happening.message(
        kind,
        content if echo else _by_customer(happening, content),
        platform_id=platform_id,
        quotes=identifier(part(message, "reply_to").get("mid")),
        echo=echo,
        sent_by_us=text(message.get("metadata")) if echo else None,
    )


def _edit(happening: Happening, edit: Part) -> AnyOccurrence:
    """A message has at most five edits, which are counted."""
    target, count = identifier(edit.get("mid")), identifier(edit.get("num_edit"))
    body = text(edit.get("text"))
    if target is None or count is None or body is None:
        return happening.not_understood()
    happening = happening.named("edit", f"{target}#{count}")
    return happening.change("edited", Content(text=body), target=target, echo=happening.by_business)


def _reaction(happening: Happening, reaction: Part) -> AnyOccurrence:
    target, action = identifier(reaction.get("mid")), reaction.get("action")
    if target is None or action not in ("react", "unreact"):
        return happening.not_understood()
    shown = text(reaction.get("emoji")) or text(reaction.get("reaction"))
    content = Content(text=shown) if action == "react" else None
    return happening.change("reaction", content, target=target, echo=happening.by_business)


def _postback(happening: Happening, postback: Part) -> AnyOccurrence:
    """A pressed button; older ones and those seen in standby have no id."""
    platform_id = identifier(postback.get("mid"))
    if platform_id is not None:
        happening = happening.named("message", platform_id)
    title, payload = text(postback.get("title")), text(postback.get("payload"))
    if title is None and payload is None:
        return happening.not_understood()
    content = _by_customer(happening, Content(text=title, payload=payload))
    return happening.message("postback", content, platform_id=platform_id or happening.name[-1])


def _by_customer(happening: Happening, content: Content) -> Content:
    """Messenger knows single messages as read no more than as delivered: it wants the customer."""
    customer = next(iter(happening.person.addresses), None)
    return content if customer is None else replace(content, read_token=customer.value)


def _watermark(status: str, happening: Happening, body: Part) -> AnyOccurrence:
    """All that was sent up to a moment has this status; the event's own time says less."""
    up_to = moment_of_milliseconds(body.get("watermark"))
    if up_to is None or not happening.person.addresses:
        return happening.not_understood()
    mids = body.get("mids")
    named = [identifier(each) for each in mids] if isinstance(mids, list) else []
    return WatermarkOccurred(
        kind=f"status.{status}",
        account_id=happening.account_id,
        business_account_id=None,
        at=up_to,
        dedupe=happening.name,
        status=status,
        person=happening.person,
        platform_ids=tuple(each for each in named if each is not None),
        detail=happening.raw,
    )


def _activity(kind: str, happening: Happening, _: Part) -> AnyOccurrence:
    return happening.activity(kind)


def _account_news(kind: str, happening: Happening, _: Part) -> AnyOccurrence:
    return happening.account_news(kind)


# A warning changes nothing yet: it is kept like all other news.
CONDITIONS = {
    "block": Condition(state="stopped", reason="blocked"),
    "unblock": Condition(state="ok"),
}


def _policy_enforcement(happening: Happening, enforcement: Part) -> AnyOccurrence:
    condition = CONDITIONS.get(identifier(enforcement.get("action")) or "")
    return happening.account_news("account.policy_enforcement", condition)


READERS: Mapping[str, Callable[[Happening, Part], AnyOccurrence]] = {
    "message": _message,
    "message_edit": _edit,
    "reaction": _reaction,
    "postback": _postback,
    "delivery": partial(_watermark, "delivered"),
    "read": partial(_watermark, "read"),
    "referral": partial(_activity, "contact.referral"),
    "optin": partial(_activity, "contact.optin"),
    "pass_thread_control": partial(_activity, "contact.thread_control"),
    "take_thread_control": partial(_activity, "contact.thread_control"),
    "request_thread_control": partial(_activity, "contact.thread_control"),
    "account_linking": partial(_activity, "event.other"),
    "messaging_feedback": partial(_activity, "event.other"),
    "response_feedback": partial(_activity, "event.other"),
    "order": partial(_activity, "event.other"),
    "app_roles": partial(_account_news, "account.app_roles"),
    "policy_enforcement": _policy_enforcement,
}
