"""Services, users, API keys: PUT /v1/services/…, /v1/users, /v1/api-keys, /v1/me."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, delete, get, patch, post, put
from litestar.params import FromPath, JSONBody

from api.answers import Listing, Page, answer, known_id, slug, utc
from api.authentication import Principal, actor_of
from api.commands.organisations import SCOPES, Organisations, UserProfile
from api.names import Names
from api.parts import Part
from api.settings import Settings
from domain.organisation import (
    ChangeUser,
    ConfigureService,
    Masking,
    Organisation,
    Permission,
    Role,
    Subscription,
    require_role,
)
from domain.ports import ApiKey, Directory
from domain.refusal import Invalid, NotFound

AnyRequest = Request[Any, Any, Any]
ShortText = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
HOURS_MAX = 24 * 365


class ServiceBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is left out keeps its value; a new service needs its subscription."""

    subscription: Subscription | msgspec.UnsetType = msgspec.UNSET
    masking: Masking | msgspec.UnsetType = msgspec.UNSET
    reply_requires_ownership: bool | msgspec.UnsetType = msgspec.UNSET
    ticket_timer_hours: (
        Annotated[int, msgspec.Meta(ge=1, le=HOURS_MAX)] | None | msgspec.UnsetType
    ) = msgspec.UNSET
    mark_read: bool | msgspec.UnsetType = msgspec.UNSET


class ServiceView(msgspec.Struct, kw_only=True):
    """A service of the org."""

    service: str
    subscription: Subscription
    masking: Masking
    reply_requires_ownership: bool
    ticket_timer_hours: int | None
    mark_read: bool  # Whether customers are shown what was read.


class UserBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A new user."""

    name: ShortText
    email: Annotated[str, msgspec.Meta(max_length=320)] = ""
    role: Role = "agent"
    services: dict[str, Permission] = {}


class UserChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is left out keeps its value."""

    away: bool | msgspec.UnsetType = msgspec.UNSET
    services: dict[str, Permission] | msgspec.UnsetType = msgspec.UNSET
    role: Role | msgspec.UnsetType = msgspec.UNSET


class UserView(msgspec.Struct, kw_only=True):
    """A user; name and email are null once erased."""

    id: str
    name: str | None
    email: str | None
    role: Role
    services: dict[str, Permission]
    away: bool


class Me(msgspec.Struct, kw_only=True):
    """The user behind the API key."""

    user: UserView
    services: dict[str, Permission]
    role: Role
    scopes: list[str]


class ApiKeyBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A key for a user; without scopes it may do all but read sealed content in the log."""

    user_id: str
    name: ShortText
    scopes: list[Literal["read", "reply", "manage", "billing", "audit", "content:read"]] | None = (
        None
    )
    expires_at: datetime | None = None


class NewApiKey(msgspec.Struct, kw_only=True):
    """The key in clear, this once; null when the answer is repeated."""

    id: str
    key: str | None


class ApiKeyView(msgspec.Struct, kw_only=True):
    """A key without its secret."""

    id: str
    user_id: str
    name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class Installation(msgspec.Struct, kw_only=True):
    """What platforms need to know of this installation."""

    webhook_base_url: str
    egress_addresses: list[str]


@put("/v1/services/{service:str}")
async def put_service(
    request: AnyRequest,
    service: FromPath[str],
    data: JSONBody[ServiceBody],
    principal: Part[Principal],
    organisations: Part[Organisations],
) -> Response[ServiceView]:
    """Add a service, or change its subscription, masking and rules. Spec S2, S4, C5."""
    actor = await actor_of(request, principal, scope="manage", status=200)
    name = slug(service, field="service")
    present = principal.organisation.services.get(name)
    subscription = data.subscription
    if subscription is msgspec.UNSET:
        if present is None:
            raise Invalid("subscription", "is needed for a new service")
        subscription = present.subscription
    command = ConfigureService(
        service=name,
        subscription=subscription,
        masking=data.masking,
        owner_replies=data.reply_requires_ownership,
        ticket_timer_hours=data.ticket_timer_hours,
        marks_read=data.mark_read,
    )
    outcome = await organisations.configure_service(actor, command)
    organisation = await organisations.current(actor)
    return answer(service_view(organisation, name), outcome)


@get("/v1/services")
async def list_services(principal: Part[Principal]) -> Listing[ServiceView]:
    """The org's services."""
    principal.require_scope("read")
    organisation = principal.organisation
    return Listing([service_view(organisation, name) for name in sorted(organisation.services)])


@get("/v1/me")
async def get_me(principal: Part[Principal], names: Part[Names]) -> Me:
    """Who this key belongs to and what it may do."""
    profiles = await names.profiles(principal.keys, principal.organisation, [principal.user_id])
    user = _user_view(principal.organisation, principal.user_id, profiles)
    scopes = [scope for scope in SCOPES if scope in principal.scopes]
    return Me(user=user, services=user.services, role=user.role, scopes=scopes)


@get("/v1/installation")
async def get_installation(
    request: AnyRequest,
    principal: Part[Principal],
    settings: Part[Settings],
) -> Installation:
    """Where platforms send webhooks to, and where our calls come from."""
    principal.require_scope("read")
    base = settings.public_url or str(request.base_url)
    return Installation(
        webhook_base_url=f"{base.rstrip('/')}/webhooks",
        egress_addresses=list(settings.egress_addresses),
    )


@post("/v1/users")
async def post_user(
    request: AnyRequest,
    data: JSONBody[UserBody],
    principal: Part[Principal],
    organisations: Part[Organisations],
    names: Part[Names],
) -> Response[UserView]:
    """Add a user."""
    actor = await actor_of(request, principal, scope="manage", status=201)
    profile = UserProfile(name=data.name, email=data.email)
    outcome = await organisations.add_user(actor, profile, data.role, data.services)
    user = await _user(organisations, names, actor, outcome.ids["user"])
    return answer(user, outcome, status=201)


@patch("/v1/users/{user_id:str}")
async def patch_user(
    request: AnyRequest,
    user_id: FromPath[str],
    data: JSONBody[UserChange],
    principal: Part[Principal],
    organisations: Part[Organisations],
    names: Part[Names],
) -> Response[UserView]:
    """Change a user's role, services or absence; it counts from their next request."""
    actor = await actor_of(request, principal, scope="manage", status=200)
    command = ChangeUser(
        changed_user_id=known_id(user_id), role=data.role, services=data.services, away=data.away
    )
    outcome = await organisations.change_user(actor, command)
    return answer(await _user(organisations, names, actor, user_id), outcome)


@get("/v1/users")
async def list_users(
    principal: Part[Principal],
    names: Part[Names],
    page: Part[Page],
) -> Listing[UserView]:
    """The org's users, by id."""
    principal.require_scope("read")
    after = (page.after(str) or ("",))[0]
    ids = sorted(id_ for id_ in principal.organisation.users if id_ > after)
    shown = ids[: page.limit]
    profiles = await names.profiles(principal.keys, principal.organisation, shown)
    items = [_user_view(principal.organisation, id_, profiles) for id_ in shown]
    return Listing(items, page.cursor_of(shown[-1]) if len(ids) > len(shown) else None)


@post("/v1/api-keys")
async def post_api_key(
    request: AnyRequest,
    data: JSONBody[ApiKeyBody],
    principal: Part[Principal],
    organisations: Part[Organisations],
) -> Response[NewApiKey]:
    """Make a key; its secret is shown this once."""
    actor = await actor_of(request, principal, scope="manage", status=201)
    outcome = await organisations.create_api_key(
        actor,
        for_user_id=data.user_id,
        name=data.name,
        scopes=None if data.scopes is None else [str(scope) for scope in data.scopes],
        expires_at=utc(data.expires_at, field="expires_at") if data.expires_at else None,
    )
    return answer(NewApiKey(id=outcome.ids["key"], key=outcome.value), outcome, status=201)


@get("/v1/api-keys")
async def list_api_keys(
    principal: Part[Principal],
    directory: Part[Directory],
    page: Part[Page],
) -> Listing[ApiKeyView]:
    """The org's keys, without their secrets."""
    principal.require_scope("manage")
    require_role(principal.organisation, principal.user_id, "admin")
    after = (page.after(str) or ("",))[0]
    keys = await directory.api_keys(principal.keys.org, after=after, limit=page.limit + 1)
    shown = keys[: page.limit]
    more = page.cursor_of(shown[-1].id) if len(keys) > len(shown) else None
    return Listing([_key_view(key) for key in shown], more)


@delete("/v1/api-keys/{key_id:str}", status_code=200)
async def delete_api_key(
    request: AnyRequest,
    key_id: FromPath[str],
    principal: Part[Principal],
    organisations: Part[Organisations],
) -> Response[dict[str, str]]:
    """Revoke a key, at once."""
    actor = await actor_of(request, principal, scope="manage", status=200)
    outcome = await organisations.revoke_api_key(actor, known_id(key_id))
    return answer({"id": key_id}, outcome)


def service_view(organisation: Organisation, name: str) -> ServiceView:
    """One service. Raises NotFound."""
    service = organisation.services.get(name)
    if service is None:
        raise NotFound(f"There is no service {name!r} in this organisation.")
    return ServiceView(
        service=name,
        subscription=service.subscription,
        masking=service.masking,
        reply_requires_ownership=service.owner_replies,
        ticket_timer_hours=service.ticket_timer_hours,
        mark_read=service.marks_read,
    )


async def _user(organisations: Organisations, names: Names, actor: Any, user_id: str) -> UserView:
    organisation = await organisations.current(actor)
    profiles = await names.profiles(actor.keys, organisation, [user_id])
    return _user_view(organisation, user_id, profiles)


def _user_view(
    organisation: Organisation, user_id: str, profiles: dict[str, UserProfile]
) -> UserView:
    user = organisation.users[user_id]
    profile = profiles.get(user_id)
    return UserView(
        id=user_id,
        name=profile.name if profile else None,
        email=profile.email if profile else None,
        role=user.role,
        services=user.services,
        away=user.away,
    )


def _key_view(key: ApiKey) -> ApiKeyView:
    return ApiKeyView(
        id=key.id,
        user_id=key.user_id,
        name=key.name,
        scopes=key.scopes,
        created_at=key.created_at,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
    )


HANDLERS = (
    put_service,
    list_services,
    get_me,
    get_installation,
    post_user,
    patch_user,
    list_users,
    post_api_key,
    list_api_keys,
    delete_api_key,
)
