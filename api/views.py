"""Chats and messages as clients see them: masked first, opened last (S4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import msgspec

from api.commands.organisations import UserProfile
from api.media_view import media_of
from domain import windows
from domain.chosen_rules import ChosenRules, window_for
from domain.inbound import Content, files_of
from domain.organisation import Masking
from domain.ports import Keys, Unreadable
from projections.engine.sealed_parts import SealedPart
from projections.inbox.rows import ChatRow, FileRow, MessageRow
from projections.masking import Masked, Visible, shown_to


class Author(msgspec.Struct):
    """A user by name; null once erased."""

    id: str
    name: str | None


class Member(msgspec.Struct):
    """Who of a group wrote (C19)."""

    contact_id: str
    name: str | None


class Reaction(msgspec.Struct):
    """A reaction to a message; `author` is `customer`, `business` or a member's contact."""

    author: str
    text: str | None
    at: datetime


class VisibleMessage(msgspec.Struct, kw_only=True):
    """A message that the viewer may see."""

    id: str
    direction: Literal["inbound", "outbound"]
    kind: str
    at: datetime
    status: str
    masked: Literal[False] = False
    service: str | None
    author: Author | None
    content: dict[str, Any]
    reply_to: str | None = None
    retry_of: str | None = None
    failure: dict[str, Any] | None = None
    edited_at: datetime | None = None
    unsent: bool = False
    member: Member | None = None
    reactions: list[Reaction] = []


class MaskedMessage(msgspec.Struct, kw_only=True):
    """A message of another service: that it is there, and nothing else."""

    id: str
    direction: str
    at: datetime
    status: str
    masked: Literal[True] = True
    service: str


class Customer(msgspec.Struct):
    """Who the chat is with; name and address are null where unknown or erased."""

    contact_id: str
    name: str | None
    address: str | None


class Window(msgspec.Struct):
    """Whether a free-form message may be sent now (N1)."""

    open: bool
    closes_at: datetime | None


class Session(msgspec.Struct):
    """From the chat's opening to its closing (C11)."""

    id: str
    started_at: datetime
    customer_last_read_at: datetime | None


# A dataclass: msgspec cannot describe a union of two structs, and the OpenAPI document must.
@dataclass(kw_only=True)
class ChatView:
    """A chat as one service has it."""

    id: str
    channel_id: str
    platform: str
    customer: Customer
    status: Literal["open", "closed"]
    blocked: bool
    owner: Author | None
    unread: int
    answered: bool
    started_at: datetime
    last_activity_at: datetime
    last_message: VisibleMessage | MaskedMessage | None
    window: Window
    session: Session
    marketing_opt_out: bool


class Viewer(msgspec.Struct, frozen=True, kw_only=True):
    """For whom something is shown: a service under its policy, at a moment."""

    keys: Keys
    service: str
    policy: Masking
    rules: ChosenRules
    now: datetime


def people_on(rows: Sequence[ChatRow | MessageRow]) -> set[str]:
    """The users whose names a page may show."""
    messages = [row.last_message if isinstance(row, ChatRow) else row for row in rows]
    owners = [row.owner for row in rows if isinstance(row, ChatRow)]
    return {user for user in [*owners, *(each.user_id for each in messages)] if user}


def chat_view(
    row: ChatRow, viewer: Viewer, *, unread: int, profiles: Mapping[str, UserProfile]
) -> ChatView:
    """One chat for a viewer."""
    return ChatView(
        id=row.chat_id,
        channel_id=row.view.channel_id,
        platform=row.platform,
        customer=Customer(row.contact_id, _profile_name(row.name, viewer), _address(row, viewer)),
        status=row.status,
        blocked=row.blocked,
        owner=_author(row.owner, profiles),
        unread=unread,
        answered=row.answered,
        started_at=row.started_at,
        last_activity_at=row.last_activity_at,
        last_message=message_view(row.last_message, viewer, profiles=profiles),
        window=_window(row, viewer),
        session=Session(row.session_id, row.session_started_at, row.customer_last_read_at),
        marketing_opt_out=row.marketing_opt_out,
    )


def _window(row: ChatRow, viewer: Viewer) -> Window:
    rule = window_for(viewer.rules, row.platform, row.account_id, at=viewer.now)
    wrote_at = row.last_customer_message_at
    return Window(
        windows.is_open(rule, wrote_at, now=viewer.now, for_people=True),
        windows.closes_at(rule, wrote_at, for_people=True),
    )


def message_view(
    row: MessageRow, viewer: Viewer, *, profiles: Mapping[str, UserProfile]
) -> VisibleMessage | MaskedMessage:
    """One message for a viewer. What is masked is never opened. Spec S4."""
    match shown_to(viewer.service, row, policy=viewer.policy):
        case Masked() as masked:
            return MaskedMessage(
                id=masked.message_id,
                direction=masked.direction,
                at=masked.at,
                status=masked.status,
                service=masked.service,
            )
        case Visible(message):
            return _visible(message, viewer, profiles)


def _visible(
    row: MessageRow, viewer: Viewer, profiles: Mapping[str, UserProfile]
) -> VisibleMessage:
    failure = None
    if row.failure_reason is not None or row.failure_code is not None:
        failure = {"reason": row.failure_reason, "code": row.failure_code}
    return VisibleMessage(
        id=row.message_id,
        direction=row.direction,
        kind=row.kind,
        at=row.at,
        status=row.status,
        service=row.service,
        author=_author(row.user_id, profiles),
        content=_content(row, viewer),
        reply_to=row.quotes,
        retry_of=row.retry_of,
        failure=failure,
        edited_at=row.edited_at,
        unsent=row.unsent,
        member=Member(row.member, _profile_name(row.member_name, viewer)) if row.member else None,
        reactions=[
            Reaction(each.author, _text(each.content, viewer), each.at) for each in row.reactions
        ],
    )


# What clients see of content: what a person would see, not the platform's envelope.
_SHOWN = (
    "text",
    "media",
    "payload",
    "location",
    "contacts",
    "link",
    "order",
    "form",
    "template",
    "error",
    "raw_type",
)


def _content(row: MessageRow, viewer: Viewer) -> dict[str, Any]:
    content = _opened_content(row.edited or row.content, viewer)
    if content is None:
        return {}
    if row.edited is not None and content.media is None:
        content = _beside_its_files(content, row, viewer)
    shown = {name: getattr(content, name) for name in _SHOWN}
    present = {name: value for name, value in shown.items() if value is not None}
    if content.media is not None:
        files = _files_of(row, content, viewer)
        present["media"] = media_of(content.media, row.kind, files, viewer.keys)
    marks = {name: True for name in ("forwarded", "standby") if getattr(content, name)}
    return present | marks


def _beside_its_files(edit: Content, row: MessageRow, viewer: Viewer) -> Content:
    """An edit that names no file has changed the words beside the one that was there."""
    before = _opened_content(row.content, viewer)
    return edit if before is None else msgspec.structs.replace(edit, media=before.media)


def _files_of(row: MessageRow, content: Content, viewer: Viewer) -> tuple[FileRow, ...]:
    """What has come of the files that are shown; those of an edit are not fetched."""
    if row.edited is None:
        return row.files
    before = _opened_content(row.content, viewer)
    if before is not None and _names(before) == _names(content):
        return row.files
    return tuple(FileRow(part, None, "replaced") for part in range(len(files_of(content))))


def _names(content: Content) -> list[str]:
    # Telegram and WhatsApp give a file another id each time; what it is stays beside it.
    names = ("unique_id", "sha256", "platform_id", "url")
    return [next(str(each[name]) for name in names if name in each) for each in files_of(content)]


def _opened_content(part: SealedPart | None, viewer: Viewer) -> Content | None:
    data = _opened(part, viewer)
    return None if data is None else msgspec.json.decode(data, type=Content)


def _text(part: SealedPart, viewer: Viewer) -> str | None:
    content = _opened_content(part, viewer)
    return content.text if content else None


def _opened(part: SealedPart | None, viewer: Viewer) -> bytes | None:
    if part is None:
        return None
    try:
        return viewer.keys.open(
            part.sealed, stream=part.stream, stored_type=part.type, wrapped=part.wrapped
        )
    except Unreadable:
        return None  # Erased (E4).


class _Profile(msgspec.Struct):
    name: str | None = None


def _profile_name(part: SealedPart | None, viewer: Viewer) -> str | None:
    data = _opened(part, viewer)
    return None if data is None else msgspec.json.decode(data, type=_Profile).name


def _address(row: ChatRow, viewer: Viewer) -> str | None:
    data = _opened(row.address, viewer)
    if data is None:
        return None
    return f"+{data.decode()}" if row.address_kind == "phone" else data.decode()


def _author(user_id: str | None, profiles: Mapping[str, UserProfile]) -> Author | None:
    if user_id is None:
        return None
    profile = profiles.get(user_id)
    return Author(user_id, profile.name if profile else None)
