"""Services, users and API keys of an organisation."""

import hashlib
import secrets
from datetime import datetime

import msgspec

from api.commands.context import Actor, Context, the_organisation
from api.commands.execute import Outcome
from api.commands.unit import Unit
from domain import organisation
from domain.event import Sealed
from domain.organisation import (
    AddUser,
    ApiKeyCreated,
    ApiKeyRevoked,
    ChangeUser,
    ConfigureService,
    Organisation,
    OrganisationCreated,
    Permission,
    Role,
    UserAdded,
    require_role,
)
from domain.ports import ApiKey, Keys
from domain.refusal import Invalid, NoSuchUser, NotFound

SCOPES = ("read", "reply", "manage", "billing", "audit", "content:read")

# A key made without scopes has all but the one that opens what people wrote.
SCOPES_BY_DEFAULT = tuple(scope for scope in SCOPES if scope != "content:read")

KEY_PREFIX = "tk"


class UserProfile(msgspec.Struct, frozen=True):
    """What is sealed of a user."""

    name: str
    email: str


def digest_of(secret: str) -> bytes:
    """What is stored of a key's secret; with 256 random bits a plain hash is enough."""
    return hashlib.sha256(secret.encode()).digest()


def _seal_profile(unit: Unit, keys: Keys, user_id: str, profile: UserProfile) -> Sealed:
    key_id = f"user:{user_id}"
    unit.keys.append(keys.new_key(key_id))
    data = msgspec.json.encode(profile)
    return keys.seal(data, stream=organisation.STREAM, event=UserAdded, key_id=key_id)


class Organisations:
    """Commands about an organisation itself."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def found(self, keys: Keys, *, name: str) -> tuple[str, str]:
        """Give a new organisation its first admin; returns the user's id and API key."""
        user_id = self._context.new_id()

        def decide(unit: Unit) -> None:
            profile = _seal_profile(unit, keys, user_id, UserProfile("Admin", ""))
            admin = UserAdded(added_user_id=user_id, role="admin", services={}, profile=profile)
            unit.record(organisation.STREAM, [OrganisationCreated(name=name), admin])

        await self._context.executor.execute(keys.org, decide)
        actor = Actor(keys=keys, user_id=user_id)
        made = await self.create_api_key(
            actor, for_user_id=user_id, name="first", scopes=None, expires_at=None
        )
        assert made.value is not None
        return user_id, made.value

    async def current(self, actor: Actor) -> Organisation:
        """The organisation as it stands."""
        return await self._context.executor.look(actor.org, the_organisation)

    async def configure_service(self, actor: Actor, command: ConfigureService) -> Outcome[None]:
        """Add a service or change its settings."""

        def decide(unit: Unit) -> None:
            events = organisation.configure_service(
                the_organisation(unit), command, user_id=actor.user_id
            )
            unit.record(organisation.STREAM, events)

        return await self._context.executor.execute(actor.org, decide, request=actor.request)

    async def add_user(
        self, actor: Actor, profile: UserProfile, role: Role, services: dict[str, Permission]
    ) -> Outcome[None]:
        """Add a user; `ids["user"]` of the outcome is the new one."""

        def decide(unit: Unit) -> None:
            user_id = unit.ids["user"] = self._context.new_id()
            command = AddUser(
                new_user_id=user_id,
                role=role,
                services=services,
                profile=_seal_profile(unit, actor.keys, user_id, profile),
            )
            events = organisation.add_user(the_organisation(unit), command, user_id=actor.user_id)
            unit.record(organisation.STREAM, events)

        return await self._context.executor.execute(actor.org, decide, request=actor.request)

    async def change_user(self, actor: Actor, command: ChangeUser) -> Outcome[None]:
        """Change a user's role, services or absence."""

        def decide(unit: Unit) -> None:
            events = organisation.change_user(
                the_organisation(unit), command, user_id=actor.user_id
            )
            unit.record(organisation.STREAM, events)

        return await self._context.executor.execute(actor.org, decide, request=actor.request)

    async def create_api_key(
        self,
        actor: Actor,
        *,
        for_user_id: str,
        name: str,
        scopes: list[str] | None,
        expires_at: datetime | None,
    ) -> Outcome[str]:
        """Make a key; the outcome's value is the key in clear, which is nowhere else.

        None where a repeated request has been given it before.
        """
        secret = secrets.token_urlsafe(32)
        now = self._context.clock.now()
        if expires_at is not None and expires_at <= now:
            raise Invalid("expires_at", "lies in the past")
        kept = list(SCOPES_BY_DEFAULT) if scopes is None else scopes

        def decide(unit: Unit) -> None:
            state = the_organisation(unit)
            require_role(state, actor.user_id, "admin")
            if for_user_id not in state.users:
                raise NoSuchUser("user_id")
            key_id = unit.ids["key"] = self._context.new_id()
            created = ApiKeyCreated(
                key_id=key_id,
                for_user_id=for_user_id,
                name=name,
                scopes=tuple(kept),
                expires_at=expires_at,
                user_id=actor.user_id,
            )
            unit.record(organisation.STREAM, [created])

        made = await self._context.executor.execute(actor.org, decide, request=actor.request)
        # The event first: a key that opened something without one could not be explained. Whoever
        # repeats a request that ended between the two gets the key that the first never had.
        key = ApiKey(made.ids["key"], for_user_id, name, kept, now, expires_at)
        digest = digest_of(secret)
        is_new = await self._context.directory.add_api_key(actor.org, key, digest=digest)
        return Outcome(
            made.position, made.ids, f"{KEY_PREFIX}_{key.id}_{secret}" if is_new else None
        )

    async def revoke_api_key(self, actor: Actor, key_id: str) -> Outcome[None]:
        """Close a key, at once."""

        def decide(unit: Unit) -> None:
            require_role(the_organisation(unit), actor.user_id, "admin")
            unit.record(organisation.STREAM, [ApiKeyRevoked(key_id=key_id, user_id=actor.user_id)])

        require_role(await self.current(actor), actor.user_id, "admin")
        now = self._context.clock.now()
        if not await self._context.directory.revoke_api_key(actor.org, key_id, now=now):
            raise NotFound("There is no such API key.")
        return await self._context.executor.execute(actor.org, decide, request=actor.request)
