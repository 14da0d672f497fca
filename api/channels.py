"""Channels: connecting services, leaving, managing what is shared (S1–S16)."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, delete, get, patch, post, put
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody

from api.answers import Listing, Page, answer, known_id, slug
from api.authentication import Principal, actor_of
from api.bodies import END
from api.commands.channels import Channels, Connected, ConnectService
from api.commands.context import Actor
from api.commands.execute import Outcome
from api.parts import Part
from api.reading import Reading
from api.settings import Settings
from domain.channel import require_eligible
from domain.credentials import names_made
from domain.refusal import NotFound
from projections.channels.projection import Channels as ChannelsProjection
from projections.channels.queries import ChannelRow, HealthState, channel, channels_page
from projections.media import Media

AnyRequest = Request[Any, Any, Any]
ShortText = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
AccountId = Annotated[str, msgspec.Meta(pattern=rf"^[A-Za-z0-9_.:@-]{{1,100}}{END}")]
Secret = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]

PROJECTION, MEDIA = ChannelsProjection(), Media()

# Their webhooks are the app's, for all accounts at one address.
META = frozenset({"whatsapp", "messenger"})


class ConnectBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """When the channel exists already, name, address and credentials are ignored."""

    service: str
    platform: Literal["whatsapp", "messenger", "line", "telegram", "wechat"]
    account_id: AccountId
    name: ShortText
    address: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    business_account_id: AccountId | None = None
    credentials: dict[str, Secret] | None = None


class ManageBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What the parent changes; what is left out keeps its value."""

    name: ShortText | None = None
    icon_media_id: Annotated[str, msgspec.Meta(max_length=100)] | None = None
    credentials: dict[str, Secret] | None = None


class ConnectionBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A service's own settings; null takes the service's, what is left out keeps its value."""

    department: Annotated[str, msgspec.Meta(max_length=200)] | None | msgspec.UnsetType = (
        msgspec.UNSET
    )
    ticket_timer_hours: Annotated[int, msgspec.Meta(ge=1, le=8760)] | None | msgspec.UnsetType = (
        msgspec.UNSET
    )


class AgentsBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """All agents who are given the channel's chats in this service."""

    user_ids: Annotated[list[str], msgspec.Meta(max_length=1000)]


class ServiceOnChannel(msgspec.Struct, kw_only=True):
    """A service with a connection to the channel."""

    service: str
    state: Literal["active", "disabled"]
    parent: bool
    connected_at: datetime


class HealthView(msgspec.Struct, kw_only=True):
    """Whether the platform takes messages from the account, and delivers those of customers.

    `stopped`: nothing is sent until somebody acts, and what is written waits. Otherwise sending
    goes on: `restricted` was told by the platform, `limited` and `unreachable` are what it answers,
    until it takes a message again. `unsubscribed`: it delivers nothing, and refused to go on.
    """

    state: HealthState
    since: datetime | None
    reason: str | None


class ChannelView(msgspec.Struct, kw_only=True):
    """A channel with its services in the order of their connection."""

    id: str
    platform: str
    account_id: str
    address: str | None
    name: str
    icon_media_id: str | None
    shared: bool
    state: Literal["active", "dormant"]
    parent: str | None
    verification: str
    verification_reason: str | None
    health: HealthView
    services: list[ServiceOnChannel]
    released: bool


Shown = str | None | msgspec.UnsetType


class Setup(msgspec.Struct, kw_only=True):
    """What to enter at the platform; null is what was shown before, and is shown once."""

    webhook_url: str
    verify_token: Shown = msgspec.UNSET  # The installation's, for Meta's platforms.
    secret_token: Shown = msgspec.UNSET
    token: Shown = msgspec.UNSET
    encoding_aes_key: Shown = msgspec.UNSET


class ConnectedView(ChannelView, kw_only=True):
    """A channel, with what the platform needs to be told."""

    setup: Setup


@post(
    "/v1/channels",
    responses={
        200: ResponseSpec(
            ConnectedView, description="It was connected already.", generate_examples=False
        )
    },
)
async def post_channel(
    request: AnyRequest,
    data: JSONBody[ConnectBody],
    principal: Part[Principal],
    channels: Part[Channels],
    reading: Part[Reading],
    settings: Part[Settings],
) -> Response[ConnectedView]:
    """Connect a service to an account: the first makes the channel, the others join. Spec S1."""
    actor = await actor_of(request, principal, scope="manage", status=201)
    service = slug(data.service, field="service")
    require_eligible(service)
    command = ConnectService(
        service=service,
        platform=data.platform,
        account_id=data.account_id,
        name=data.name,
        address=data.address,
        business_account_id=data.business_account_id,
        credentials=data.credentials,
    )
    outcome = await channels.connect(actor, command)
    view = await _after(reading, actor, outcome, outcome.ids["channel"])
    setup = _setup(request, settings, data, outcome.value)
    connected = ConnectedView(setup=setup, **msgspec.structs.asdict(view))
    return answer(connected, outcome, status=outcome.status or 201)


@get("/v1/channels")
async def list_channels(
    request: AnyRequest,
    principal: Part[Principal],
    reading: Part[Reading],
    page: Part[Page],
) -> Listing[ChannelView]:
    """The org's channels, in the order in which they were made."""
    after = (page.after(int) or (0,))[0]
    async with reading.of(request, principal, PROJECTION, MEDIA) as connection:
        rows = await channels_page(
            connection, org=principal.keys.org.number, after=after, limit=page.limit + 1
        )
    shown = rows[: page.limit]
    more = page.cursor_of(shown[-1].cursor) if len(rows) > len(shown) else None
    return Listing([channel_view(row) for row in shown], more)


@get("/v1/channels/{channel_id:str}")
async def get_channel(
    request: AnyRequest,
    channel_id: FromPath[str],
    principal: Part[Principal],
    reading: Part[Reading],
) -> ChannelView:
    """One channel."""
    async with reading.of(request, principal, PROJECTION, MEDIA) as connection:
        row = await channel(
            connection, org=principal.keys.org.number, channel_id=known_id(channel_id)
        )
    return channel_view(found(row))


@post("/v1/channels/{channel_id:str}/services/{service:str}/disable", status_code=200)
async def disable_service(
    request: AnyRequest,
    channel_id: FromPath[str],
    service: FromPath[str],
    principal: Part[Principal],
    channels: Part[Channels],
    reading: Part[Reading],
) -> Response[ChannelView]:
    """Take the service out of the sharing; it keeps its creation rank. Spec S8."""
    actor = await actor_of(request, principal, scope="manage", status=200)
    outcome = await channels.disable(actor, known_id(channel_id), service)
    return answer(await _after(reading, actor, outcome, channel_id), outcome)


@post("/v1/channels/{channel_id:str}/services/{service:str}/enable", status_code=200)
async def enable_service(
    request: AnyRequest,
    channel_id: FromPath[str],
    service: FromPath[str],
    principal: Part[Principal],
    channels: Part[Channels],
    reading: Part[Reading],
) -> Response[ChannelView]:
    """Bring the service back. Spec S8."""
    actor = await actor_of(request, principal, scope="manage", status=200)
    outcome = await channels.enable(actor, known_id(channel_id), service)
    return answer(await _after(reading, actor, outcome, channel_id), outcome)


@delete("/v1/channels/{channel_id:str}/services/{service:str}", status_code=200)
async def delete_service(
    request: AnyRequest,
    channel_id: FromPath[str],
    service: FromPath[str],
    principal: Part[Principal],
    channels: Part[Channels],
    reading: Part[Reading],
) -> Response[ChannelView]:
    """Delete the service's connection; its creation rank is forgotten. Spec S8."""
    actor = await actor_of(request, principal, scope="manage", status=200)
    outcome = await channels.delete(actor, known_id(channel_id), service)
    return answer(await _after(reading, actor, outcome, channel_id), outcome)


@patch("/v1/services/{service:str}/channels/{channel_id:str}")
async def patch_channel(
    request: AnyRequest,
    service: FromPath[str],
    channel_id: FromPath[str],
    data: JSONBody[ManageBody],
    principal: Part[Principal],
    channels: Part[Channels],
    reading: Part[Reading],
) -> Response[ChannelView]:
    """Rename the channel, give it an icon, or replace its account's credentials; only the parent
    may. An icon is an uploaded jpg or png of at most 1 MB. Spec S12, C9."""
    actor = await actor_of(request, principal, scope="manage", status=200)
    outcome = await channels.manage(
        actor,
        known_id(channel_id),
        service,
        name=data.name,
        given=data.credentials,
        icon=known_id(data.icon_media_id) if data.icon_media_id is not None else None,
    )
    return answer(await _after(reading, actor, outcome, channel_id), outcome)


@put("/v1/services/{service:str}/channels/{channel_id:str}/connection")
async def put_connection(
    request: AnyRequest,
    service: FromPath[str],
    channel_id: FromPath[str],
    data: JSONBody[ConnectionBody],
    principal: Part[Principal],
    channels: Part[Channels],
    reading: Part[Reading],
) -> Response[ChannelView]:
    """A service's own settings on a channel. Spec S12."""
    actor = await actor_of(request, principal, scope="manage", status=200)
    outcome = await channels.configure_connection(
        actor,
        known_id(channel_id),
        service,
        department=data.department,
        ticket_timer_hours=data.ticket_timer_hours,
    )
    return answer(await _after(reading, actor, outcome, channel_id), outcome)


@put("/v1/channels/{channel_id:str}/services/{service:str}/agents")
async def put_agents(
    request: AnyRequest,
    channel_id: FromPath[str],
    service: FromPath[str],
    data: JSONBody[AgentsBody],
    principal: Part[Principal],
    channels: Part[Channels],
    reading: Part[Reading],
) -> Response[ChannelView]:
    """Whom a service gives the channel's chats to. Spec C2."""
    actor = await actor_of(request, principal, scope="manage", status=200)
    user_ids = tuple(dict.fromkeys(data.user_ids))
    outcome = await channels.associate_agents(actor, known_id(channel_id), service, user_ids)
    return answer(await _after(reading, actor, outcome, channel_id), outcome)


@delete("/v1/channels/{channel_id:str}", status_code=200)
async def delete_channel(
    request: AnyRequest,
    channel_id: FromPath[str],
    principal: Part[Principal],
    channels: Part[Channels],
    reading: Part[Reading],
) -> Response[ChannelView]:
    """Release the account of a dormant channel; history stays readable. Spec S15."""
    actor = await actor_of(request, principal, scope="manage", status=200)
    outcome = await channels.release(actor, known_id(channel_id))
    return answer(await _after(reading, actor, outcome, channel_id), outcome)


async def _after(
    reading: Reading, actor: Actor, outcome: Outcome[Any], channel_id: str
) -> ChannelView:
    async with reading.after(actor.org.number, outcome.position, PROJECTION, MEDIA) as connection:
        return channel_view(
            found(await channel(connection, org=actor.org.number, channel_id=channel_id))
        )


def found(row: ChannelRow | None) -> ChannelRow:
    """The channel. Raises NotFound."""
    if row is None:
        raise NotFound("There is no such channel.")
    return row


def _setup(
    request: AnyRequest, settings: Settings, data: ConnectBody, done: Connected | None
) -> Setup:
    """What to enter at the platform."""
    base = (settings.public_url or str(request.base_url)).rstrip("/")
    url = f"{base}/webhooks/{data.platform}"
    if data.platform not in META:
        url = f"{url}/{data.account_id}"
    shown: dict[str, Any] = {}
    if done is None:
        names = names_made(data.platform, data.credentials or {})
        shown = dict.fromkeys(["verify_token"] if data.platform in META else names)
    elif done.first:
        shown = {"verify_token": settings.meta_verify_token} if data.platform in META else done.made
    return Setup(webhook_url=url, **shown)


def channel_view(row: ChannelRow) -> ChannelView:
    """One channel."""
    health = row.health
    return ChannelView(
        id=row.id,
        platform=row.platform,
        account_id=row.account_id,
        address=row.address,
        name=row.name,
        icon_media_id=row.icon_media_id,
        shared=row.shared,
        state=row.state,
        parent=row.parent,
        verification=row.verification,
        verification_reason=row.verification_reason,
        health=HealthView(
            state=health.state if health else "ok",
            since=health.since if health else None,
            reason=health.reason if health else None,
        ),
        services=[
            ServiceOnChannel(
                service=each.service,
                state=each.state,
                parent=each.parent,
                connected_at=each.connected_at,
            )
            for each in row.services
        ],
        released=row.released,
    )


HANDLERS = (
    post_channel,
    list_channels,
    get_channel,
    disable_service,
    enable_service,
    delete_service,
    patch_channel,
    put_connection,
    put_agents,
    delete_channel,
)
