"""For operators: /healthz, /readyz, /metrics."""

from collections.abc import Sequence
from typing import Any

import msgspec
import psycopg
from litestar import Response, get

from api.parts import Part
from api.payment_queue import ProjectedPayments
from api.reading import Reading
from api.webhooks import Webhooks
from projections.payments import Counts
from projections.standing import Standing, Standings


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


_OF_BUILDS = (
    (
        "trunkline_projection_events_behind",
        "Events in the log that a build has not folded.",
        "events_behind",
    ),
    (
        "trunkline_projection_seconds_behind",
        "Age of the oldest event that a build has not folded.",
        "seconds_behind",
    ),
    (
        "trunkline_projection_parked_organisations",
        "Organisations that wait before an event which a build cannot take.",
        "parked",
    ),
)


@get("/metrics", media_type="text/plain; version=0.0.4")
async def get_metrics(
    webhooks: Part[Webhooks], standings: Part[Standings], payment_queue: Part[ProjectedPayments]
) -> Response[str]:
    """Prometheus: refused webhooks, how far projections are behind, what waits for money."""
    lines = [
        "# HELP trunkline_webhooks_refused_total Deliveries that were not authentic.",
        "# TYPE trunkline_webhooks_refused_total counter",
    ]
    for platform, count in sorted(webhooks.refused.items()):
        lines.append(f'trunkline_webhooks_refused_total{{platform="{platform}"}} {count}')
    try:
        lines += _of_builds(await standings.now())
        lines += _of_payments(await payment_queue.counts())
    except psycopg.OperationalError:
        pass  # What is known without the database is told without it.
    return Response("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")


def _of_builds(builds: Sequence[Standing]) -> list[str]:
    lines = []
    for name, meaning, field in _OF_BUILDS:
        lines += [f"# HELP {name} {meaning}", f"# TYPE {name} gauge"]
        lines += [f"{name}{{{_labels(each)}}} {getattr(each, field)}" for each in builds]
    return lines


def _of_payments(counts: Counts) -> list[str]:
    return [
        "# HELP trunkline_purchases_waiting Purchases that no provider has settled yet.",
        "# TYPE trunkline_purchases_waiting gauge",
        f"trunkline_purchases_waiting {counts.waiting}",
        "# HELP trunkline_recharges_failed Business accounts whose newest recharge failed.",
        "# TYPE trunkline_recharges_failed gauge",
        f"trunkline_recharges_failed {counts.failed_recharges}",
    ]


def _labels(build: Standing) -> str:
    return (
        f'projection="{build.projection}",version="{build.version}",build="{build.build}",'
        f'state="{build.state}"'
    )


HANDLERS: tuple[Any, ...] = (get_healthz, get_readyz, get_metrics)
