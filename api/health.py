"""For operators: /healthz, /readyz, /metrics."""

from typing import Any

import msgspec
from litestar import Response, get

from api.parts import Part
from api.reading import Reading
from api.webhooks import Webhooks


class Health(msgspec.Struct):
    """The process runs."""

    status: str = "ok"


@get("/healthz")
async def get_healthz() -> Health:
    """The process runs; it says nothing of the database."""
    return Health()


@get("/readyz")
async def get_readyz(reading: Part[Reading]) -> Health:
    """The database answers: requests can be served."""
    await reading.ping()
    return Health()


@get("/metrics", media_type="text/plain; version=0.0.4")
async def get_metrics(webhooks: Part[Webhooks]) -> Response[str]:
    """Prometheus: refused webhooks by platform."""
    lines = [
        "# HELP trunkline_webhooks_refused_total Deliveries that were not authentic.",
        "# TYPE trunkline_webhooks_refused_total counter",
    ]
    for platform, count in sorted(webhooks.refused.items()):
        lines.append(f'trunkline_webhooks_refused_total{{platform="{platform}"}} {count}')
    return Response("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")


HANDLERS: tuple[Any, ...] = (get_healthz, get_readyz, get_metrics)
