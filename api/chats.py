"""Inboxes and chats: GET the list, one chat, its counts; assign, close, block, visit."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody, QueryParameter

from api.answers import Listing, Page, answer, known_id, read_answer, utc
from api.authentication import Principal, actor_of
from api.commands.chats import Chats
from api.commands.context import Actor, channel_of, the_chat, the_organisation
from api.commands.execute import Executor, Outcome
from api.commands.unit import Unit
from api.names import Names
from api.notices import NoticeView, notice_view, with_names
from api.parts import Part
from api.reading import Reading
from api.views import ChatView, Viewer, chat_view, people_on
from domain.organisation import require_view
from domain.ownership import Assign, OwnedElsewhereNotice, owned_elsewhere
from domain.ports import Clock
from domain.refusal import Invalid, NotConnected, NotFound, OwnedElsewhere, OwnedHere
from projections.engine.checkpoints import position as position_of
from projections.engine.projection import Connection
from projections.inbox import queries as inbox
from projections.inbox.projection import Inbox
from projections.inbox.rows import ChatCursor, ChatRow
from projections.media import Media
from projections.unread.projection import Unread, unread, unread_of_chats

AnyRequest = Request[Any, Any, Any]
INBOX, UNREAD, MEDIA = Inbox(), Unread(), Media()

NOT_SEARCHABLE = "search is not part of this release"
NOT_LINKED = "linked records are not part of this release"


@dataclass(kw_only=True)
class OneChat(ChatView):
    """A chat, with what its viewer is told when another service has an owner (S6)."""

    notice: NoticeView | None


class CountsView(msgspec.Struct, kw_only=True):
    """How many chats stand in each view."""

    all: int
    mine: int
    unassigned: int
    blocked: int
    closed: int
    unanswered: int


class UnreadView(msgspec.Struct, kw_only=True):
    """The exact total, and the 200 chats with the newest messages."""

    unread: int
    chats: dict[str, int]


class AssignBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Without a user the caller; `confirm` replaces an owner, here or elsewhere (S7, C18)."""

    user_id: str | None = None
    confirm: bool = False
    move_activities: bool = False


Moment = Annotated[datetime | None, QueryParameter()]


class _Query(msgspec.Struct, frozen=True, kw_only=True):
    view: inbox.View
    filters: inbox.ChatFilters


def chat_query(
    view: Annotated[inbox.View, QueryParameter()] = "all",
    filter: Annotated[  # noqa: A002 - Named as in the query, so that a refusal names it.
        Literal["all", "unanswered", "answered"], QueryParameter()
    ] = "all",
    status: Annotated[Literal["open", "closed"] | None, QueryParameter()] = None,
    owner: Annotated[str | None, QueryParameter()] = None,
    platform: Annotated[str | None, QueryParameter()] = None,
    channel: Annotated[str | None, QueryParameter()] = None,
    q: Annotated[str | None, QueryParameter()] = None,
    record: Annotated[str | None, QueryParameter()] = None,
    first_from: Moment = None,
    first_to: Moment = None,
    last_from: Moment = None,
    last_to: Moment = None,
) -> _Query:
    """The dependency of the list: what the query asks for. Spec C1."""
    if q is not None:
        raise Invalid("q", NOT_SEARCHABLE)
    if record is not None:
        raise Invalid("record", NOT_LINKED)
    times = {
        "first_from": first_from,
        "first_to": first_to,
        "last_from": last_from,
        "last_to": last_to,
    }
    return _Query(
        view=view,
        filters=inbox.ChatFilters(
            answered=None if filter == "all" else filter == "answered",
            status=status,
            owner=owner,
            platform=platform,
            channel_id=channel,
            **{name: utc(at, field=name) for name, at in times.items() if at is not None},
        ),
    )


@get("/v1/services/{service:str}/chats")
async def list_chats(
    request: AnyRequest,
    service: FromPath[str],
    principal: Part[Principal],
    reading: Part[Reading],
    names: Part[Names],
    clock: Part[Clock],
    page: Part[Page],
    chat_query: Part[_Query],
) -> Response[Listing[ChatView]]:
    """The service's chats, newest activity first. Spec C1."""
    viewer = viewer_of(principal, service, clock)
    after = page.after(datetime, str)
    org = principal.keys.org.number
    async with reading.of(request, principal, INBOX, UNREAD, MEDIA) as connection:
        position = await position_of(connection, INBOX, org=org)
        rows = await inbox.chats_page(
            connection,
            org=org,
            service=service,
            view=chat_query.view,
            viewer=principal.user_id,
            filters=chat_query.filters,
            after=ChatCursor(*after) if after else None,
            limit=page.limit + 1,
        )
        shown = rows[: page.limit]
        counts = await _unread(connection, principal, service, shown)
    profiles = await names.profiles(principal.keys, principal.organisation, people_on(shown))
    items = [chat_view(row, viewer, unread=counts[row.chat_id], profiles=profiles) for row in shown]
    last = shown[-1] if len(rows) > len(shown) else None
    more = page.cursor_of(last.last_activity_at, last.chat_id) if last else None
    return read_answer(Listing(items, more), position)


@get("/v1/services/{service:str}/counts")
async def get_counts(
    request: AnyRequest,
    service: FromPath[str],
    principal: Part[Principal],
    reading: Part[Reading],
    clock: Part[Clock],
) -> CountsView:
    """How many chats stand in each view."""
    viewer_of(principal, service, clock)
    org = principal.keys.org.number
    async with reading.of(request, principal, INBOX) as connection:
        counts = await inbox.counts(connection, org=org, service=service, viewer=principal.user_id)
    return CountsView(**msgspec.structs.asdict(counts))


@get("/v1/services/{service:str}/chats/{chat_id:str}")
async def get_chat(
    request: AnyRequest,
    service: FromPath[str],
    chat_id: FromPath[str],
    principal: Part[Principal],
    reading: Part[Reading],
    executor: Part[Executor],
    names: Part[Names],
    clock: Part[Clock],
) -> Response[OneChat]:
    """One chat, never hidden because of its owner elsewhere. Spec S6."""
    viewer = viewer_of(principal, service, clock)
    async with reading.of(request, principal, INBOX, UNREAD, MEDIA) as connection:
        position = await position_of(connection, INBOX, org=principal.keys.org.number)
        row = await chat_row_of(connection, principal, service, chat_id)
        counts = await _unread(connection, principal, service, [row])

    def look(unit: Unit) -> OwnedElsewhereNotice | None:
        chat = the_chat(unit, chat_id)
        channel = channel_of(unit, chat, service)
        return owned_elsewhere(
            chat, channel, the_organisation(unit), service=service, viewer=principal.user_id
        )

    notice = await executor.look(principal.keys.org, look)
    people = people_on([row]) | ({notice.owner} if notice and notice.owner else set())
    profiles = await names.profiles(principal.keys, principal.organisation, people)
    view = chat_view(row, viewer, unread=counts[chat_id], profiles=profiles)
    shown = notice_view(notice, profiles, request) if notice else None
    return read_answer(OneChat(notice=shown, **vars(view)), position)


@post("/v1/services/{service:str}/chats/{chat_id:str}/assign", status_code=200)
async def assign_chat(
    request: AnyRequest,
    service: FromPath[str],
    chat_id: FromPath[str],
    principal: Part[Principal],
    chats: Part[Chats],
    executor: Part[Executor],
    reading: Part[Reading],
    names: Part[Names],
    clock: Part[Clock],
    data: JSONBody[AssignBody | None] = None,
) -> Response[ChatView]:
    """Give the chat an owner in this service. Spec C18, S7."""
    actor = await actor_of(request, principal, scope="reply", status=200)
    body = data or AssignBody()
    if body.move_activities:
        raise Invalid("move_activities", "activities are not part of this release")
    await require_shown(principal, service, chat_id, executor, reading)
    owner = principal.user_id if body.user_id is None else body.user_id
    command = Assign(service=service, owner=owner, confirm=body.confirm)
    try:
        outcome = await chats.assign(actor, known_id(chat_id), command)
    except (OwnedHere, OwnedElsewhere) as refusal:
        raise await with_names(refusal, request, principal, names) from None
    return await _shown(principal, service, chat_id, outcome, reading, names, clock)


Action = Callable[[Chats, Actor, str, str], Awaitable[Outcome[None]]]


def _action(name: str, action: Action, meaning: str, *, scope: str = "reply") -> HTTPRouteHandler:
    """A handler for an action on a chat that takes no body and answers the chat."""

    async def act(
        request: AnyRequest,
        service: FromPath[str],
        chat_id: FromPath[str],
        principal: Part[Principal],
        chats: Part[Chats],
        executor: Part[Executor],
        reading: Part[Reading],
        names: Part[Names],
        clock: Part[Clock],
    ) -> Response[ChatView]:
        actor = await actor_of(request, principal, scope=scope, status=200)
        await require_shown(principal, service, chat_id, executor, reading)
        outcome = await action(chats, actor, service, known_id(chat_id))
        return await _shown(principal, service, chat_id, outcome, reading, names, clock)

    act.__name__ = f"{name}_chat"
    act.__doc__ = meaning
    path = f"/v1/services/{{service:str}}/chats/{{chat_id:str}}/{name}"
    return post(path, status_code=200)(act)


ACTIONS = (
    _action("unassign", Chats.unassign, "Take the owner off, in this service. Spec S5."),
    _action("close", Chats.close, "Close the chat in this service. Spec C4."),
    _action("open", Chats.open, "Open the chat in this service. Spec C4."),
    _action("block", Chats.block, "Block the customer in this service. Spec C7."),
    _action("unblock", Chats.unblock, "Listen to the customer again. Spec C7."),
    _action("visit", Chats.visit_chat, "All of this chat has been seen. Spec C6.", scope="read"),
)


async def _shown(
    principal: Principal,
    service: str,
    chat_id: str,
    outcome: Outcome[None],
    reading: Reading,
    names: Names,
    clock: Clock,
) -> Response[ChatView]:
    """The chat as an action has left it."""
    org = principal.keys.org.number
    async with reading.after(org, outcome.position, INBOX, UNREAD) as connection:
        row = await chat_row_of(connection, principal, service, chat_id)
        counts = await _unread(connection, principal, service, [row])
    profiles = await names.profiles(principal.keys, principal.organisation, people_on([row]))
    viewer = viewer_of(principal, service, clock)
    view = chat_view(row, viewer, unread=counts[chat_id], profiles=profiles)
    return answer(view, outcome)


@post("/v1/services/{service:str}/visit", status_code=200)
async def visit_service(
    request: AnyRequest,
    service: FromPath[str],
    principal: Part[Principal],
    chats: Part[Chats],
    reading: Part[Reading],
) -> Response[UnreadView]:
    """The caller has seen everything in this service. Spec C6."""
    actor = await actor_of(request, principal, scope="read", status=200)
    outcome = await chats.visit_service(actor, service)
    async with reading.after(actor.org.number, outcome.position, UNREAD) as connection:
        return answer(await _unread_view(connection, principal, service), outcome)


@get("/v1/services/{service:str}/unread")
async def get_unread(
    request: AnyRequest,
    service: FromPath[str],
    principal: Part[Principal],
    reading: Part[Reading],
    clock: Part[Clock],
) -> UnreadView:
    """How many customer messages arrived since the caller's last visit. Spec C6."""
    viewer_of(principal, service, clock)
    async with reading.of(request, principal, UNREAD) as connection:
        return await _unread_view(connection, principal, service)


async def _unread_view(connection: Connection, principal: Principal, service: str) -> UnreadView:
    total, by_chat = await unread(
        connection, org=principal.keys.org.number, user_id=principal.user_id, service=service
    )
    return UnreadView(unread=total, chats=by_chat)


def viewer_of(principal: Principal, service: str, clock: Clock) -> Viewer:
    """The service as the caller may view it. Raises NotFound, Forbidden."""
    require_view(principal.organisation, principal.user_id, service)
    return Viewer(
        keys=principal.keys,
        service=service,
        policy=principal.organisation.services[service].masking,
        rules=principal.rules,
        now=clock.now(),
    )


async def require_shown(
    principal: Principal, service: str, chat_id: str, executor: Executor, reading: Reading
) -> None:
    """Refuse to act on a chat that the service does not have. Raises what `chat_row_of` does.

    Whoever wrote in it has it, and so has a shared channel where the customer wrote; only for the
    others the inbox is asked (S2).
    """

    def look(unit: Unit) -> bool:
        require_view(the_organisation(unit), principal.user_id, service)
        chat = the_chat(unit, known_id(chat_id))
        channel = channel_of(unit, chat, service)
        heard = channel.shared and chat.last_customer_message_at is not None
        return heard or channel.channel_id in chat.last_reply

    if not await executor.look(principal.keys.org, look):
        async with reading.now(principal.keys.org.number) as connection:
            await chat_row_of(connection, principal, service, chat_id)


async def chat_row_of(
    connection: Connection, principal: Principal, service: str, chat_id: str
) -> ChatRow:
    """The chat as the service has it. Raises NotFound, NotConnected. Spec S16."""
    row = await inbox.chat(
        connection, org=principal.keys.org.number, service=service, chat_id=known_id(chat_id)
    )
    if row is None:
        raise NotFound("There is no such chat in this service.")
    if not row.connected:
        raise NotConnected
    return row


async def _unread(
    connection: Connection, principal: Principal, service: str, rows: list[ChatRow]
) -> dict[str, int]:
    return await unread_of_chats(
        connection,
        org=principal.keys.org.number,
        user_id=principal.user_id,
        service=service,
        chat_ids=[row.chat_id for row in rows],
    )


HANDLERS = (
    list_chats,
    get_counts,
    get_chat,
    assign_chat,
    *ACTIONS,
    visit_service,
    get_unread,
)
