"""Connecting services to accounts, leaving them, and managing what they share (S1–S16)."""

from collections.abc import Callable

import msgspec

from api.commands.context import Actor, Context, the_channel, the_organisation
from api.commands.execute import Outcome
from api.commands.unit import Unit
from domain import account as accounts
from domain import channel as channels
from domain.account import Account, AccountReleased, ChannelOpened, CredentialsChanged
from domain.channel import Channel, Connect, require_eligible
from domain.event import Event
from domain.organisation import require_role, require_view
from domain.refusal import AccountTaken, Invalid, NotParent


class ConnectService(msgspec.Struct, frozen=True, kw_only=True):
    """A service wants to use an account (contract, POST /v1/channels)."""

    service: str
    platform: str
    account_id: str
    name: str
    address: str | None = None
    business_account_id: str | None = None
    credentials: dict[str, str] | None = None


class Connected(msgspec.Struct, frozen=True):
    """What connecting did, beside what the channel shows."""

    first: bool  # The account is new: what a platform wants pasted is shown once.


class Channels:
    """Commands about channels and their accounts."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def connect(self, actor: Actor, command: ConnectService) -> Outcome[Connected]:
        """Create, join or revive the channel; `ids["channel"]` of the outcome. Spec S1, S2, S15."""
        organisation = await self._context.executor.look(actor.org, the_organisation)
        require_role(organisation, actor.user_id, "admin")
        require_eligible(command.service)
        require_view(organisation, actor.user_id, command.service)

        async def claim() -> None:
            # The claim comes first and spans organisations; if it ends here, the next try goes on.
            taken = not await self._context.directory.claim_account(
                actor.org,
                command.platform,
                command.account_id,
                business_account_id=command.business_account_id,
            )
            if taken:
                raise AccountTaken
            stream = accounts.stream_of(command.platform, command.account_id)
            account = await self._context.executor.look(
                actor.org, lambda unit: unit.state(stream, Account)
            )
            if command.credentials and not account.claimed:
                await self._store_credentials(
                    actor, command.platform, command.account_id, command.credentials
                )

        return await self._context.executor.execute(
            actor.org,
            lambda unit: self._connect(unit, actor, command),
            request=actor.request,
            first=claim,
        )

    def _connect(self, unit: Unit, actor: Actor, command: ConnectService) -> Connected:
        organisation = the_organisation(unit)
        require_role(organisation, actor.user_id, "admin")
        require_view(organisation, actor.user_id, command.service)
        account_stream = accounts.stream_of(command.platform, command.account_id)
        account = unit.state(account_stream, Account)
        for channel_id in account.channels:
            if unit.state(channels.stream_of(channel_id), Channel).is_active(command.service):
                unit.ids["channel"] = channel_id
                unit.status = 200
                return Connected(first=False)
        first = not account.claimed
        claimed = accounts.claim(
            account,
            platform=command.platform,
            account_id=command.account_id,
            business_account_id=command.business_account_id,
            user_id=actor.user_id,
        )
        unit.record(account_stream, claimed)
        if first and command.credentials:
            unit.record(account_stream, [_changed(command.credentials, actor)])
        shared = organisation.services[command.service].subscription == "bundled"
        known = accounts.channel_for(account, service=command.service, shared=shared)
        channel_id = known or self._context.new_id()
        unit.ids["channel"] = channel_id
        stream = channels.stream_of(channel_id)
        if known is None:
            unit.begin(stream)
            opened = ChannelOpened(channel_id=channel_id, shared=shared, service=command.service)
            unit.record(account_stream, [opened])
        connect = Connect(
            channel_id=channel_id,
            service=command.service,
            platform=command.platform,
            account_id=command.account_id,
            shared=shared,
            name=command.name,
            address=command.address,
        )
        channel = unit.state(stream, Channel)
        unit.record(stream, channels.connect(channel, connect, user_id=actor.user_id))
        return Connected(first=first)

    async def disable(self, actor: Actor, channel_id: str, service: str) -> Outcome[None]:
        """Take a service out of the sharing, keeping its rank. Spec S8."""
        return await self._change(
            actor, channel_id, lambda c: channels.disable(c, service, user_id=actor.user_id)
        )

    async def enable(self, actor: Actor, channel_id: str, service: str) -> Outcome[None]:
        """Bring it back, and with it an account that was released meanwhile. Spec S8, S15."""

        def decide(unit: Unit) -> Channel | None:
            """The channel whose account has to be taken, if it has to be."""
            require_role(the_organisation(unit), actor.user_id, "admin")
            channel = the_channel(unit, channel_id)
            enabled = channels.enable(channel, service, user_id=actor.user_id)
            account_stream = accounts.stream_of(channel.platform, channel.account_id)
            account = unit.state(account_stream, Account)
            if enabled:
                claimed = accounts.claim(
                    account,
                    platform=channel.platform,
                    account_id=channel.account_id,
                    business_account_id=None,
                    user_id=actor.user_id,
                )
                unit.record(account_stream, claimed)
            unit.record(channels.stream_of(channel_id), enabled)
            return channel if enabled and not account.claimed else None

        async def claim() -> None:
            unclaimed = await self._context.executor.look(actor.org, decide)
            if unclaimed is not None and not await self._context.directory.claim_account(
                actor.org, unclaimed.platform, unclaimed.account_id, business_account_id=None
            ):
                raise AccountTaken

        outcome = await self._context.executor.execute(
            actor.org, decide, request=actor.request, first=claim
        )
        return Outcome(outcome.position, outcome.ids)

    async def delete(self, actor: Actor, channel_id: str, service: str) -> Outcome[None]:
        """Delete its connection and forget its rank. Spec S8."""
        return await self._change(
            actor, channel_id, lambda c: channels.delete(c, service, user_id=actor.user_id)
        )

    async def configure_connection(
        self,
        actor: Actor,
        channel_id: str,
        service: str,
        *,
        department: str | None | msgspec.UnsetType,
        ticket_timer_hours: int | None | msgspec.UnsetType,
    ) -> Outcome[None]:
        """A service's own settings on the channel. Spec S12."""
        return await self._change(
            actor,
            channel_id,
            lambda channel: channels.configure_connection(
                channel,
                service,
                department=department,
                ticket_timer_hours=ticket_timer_hours,
                user_id=actor.user_id,
            ),
        )

    async def associate_agents(
        self, actor: Actor, channel_id: str, service: str, user_ids: tuple[str, ...]
    ) -> Outcome[None]:
        """Whom the service gives the channel's chats to. Spec C2."""

        def decide(unit: Unit) -> None:
            organisation = the_organisation(unit)
            require_role(organisation, actor.user_id, "admin", "supervisor")
            channel = the_channel(unit, channel_id)
            for user_id in user_ids:
                if user_id not in organisation.users:
                    raise Invalid("user_ids", f"there is no user {user_id!r}")
            stream = channels.stream_of(channel_id)
            unit.record(
                stream,
                channels.associate_agents(
                    channel, service, user_ids=user_ids, user_id=actor.user_id
                ),
            )

        return await self._context.executor.execute(actor.org, decide, request=actor.request)

    async def manage(
        self,
        actor: Actor,
        channel_id: str,
        service: str,
        *,
        name: str | None,
        credentials: dict[str, str] | None,
    ) -> Outcome[None]:
        """Rename the channel or replace its account's credentials: the parent's alone. Spec S12."""

        def look(unit: Unit) -> Channel:
            channel = _managed(unit, actor, channel_id, service)
            if credentials is not None:
                _require_manages_account(unit, channel)
            return channel

        def decide(unit: Unit) -> None:
            channel = look(unit)
            if credentials is not None:
                stream = accounts.stream_of(channel.platform, channel.account_id)
                unit.record(stream, [_changed(credentials, actor)])
            if name is not None:
                renamed = channels.rename(
                    channel, service=service, name=name, user_id=actor.user_id
                )
                unit.record(channels.stream_of(channel_id), renamed)

        async def store() -> None:
            channel = await self._context.executor.look(actor.org, look)
            if credentials is not None:
                await self._store_credentials(
                    actor, channel.platform, channel.account_id, credentials
                )

        return await self._context.executor.execute(
            actor.org, decide, request=actor.request, first=store
        )

    async def release(self, actor: Actor, channel_id: str) -> Outcome[None]:
        """Give up the account of a dormant channel. Spec S15."""

        def decide(unit: Unit) -> None:
            require_role(the_organisation(unit), actor.user_id, "admin")
            channel = the_channel(unit, channel_id)
            unit.record(
                channels.stream_of(channel_id), channels.release(channel, user_id=actor.user_id)
            )
            account_stream = accounts.stream_of(channel.platform, channel.account_id)
            account = unit.state(account_stream, Account)
            others = [unit.state(channels.stream_of(c), Channel) for c in account.channels]
            if account.claimed and not any(other.sharing for other in others):
                unit.record(account_stream, [AccountReleased(user_id=actor.user_id)])

        outcome = await self._context.executor.execute(actor.org, decide, request=actor.request)
        channel = await self._look(actor, channel_id)
        account = await self._context.executor.look(
            actor.org,
            lambda unit: unit.state(
                accounts.stream_of(channel.platform, channel.account_id), Account
            ),
        )
        if not account.claimed:
            await self._context.directory.release_account(
                actor.org, channel.platform, channel.account_id
            )
        return outcome

    async def _store_credentials(
        self, actor: Actor, platform: str, account_id: str, credentials: dict[str, str]
    ) -> None:
        """Secrets stand in the directory, sealed, and nowhere else. Spec P4."""
        sealed = actor.keys.seal_secret(
            msgspec.json.encode(credentials), about=secrets_about(platform, account_id)
        )
        await self._context.directory.store_secrets(actor.org, platform, account_id, sealed=sealed)

    async def _change(
        self, actor: Actor, channel_id: str, decision: Callable[[Channel], list[Event]]
    ) -> Outcome[None]:
        def decide(unit: Unit) -> None:
            require_role(the_organisation(unit), actor.user_id, "admin")
            channel = the_channel(unit, channel_id)
            unit.record(channels.stream_of(channel_id), decision(channel))

        return await self._context.executor.execute(actor.org, decide, request=actor.request)

    async def _look(self, actor: Actor, channel_id: str) -> Channel:
        return await self._context.executor.look(
            actor.org, lambda unit: the_channel(unit, channel_id)
        )


def secrets_about(platform: str, account_id: str) -> str:
    """What binds an account's sealed credentials to the account."""
    return f"account/{platform}/{account_id}"


def _managed(unit: Unit, actor: Actor, channel_id: str, service: str) -> Channel:
    """The channel, if this admin may manage it through this service. Spec S12."""
    require_role(the_organisation(unit), actor.user_id, "admin")
    channel = the_channel(unit, channel_id)
    channels.require_parent(channel, service)
    return channel


def _changed(credentials: dict[str, str], actor: Actor) -> CredentialsChanged:
    return CredentialsChanged(fields=tuple(sorted(credentials)), user_id=actor.user_id)


def _require_manages_account(unit: Unit, channel: Channel) -> None:
    """Credentials are the shared channel's parent's or else the earliest separate one's. S2."""
    account = unit.state(accounts.stream_of(channel.platform, channel.account_id), Account)
    for channel_id in account.channels:
        candidate = unit.state(channels.stream_of(channel_id), Channel)
        if candidate.parent is None:
            continue
        if channel_id != channel.channel_id:
            raise NotParent(parent=candidate.parent)
        return
