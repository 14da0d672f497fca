"""Connecting services to accounts, leaving them, and managing what they share (S1–S16)."""

from collections.abc import Callable

import msgspec

from api.commands.attachments import icon_of
from api.commands.context import (
    Actor,
    Context,
    channel_in_use,
    require_manages,
    the_channel,
    the_organisation,
)
from api.commands.execute import Outcome
from api.commands.unit import Unit
from domain import account as accounts
from domain import channel as channels
from domain import credentials
from domain.account import Account, AccountReleased, ChannelOpened, CredentialsChanged
from domain.channel import Channel, Connect, require_eligible
from domain.credentials import Credentials
from domain.event import Event
from domain.organisation import require_role, require_view
from domain.refusal import AccountTaken, NoSuchUser, UsedElsewhere


class ConnectService(msgspec.Struct, frozen=True, kw_only=True):
    """A service wants to use an account. Spec S1."""

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
    made: dict[str, str] = {}  # Of that, what we made ourselves (P4).


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
        given = command.credentials or {}
        credentials.require_form(command.platform, given)
        prepared = _Prepared(given, {})

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
            nonlocal prepared
            prepared = await self._prepare(actor, command, given)

        outcome = await self._context.executor.execute(
            actor.org,
            lambda unit: self._connect(unit, actor, command, prepared),
            request=actor.request,
            first=claim,
        )
        if outcome.value is not None and outcome.value.first and prepared.credentials:
            # Whoever looked at the same moment may have stored theirs, and has merely joined.
            await self._context.credentials.store(
                actor.keys, command.platform, command.account_id, prepared.credentials
            )
        return outcome

    async def _prepare(
        self, actor: Actor, command: ConnectService, given: Credentials
    ) -> "_Prepared":
        """Store what a new account is reached with; what nobody gave is made here."""
        platform, account_id = command.platform, command.account_id
        stream = accounts.stream_of(platform, account_id)

        def look(unit: Unit) -> tuple[bool, int]:
            claimed = unit.state(stream, Account).claimed
            return claimed, dict(unit.read)[stream]

        claimed, version = await self._context.executor.look(actor.org, look)
        if claimed:
            return _Prepared({}, {})
        # Two who connect at once make the same, and whoever connects it anew makes another.
        made = credentials.made(
            platform,
            given,
            lambda name: actor.keys.hash("made", name, platform, account_id, str(version)),
        )
        prepared = _Prepared({**given, **made}, made)
        credentials.require_whole(platform, prepared.credentials)
        if prepared.credentials:
            await self._context.credentials.store(
                actor.keys, platform, account_id, prepared.credentials
            )
        return prepared

    def _connect(
        self, unit: Unit, actor: Actor, command: ConnectService, prepared: "_Prepared"
    ) -> Connected:
        organisation = the_organisation(unit)
        require_role(organisation, actor.user_id, "admin")
        require_view(organisation, actor.user_id, command.service)
        account_stream = accounts.stream_of(command.platform, command.account_id)
        account = unit.state(account_stream, Account)
        used = channel_in_use(unit, command.platform, command.account_id, command.service)
        if used is not None:
            assert used.channel_id is not None
            unit.ids["channel"] = used.channel_id
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
        if first and prepared.credentials:
            unit.record(account_stream, [_changed(prepared.credentials, actor)])
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
        return Connected(first=first, made=prepared.made if first else {})

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
                if channel_in_use(unit, channel.platform, channel.account_id, service):
                    raise UsedElsewhere
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
                    raise NoSuchUser("user_ids")
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
        given: dict[str, str] | None,
        icon: str | None = None,
    ) -> Outcome[None]:
        """Rename the channel, give it an icon, replace credentials of its account: the parent's
        alone. Spec S12."""

        def look(unit: Unit) -> Channel:
            channel = _managed(unit, actor, channel_id, service)
            if given is not None:
                require_manages(unit, channel.platform, channel.account_id, service)
            return channel

        def decide(unit: Unit) -> None:
            channel = look(unit)
            if given is not None:
                stream = accounts.stream_of(channel.platform, channel.account_id)
                unit.record(stream, [_changed(given, actor)])
            if name is not None:
                renamed = channels.rename(
                    channel, service=service, name=name, user_id=actor.user_id
                )
                unit.record(channels.stream_of(channel_id), renamed)
            if icon is not None:
                stream = channels.stream_of(channel_id)
                changed = icon_of(unit, self._context, actor, icon, stream=stream)
                unit.record(stream, [changed])

        async def store() -> None:
            channel = await self._context.executor.look(actor.org, look)
            if given is not None:
                credentials.require_form(channel.platform, given)
                await self._context.credentials.merge(
                    actor.keys, channel.platform, channel.account_id, given
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
            await self._context.credentials.release(
                actor.keys, channel.platform, channel.account_id
            )
        return outcome

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


class _Prepared(msgspec.Struct, frozen=True):
    """What an account is reached with, and what of it we made."""

    credentials: Credentials
    made: dict[str, str]


def _managed(unit: Unit, actor: Actor, channel_id: str, service: str) -> Channel:
    """The channel, if this admin may manage it through this service. Spec S12."""
    require_role(the_organisation(unit), actor.user_id, "admin")
    channel = the_channel(unit, channel_id)
    channels.require_parent(channel, service)
    return channel


def _changed(given: Credentials, actor: Actor) -> CredentialsChanged:
    return CredentialsChanged(fields=tuple(sorted(given)), user_id=actor.user_id)
