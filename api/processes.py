"""What goes on beside requests, as long as a server of its role runs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from adapters.dispatcher import Dispatcher
from adapters.exchange import new_http_client
from adapters.fetcher import Fetcher
from adapters.outages import Outages
from adapters.payer import Payer
from adapters.payment_providers import payment_providers
from adapters.platforms import media_sources, senders
from adapters.postgres.connections import connected
from adapters.read_marker import ReadMarker
from adapters.subscriber import Subscriber
from adapters.verifier import Verifier
from api.commands.markings import Markings
from api.commands.payments import Payments
from api.main import PROJECTIONS, Core
from api.media_queue import ProjectedMedia, remove_forgotten
from api.metrics import of_sends
from api.outbox import ProjectedOutbox
from api.payment_queue import ProjectedPayments
from api.system import new_id, running
from domain.read_marking import MarksRead
from domain.subscription import Subscribes
from projections.engine.builds import LiveBuilds
from projections.engine.runner import ProjectionRunner

PURGE_SECONDS = 3600.0


@asynccontextmanager
async def projecting(parts: Core) -> AsyncIterator[ProjectionRunner]:
    """Projections that follow the log until the end."""
    connect = partial(connected, parts.database_url, "trunkline_project")
    runner = ProjectionRunner(connect, PROJECTIONS, parts.bell.listener)
    async with running(runner.run()):
        yield runner


@asynccontextmanager
async def dispatching(parts: Core) -> AsyncIterator[None]:
    """What has to do with platforms and payment goes on until the end: sending, fetching, …"""
    async with new_http_client() as client:
        platforms = senders(client, parts.settings.api_bases, parts.access_tokens)
        live = LiveBuilds(parts.all_orgs, PROJECTIONS)
        outbox = ProjectedOutbox(
            live,
            parts.directory,
            parts.context.credentials,
            parts.media.store,
            parts.clock,
            public_url=parts.settings.public_url,
        )
        dispatcher = Dispatcher(
            outbox,
            parts.dispatching,
            platforms,
            parts.bell.listener(),
            parts.clock,
            name=new_id(),
        )
        parts.metrics.sources["sends"] = lambda: of_sends(
            dispatcher.answers, dispatcher.seconds, dispatcher.paused()
        )
        verifier = Verifier(outbox, parts.verifying, platforms, parts.bell.listener())
        payer = Payer(
            ProjectedPayments(live),
            Payments(parts.context),
            payment_providers(client, parts.settings),
            parts.bell.listener(),
            parts.clock,
        )
        marker = ReadMarker(
            outbox,
            Markings(parts.context),
            {name: each for name, each in platforms.items() if isinstance(each, MarksRead)},
            parts.bell.listener(),
            parts.clock,
        )
        subscriber = Subscriber(
            parts.directory,
            parts.context.credentials,
            parts.verifying,
            {name: each for name, each in platforms.items() if isinstance(each, Subscribes)},
            parts.clock,
        )
        fetcher = Fetcher(
            ProjectedMedia(live, parts.directory, parts.context.credentials, parts.clock),
            parts.media,
            media_sources(client, parts.settings.media_bases, parts.access_tokens),
            parts.bell.listener(),
        )
        async with (
            running(dispatcher.run()),
            running(dispatcher.look_over()),
            running(verifier.run()),
            running(payer.run()),
            running(marker.run()),
            running(subscriber.run()),
            running(fetcher.run()),
        ):
            yield


@asynccontextmanager
async def purging(parts: Core) -> AsyncIterator[None]:
    """What has a lifetime is removed once an hour, until the end."""
    async with running(_purge(parts)):
        yield


async def _purge(parts: Core) -> None:
    outages = Outages("Removing what has had its time")
    while True:
        with outages.survived():  # An hour later is early enough.
            await _purge_once(parts)
        await asyncio.sleep(PURGE_SECONDS)


async def _purge_once(parts: Core) -> None:
    async with connected(parts.database_url, "trunkline_append") as connection:
        await connection.execute("SELECT purge_expired(%s)", [parts.clock.now()])
    live = LiveBuilds(parts.all_orgs, PROJECTIONS)
    store = parts.media.store
    await remove_forgotten(live, parts.directory, store, now=parts.clock.now())
    await store.sweep()
