"""One update as occurrences: who it is about, and what of a message, reaction or button it is."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from msgspec.structs import replace

from adapters.happening import NOBODY, Happening
from adapters.readers import digest, identifier, moment, objects, part, text
from adapters.telegram.content import describe, is_forum_topic
from adapters.telegram.naming import MessageName
from domain.inbound import (
    CONNECTION_KIND,
    Address,
    AddressesChanged,
    AnyOccurrence,
    Content,
    Person,
)

Update = dict[str, Any]
Part = dict[str, Any]

LEFT = frozenset({"left", "kicked"})

# What a chat tells about itself, in messages that nobody wrote.
SERVICE_MESSAGES = frozenset(
    {
        "boost_added",
        "channel_chat_created",
        "chat_background_set",
        "chat_owner_changed",
        "chat_owner_left",
        "chat_shared",
        "checklist_tasks_added",
        "checklist_tasks_done",
        "community_chat_added",
        "community_chat_joined",
        "community_chat_removed",
        "connected_website",
        "delete_chat_photo",
        "direct_message_price_changed",
        "forum_topic_closed",
        "forum_topic_created",
        "forum_topic_edited",
        "forum_topic_reopened",
        "general_forum_topic_hidden",
        "general_forum_topic_unhidden",
        "gift",
        "gift_upgrade_sent",
        "giveaway_completed",
        "giveaway_created",
        "group_chat_created",
        "left_chat_member",
        "managed_bot_created",
        "message_auto_delete_timer_changed",
        "new_chat_members",
        "new_chat_photo",
        "new_chat_title",
        "paid_message_price_changed",
        "passport_data",
        "pinned_message",
        "poll_option_added",
        "poll_option_deleted",
        "proximity_alert_triggered",
        "refunded_payment",
        "successful_payment",
        "suggested_post_approval_failed",
        "suggested_post_approved",
        "suggested_post_declined",
        "suggested_post_paid",
        "suggested_post_refunded",
        "supergroup_chat_created",
        "unique_gift",
        "user_shared",
        "users_shared",
        "video_chat_ended",
        "video_chat_participants_invited",
        "video_chat_scheduled",
        "video_chat_started",
        "write_access_allowed",
    }
)
SERVICE_KINDS = {
    "new_chat_members": "group.member_joined",
    "left_chat_member": "group.member_left",
}


def read_update(account_id: str, update: Update) -> list[AnyOccurrence]:
    """Everything that an update says. It has a number, and beside it one member."""
    for kind, body in update.items():
        reader = READERS.get(kind)
        if reader is not None and isinstance(body, dict):
            return reader(_happening(account_id, update, body), body)
    return [_happening(account_id, update, {}).not_understood()]


def _happening(account_id: str, update: Update, body: Part) -> Happening:
    written = body.get("edit_date") or body.get("date")
    # Numbers begin anew after a week of silence, perhaps among those that were used before; so the
    # number alone is no name for ever.
    mark = identifier(written) or identifier(body.get("id")) or digest(update)
    return Happening(
        account_id=account_id,
        at=moment(written),
        dedupe=("update", str(update["update_id"]), mark),
        raw=update,
    )


# Messages.


def _message(happening: Happening, message: Part) -> list[AnyOccurrence]:
    happening, chat_id = _placed(happening, message, sender=_sender(happening, message))
    moved = _moved(happening, message, chat_id)
    if moved is not None:
        return [moved]
    platform_id = _key(message, happening)
    if platform_id is None:
        return [happening.not_understood()]
    service = next((name for name in message if name in SERVICE_MESSAGES), None)
    if service is not None:
        return [happening.activity(SERVICE_KINDS.get(service, "event.other"))]
    kind, content = describe(message)
    echo = _is_by_business(happening, message, chat_id)
    quotes = _quoted(message)
    return [happening.message(kind, content, platform_id=platform_id, quotes=quotes, echo=echo)]


def _edited(happening: Happening, message: Part) -> list[AnyOccurrence]:
    happening, chat_id = _placed(happening, message, sender=_sender(happening, message))
    target = _key(message, happening)
    if target is None:
        return [happening.not_understood()]
    _, content = describe(message)
    echo = _is_by_business(happening, message, chat_id)
    return [happening.change("edited", content, target=target, echo=echo)]


def _deleted(happening: Happening, deleted: Part) -> list[AnyOccurrence]:
    """Only business accounts are told of deletions: several at once, and not when."""
    happening, chat_id = _placed(happening, deleted, sender=NOBODY)
    ids = deleted.get("message_ids")
    targets = [identifier(each) for each in ids] if isinstance(ids, list) else []
    if chat_id is None or not targets or None in targets:
        return [happening.not_understood()]
    return [
        happening.named(*happening.dedupe, str(each)).change(
            "deleted", None, target=_joined(deleted, chat_id, str(each))
        )
        for each in targets
    ]


def _reaction(happening: Happening, reaction: Part) -> list[AnyOccurrence]:
    """The reactions that somebody leaves on a message, all of them; none takes them back."""
    sender = _sender(happening, reaction, behalf="actor_chat", user="user")
    happening, _ = _placed(happening, reaction, sender=sender)
    target = _key(reaction, happening)
    if target is None or not isinstance(reaction.get("new_reaction"), list):
        return [happening.not_understood()]
    left = objects(reaction["new_reaction"])
    emoji = "".join(text(each.get("emoji")) or "" for each in left)
    content = Content(text=emoji or None) if left else None
    return [happening.change("reaction", content, target=target)]


def _button(happening: Happening, query: Part) -> list[AnyOccurrence]:
    """A pressed button of a message. It has no time, and no message id of its own."""
    sender = _user(happening, query, "from")
    message = part(query, "message")
    query_id = identifier(query.get("id"))
    if query_id is None:
        return [replace(happening, person=sender).not_understood()]
    if not message:  # Of a message that was sent through the bot into a chat it is not in.
        return [replace(happening, person=sender).activity("event.other")]
    happening, _ = _placed(happening, message, sender=sender, sender_is_customer=True)
    payload = text(query.get("data")) or text(query.get("game_short_name"))
    content = Content(text=_label(message, payload), payload=payload)
    quotes = _key(message, happening)
    platform_id = f"callback:{query_id}"
    return [happening.message("button_reply", content, platform_id=platform_id, quotes=quotes)]


def _label(message: Part, payload: str | None) -> str | None:
    rows = part(message, "reply_markup").get("inline_keyboard")
    buttons = [each for row in rows for each in objects(row)] if isinstance(rows, list) else []
    return next(
        (text(each.get("text")) for each in buttons if each.get("callback_data") == payload), None
    )


# People and groups.


def _membership(happening: Happening, change: Part) -> list[AnyOccurrence]:
    """What the bot may do in a chat: a person blocks it or lets it in again, or a group does."""
    happening, _ = _placed(happening, change, sender=_user(happening, change, "from"))
    was_out, is_out = (_is_out(part(change, f"{age}_chat_member")) for age in ("old", "new"))
    names = ("contact.follow", "contact.unfollow")
    if happening.group is not None:
        names = ("group.joined", "group.left")
    if is_out:
        return [happening.follow(names[1], follows=False)]
    if was_out:
        return [happening.follow(names[0], follows=True)]
    return [happening.activity("event.other")]


def _is_out(member: Part) -> bool:
    """Whether somebody is not in a chat; who is restricted may be in it or not."""
    status = text(member.get("status"))
    return status in LEFT or (status == "restricted" and member.get("is_member") is False)


def _moved(happening: Happening, message: Part, chat_id: str | None) -> AnyOccurrence | None:
    """A group became a supergroup, and has another id from then on: both of them say so."""
    after = identifier(message.get("migrate_to_chat_id"))
    before = identifier(message.get("migrate_from_chat_id"))
    if chat_id is None or happening.group is None or (before is None and after is None):
        return None
    kind = happening.group.kind
    return AddressesChanged(
        kind="contact.chat_migrated",
        account_id=happening.account_id,
        business_account_id=None,
        at=happening.at,
        dedupe=happening.dedupe,
        person=Person(addresses=(Address(kind, before or chat_id),), name=happening.group_name),
        added=(Address(kind, after or chat_id),),
        group=True,
        raw=happening.raw,
    )


def _activity(name: str, happening: Happening, body: Part) -> list[AnyOccurrence]:
    """Something of a person that is no message; `name` is the member that says who."""
    sender = _user(happening, body, name)
    if "chat" in body:
        happening, _ = _placed(happening, body, sender=sender)
    else:
        happening = replace(happening, person=sender)
    return [happening.activity("event.other")]


def _account_news(kind: str, happening: Happening, _: Part) -> list[AnyOccurrence]:
    return [happening.account_news(kind)]


READERS: Mapping[str, Callable[[Happening, Part], list[AnyOccurrence]]] = {
    "message": _message,
    "edited_message": _edited,
    "business_message": _message,
    "edited_business_message": _edited,
    "deleted_business_messages": _deleted,
    "message_reaction": _reaction,
    "callback_query": _button,
    "my_chat_member": _membership,
    # What a channel publishes is nothing that a customer says.
    "channel_post": partial(_activity, "from"),
    "edited_channel_post": partial(_activity, "from"),
    "chat_boost": partial(_activity, "from"),
    "chat_join_request": partial(_activity, "from"),
    "chat_member": partial(_activity, "from"),
    "chosen_inline_result": partial(_activity, "from"),
    "guest_message": partial(_activity, "from"),  # From a chat that the bot is not in.
    "inline_query": partial(_activity, "from"),
    "message_reaction_count": partial(_activity, "from"),
    "poll_answer": partial(_activity, "user"),
    "pre_checkout_query": partial(_activity, "from"),
    "purchased_paid_media": partial(_activity, "from"),
    "removed_chat_boost": partial(_activity, "from"),
    "shipping_query": partial(_activity, "from"),
    "stopped_message_generation": partial(_activity, "from"),
    "subscription": partial(_activity, "user"),
    "business_connection": partial(_account_news, "account.business_connection"),
    "managed_bot": partial(_account_news, "account.managed_bot"),
    "poll": partial(_account_news, "account.poll"),
}


def _placed(
    happening: Happening, body: Part, *, sender: Person, sender_is_customer: bool = False
) -> tuple[Happening, str | None]:
    """What happened, in the chat where it did: with a person, or in a group by one (C19)."""
    chat = part(body, "chat")
    chat_id = identifier(chat.get("id"))
    if chat_id is None:
        return replace(happening, person=sender), None
    if chat.get("type") == "private":
        customer = sender if sender_is_customer else _of_user(happening, chat)
        return replace(happening, person=_reached(happening, customer, body, chat_id)), chat_id
    group = Address(f"group:{happening.account_id}", chat_id)
    name = text(chat.get("title"))
    return replace(happening, person=sender, group=group, group_name=name), chat_id


def _reached(happening: Happening, customer: Person, body: Part, chat_id: str) -> Person:
    """Who wrote to a business account is answered through the connection that showed it to us."""
    connection = identifier(body.get("business_connection_id"))
    if connection is None:
        return customer
    kind = f"{CONNECTION_KIND}:{happening.account_id}"
    return replace(
        customer, addresses=(*customer.addresses, Address(kind, f"{connection}:{chat_id}"))
    )


def _sender(
    happening: Happening, body: Part, *, behalf: str = "sender_chat", user: str = "from"
) -> Person:
    """Who did something in a group. Its anonymous administrators do it in its own name."""
    chat, on_behalf = part(body, "chat"), part(body, behalf)
    if on_behalf and on_behalf.get("id") == chat.get("id"):
        return NOBODY
    return _of_chat(happening, on_behalf) or _user(happening, body, user)


def _is_by_business(happening: Happening, message: Part, chat_id: str | None) -> bool:
    """A business account shows its bot what its owner, or another bot, writes to customers."""
    if happening.group is not None or identifier(message.get("business_connection_id")) is None:
        return False
    author = identifier(part(message, "from").get("id"))
    return "sender_business_bot" in message or author != chat_id


def _user(happening: Happening, body: Part, name: str) -> Person:
    return _of_user(happening, part(body, name))


def _of_user(happening: Happening, user: Part) -> Person:
    user_id = identifier(user.get("id"))
    if user_id is None:
        return NOBODY
    names = (text(user.get("first_name")), text(user.get("last_name")))
    name = " ".join(each for each in names if each) or text(user.get("username"))
    return Person(addresses=(_address(happening, user_id),), name=name or None)


def _of_chat(happening: Happening, chat: Part) -> Person | None:
    chat_id = identifier(chat.get("id"))
    if chat_id is None:
        return None
    return Person(addresses=(_address(happening, chat_id),), name=text(chat.get("title")))


def _address(happening: Happening, platform_id: str) -> Address:
    return Address(f"telegram:{happening.account_id}", platform_id)


# Names of messages.


def _key(message: Part, happening: Happening) -> str | None:
    chat_id = identifier(part(message, "chat").get("id"))
    message_id = identifier(message.get("message_id"))
    if chat_id is None or message_id is None:
        return None
    if message_id == "0":  # Ephemeral and scheduled messages have no number.
        message_id = ".".join(happening.dedupe)
    return _joined(message, chat_id, message_id)


def _joined(body: Part, chat_id: str, message_id: str) -> str:
    connection = identifier(body.get("business_connection_id")) or ""
    return str(MessageName(connection, chat_id, message_id))


def _quoted(message: Part) -> str | None:
    """The message that is answered. In a topic without an answer it is the topic's beginning."""
    answered = part(message, "reply_to_message")
    if is_forum_topic(answered):
        return None
    chat_id = identifier(part(answered, "chat").get("id"))
    message_id = identifier(answered.get("message_id"))
    if chat_id is None or message_id is None:
        return None
    return _joined(message, chat_id, message_id)
