"""For operators: /healthz, /readyz, /metrics."""

from typing import Any

import msgspec
import psycopg
from litestar import Response, get
from prometheus_client.core import Metric

from api.metrics import (
    CONTENT_TYPE,
    Metrics,
    exposition,
    of_accounts,
    of_backlogs,
    of_builds,
    of_payments,
)
from api.parts import Part
from api.payment_queue import ProjectedPayments
from api.reading import Reading
from projections.channels import queries as channels_queries
from projections.engine.builds import LiveBuilds
from projections.engine.standing import Standings
from projections.outbox import projection as outbox


class Health(msgspec.Struct):
    """The process runs."""

    status: str = "ok"


@get("/healthz")
async def get_healthz() -> Health:
    """The process runs; it says nothing of the database."""
    return Health()


@get("/readyz", opt={"refusals": (503,)})
async def get_readyz(reading: Part[Reading]) -> Health:
    """The database answers: requests can be served."""
    await reading.ping()
    return Health()


@get("/metrics", media_type="text/plain; version=0.0.4")
async def get_metrics(
    metrics: Part[Metrics],
    standings: Part[Standings],
    payment_queue: Part[ProjectedPayments],
    all_organisations: Part[LiveBuilds],
) -> Response[bytes]:
    """Prometheus: what this process has counted, what waits, and how far projections are behind."""
    found = metrics.collected()
    try:
        found += of_builds(await standings.now())
        found += of_payments(await payment_queue.counts())
        found += await _of_sending(all_organisations)
    except psycopg.OperationalError:
        pass  # What is known without the database is told without it.
    return Response(exposition(found), media_type=CONTENT_TYPE)


async def _of_sending(all_organisations: LiveBuilds) -> list[Metric]:
    async with all_organisations.within(None) as connection:
        backlogs = await outbox.backlogs(connection)
        accounts = await channels_queries.accounts_by_health(connection)
    return of_backlogs(backlogs) + of_accounts(accounts)


HANDLERS: tuple[Any, ...] = (get_healthz, get_readyz, get_metrics)
