"""The composition root: with processes.py and jobs.py the only files that know everyone."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from litestar import Litestar

from adapters.fakes.control import Control
from adapters.line.platform import Line
from adapters.media.disk import DiskBlobs
from adapters.media.s3 import s3_blobs
from adapters.media.store import SealedFiles
from adapters.messenger.platform import Messenger
from adapters.payment_providers import TERMS
from adapters.postgres.access_tokens import PostgresAccessTokens
from adapters.postgres.begun_files import PostgresBegunFiles
from adapters.postgres.bell import Bell
from adapters.postgres.connections import Pool, TooPowerful, open_clearly, pool
from adapters.postgres.directory import SYSTEM, Directory
from adapters.postgres.embedded import EmbeddedPostgresError, embedded_postgres
from adapters.postgres.keys import MasterKey, OrgKeys
from adapters.postgres.log import PostgresLog
from adapters.postgres.requests import PostgresAddresses, PostgresRequests
from adapters.postgres.snapshots import PostgresSnapshots
from adapters.postgres.verification import Verification, verify
from adapters.pretended import PRETENDED as PRETENDED
from adapters.pretended import Pretended as Pretended
from adapters.stripe.provider import Stripe
from adapters.telegram.platform import Telegram
from adapters.wechat.platform import WeChat
from adapters.whatsapp.fake import FakeCloudApi
from adapters.whatsapp.fake_rules import FakeAccount
from adapters.whatsapp.fake_webhooks import StatusPlan
from adapters.whatsapp.platform import WhatsApp
from adapters.whole_file import write_whole
from api import health, rate_cards
from api.app import HANDLERS, Dependencies, create_app
from api.authentication import Authentication
from api.commands.billing import Billing
from api.commands.canned import Canned
from api.commands.channels import Channels
from api.commands.chats import Chats
from api.commands.context import Context
from api.commands.credentials import AccountCredentials
from api.commands.credits import CreditAccounts
from api.commands.dispatching import Dispatching
from api.commands.execute import Executor
from api.commands.inbound import Inbound
from api.commands.media import MediaFiles
from api.commands.organisations import Organisations
from api.commands.payments import Payments
from api.commands.people import People
from api.commands.quotes import Quotes
from api.commands.replies import Replies
from api.commands.states import States
from api.commands.templates import AccountTemplates
from api.commands.verifying import Verifying
from api.commands.window_rules import WindowRules
from api.feeds import Feeds
from api.metrics import Metrics, of_log, of_streams, of_webhooks
from api.names import Names
from api.payment_queue import ProjectedPayments
from api.reading import Reading
from api.settings import Settings, SettingsError, master_key
from api.showing import Showing
from api.stream import SHOWN
from api.system import SystemClock, new_id, running
from api.webhooks import Webhooks
from domain.ports import Clock, Org, Unreadable
from migrations.apply import MigrationError, migrate
from migrations.builds import StillRead
from projections.channels.projection import Channels as ChannelsProjection
from projections.engine.builds import LiveBuilds
from projections.engine.jobs import JobError
from projections.engine.projection import Projection
from projections.engine.standing import Standings
from projections.inbox.projection import Inbox
from projections.markings import Markings
from projections.media import Media
from projections.outbox.projection import Outbox
from projections.payments import Payments as PaymentsProjection
from projections.statements.projection import Statements
from projections.unread.projection import Unread
from projections.verifications import Verifications

# The user of the embedded server that this program connects as; it owns nothing.
LOGIN = "trunkline"

PROJECTIONS: Sequence[Projection] = (
    ChannelsProjection(),
    Inbox(),
    Unread(),
    Outbox(),
    Verifications(),
    Statements(),
    PaymentsProjection(),
    Markings(),
    Media(),
)

# What an operator can mend; the texts say how.
OPERATOR_ERRORS = (
    SettingsError,
    MigrationError,
    EmbeddedPostgresError,
    JobError,
    StillRead,
    TooPowerful,
)


@dataclass(frozen=True)
class Database:
    """Where the data is: how servers connect, and how migrations do."""

    url: str
    migration_url: str
    login: str | None
    embedded: bool

    def migrate(self) -> list[str]:
        """Bring it to the current schema; returns the files applied."""
        if self.embedded:
            _make_login(self.migration_url)
        return migrate(self.migration_url, login=self.login, projections=PROJECTIONS)


@contextmanager
def database(settings: Settings) -> Iterator[Database]:
    """The database that is configured, or an embedded one that runs until the end."""
    if settings.database_url is not None:
        owner = settings.migration_database_url or settings.database_url
        login = psycopg.conninfo.conninfo_to_dict(settings.database_url).get("user")
        differs = owner != settings.database_url
        yield Database(settings.database_url, owner, str(login) if differs else None, False)
        return
    with embedded_postgres(settings.home, binaries=settings.postgres_bin) as server:
        yield Database(server.url(LOGIN), server.superuser_url, LOGIN, True)


def _make_login(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            f"DO $$ BEGIN IF to_regrole('{LOGIN}') IS NULL THEN"
            f" CREATE ROLE {LOGIN} LOGIN NOINHERIT; END IF;"
            " EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        )


@dataclass(frozen=True, kw_only=True)
class Core:
    """Everything that one process needs, whatever its role."""

    settings: Settings
    database_url: str
    context: Context
    directory: Directory
    addresses: PostgresAddresses
    access_tokens: PostgresAccessTokens
    inbound: Inbound
    dispatching: Dispatching
    verifying: Verifying
    media: MediaFiles
    all_orgs: Pool
    reading: Reading
    feeds: Feeds
    one_org: Pool
    bell: Bell
    clock: Clock
    metrics: Metrics


@asynccontextmanager
async def core(
    settings: Settings, where: Database, *, clock: Clock | None = None, only_reads: bool = False
) -> AsyncIterator[Core]:
    """Pools, the log and the commands, running until the end.

    Who `only_reads` is content with a database that takes nothing new; others are refused here.
    """
    clock = clock or SystemClock()
    key = master_key(settings, embedded=where.embedded, write=write_whole)
    master = MasterKey(key, previous=settings.master_key_previous)
    async with AsyncExitStack() as stack:
        # Two pools are named by what row security lets them see.
        all_orgs = await _open(stack, pool(where.url, "trunkline_project", size_max=12))
        one_org = await _open(stack, pool(where.url, "trunkline_read", size_max=8))
        lookups = await _open(stack, pool(where.url, "trunkline_directory", size_max=4))
        directory = Directory(lookups, master)
        bell = Bell(where.url)
        await bell.start()
        stack.push_async_callback(bell.stop)
        log = PostgresLog(where.url, readers=all_orgs, clock=clock, on_appended=bell.ring)
        await log.start()
        stack.push_async_callback(log.stop)
        addresses = PostgresAddresses(all_orgs)
        people = People(addresses, new_id)
        keepers = await _open(stack, pool(where.url, "trunkline_append", size_max=1))
        snapshots = PostgresSnapshots(log, all_orgs, keepers, master)
        await stack.enter_async_context(running(snapshots.run()))
        executor = Executor(log, States(log, snapshots), PostgresRequests(all_orgs))
        context = Context(
            log=log,
            executor=executor,
            people=people,
            directory=directory,
            credentials=AccountCredentials(directory, clock),
            clock=clock,
            new_id=new_id,
            billing=Billing(
                new_id,
                enabled=settings.billing,
                provider=TERMS[settings.payment_provider],
            ),
        )
        system = await directory.organisation(SYSTEM) if only_reads else None
        system = system or await directory.create_organisation(SYSTEM)
        inbound = Inbound(executor, people, directory, clock, new_id, system=system)
        reading = Reading(LiveBuilds(one_org, PROJECTIONS))
        feeds = Feeds(log, reading, bell.listener(), SHOWN)
        await stack.enter_async_context(running(feeds.run()))
        system_keys = await _keys_of_the_installation(directory, system)
        metrics = Metrics(
            sources={
                "streams": lambda: of_streams(feeds.stream_count),
                "log": lambda: of_log(log.batch_commands, log.append_seconds),
            }
        )
        yield Core(
            settings=settings,
            database_url=where.url,
            context=context,
            directory=directory,
            addresses=addresses,
            access_tokens=PostgresAccessTokens(lookups, master, clock),
            inbound=inbound,
            dispatching=Dispatching(context),
            verifying=Verifying(context, inbound, system=system_keys),
            media=MediaFiles(context, _store(settings, PostgresBegunFiles(all_orgs), clock)),
            all_orgs=all_orgs,
            reading=reading,
            feeds=feeds,
            one_org=one_org,
            bell=bell,
            clock=clock,
            metrics=metrics,
        )


def _store(settings: Settings, begun: PostgresBegunFiles, clock: Clock) -> SealedFiles:
    """The store of files, in the place that is configured."""
    return SealedFiles(s3_blobs(settings) or DiskBlobs(settings.media_folder), begun, clock)


async def _keys_of_the_installation(directory: Directory, system: Org) -> OrgKeys:
    """What the master key must open, or it opens nothing. Raises SettingsError."""
    try:
        return await directory.keys(system.number)
    except Unreadable as error:
        raise SettingsError(
            "The master key does not open this database, which was made with another one. Set"
            " TRUNKLINE_MASTER_KEY to that one."
        ) from error


async def _open(stack: AsyncExitStack, opened: Pool) -> Pool:
    stack.push_async_callback(opened.close)
    await open_clearly(opened)
    return opened


def application(parts: Core, *, for_operators: bool = False) -> Litestar:
    """The HTTP side; or, of a process with another role, what operators ask it."""
    settings = parts.settings
    webhooks = _webhooks(parts)
    all_organisations = LiveBuilds(parts.all_orgs, PROJECTIONS)
    parts.metrics.sources["webhooks"] = lambda: of_webhooks(webhooks.accepted, webhooks.refused)
    names = Names(parts.addresses)
    authentication = Authentication(
        parts.directory,
        parts.context.executor,
        parts.context.log,
        parts.clock,
        rate_per_second=settings.rate_limit_per_second,
    )
    return create_app(
        Dependencies(
            settings=settings,
            authentication=authentication,
            executor=parts.context.executor,
            organisations=Organisations(parts.context),
            channels=Channels(parts.context),
            chats=Chats(parts.context),
            replies=Replies(parts.context),
            canned=Canned(parts.context),
            account_templates=AccountTemplates(parts.context),
            window_rules=WindowRules(parts.context),
            media=parts.media,
            credit_accounts=CreditAccounts(parts.context),
            quotes=Quotes(parts.context),
            rate_cards=rate_cards.load(settings.rate_cards),
            reading=parts.reading,
            standings=Standings(parts.all_orgs, PROJECTIONS),
            feeds=parts.feeds,
            showing=Showing(parts.reading, names, parts.context.executor, parts.clock),
            names=names,
            directory=parts.directory,
            clock=parts.clock,
            webhooks=webhooks,
            payment_queue=ProjectedPayments(all_organisations),
            metrics=parts.metrics,
            all_organisations=all_organisations,
        ),
        health.HANDLERS if for_operators else HANDLERS,
    )


def _webhooks(parts: Core) -> Webhooks:
    settings = parts.settings
    app_secrets, token = settings.meta_app_secrets, settings.meta_verify_token
    return Webhooks(
        whatsapp=WhatsApp(app_secrets=app_secrets, verify_token=token),
        messenger=Messenger(app_secrets=app_secrets, verify_token=token),
        line=Line(),
        telegram=Telegram(),
        wechat=WeChat(clock_tolerance_seconds=settings.wechat_clock_tolerance_seconds),
        stripe=Stripe(secrets=settings.stripe_webhook_secrets),
        credentials=parts.context.credentials,
        inbound=parts.inbound,
        payments=Payments(parts.context),
        clock=parts.clock,
    )


async def found_organisation(settings: Settings, where: Database, name: str) -> dict[str, str]:
    """Make an organisation with its first admin and API key."""
    async with core(settings, where) as parts:
        org, user_id, api_key = await found(parts, name)
    return {"organization_id": org.id, "user_id": user_id, "api_key": api_key}


async def found(parts: Core, name: str) -> tuple[Org, str, str]:
    """The same where everything runs already: the organisation, its admin's id and API key."""
    org = await parts.directory.create_organisation(new_id())
    keys = await parts.directory.keys(org.number)
    return org, *await Organisations(parts.context).found(keys, name=name)


async def verify_log(parts: Core, org: Org) -> Verification:
    """Prove that an organisation's log is whole. Raises BrokenChain. Spec E2."""
    return await verify(parts.one_org, org)


@asynccontextmanager
async def pretended(platform: str, **options: Any) -> AsyncIterator[Pretended]:
    """A platform in this process that is none, until the end; under `/_fake/` one plays with it."""
    one = PRETENDED[platform](**options)
    one.fake.controlled_by(Control(one.fake, one.says).answer)
    async with one.fake:
        yield one


def beside(settings: Settings, platform: str, one: Pretended) -> Settings:
    """The settings of a server that takes it for the platform."""
    base: dict[str, Any] = {f"{platform}_api_base": one.fake.base_url}
    if one.app_secret is not None:
        base["meta_app_secrets"] = (one.app_secret,)
    return replace(settings, **base)


def pretended_whatsapp(
    *, account_id: str, access_token: str, app_secret: str, clock: Clock
) -> FakeCloudApi:
    """A WhatsApp in this process, for the demo. It says nothing by itself of what was sent."""
    return FakeCloudApi(
        accounts=[FakeAccount(phone_number_id=account_id, access_token=access_token)],
        app_secret=app_secret,
        plan=StatusPlan(statuses=()),
        now=clock.now,
    )
