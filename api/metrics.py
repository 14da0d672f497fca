"""What operators are told, in the format of Prometheus: counts, never what is counted.

Nothing here names an organisation, an account or a person: anybody may ask. What this process
counts is counted in plain numbers where it happens, and only made into text when somebody asks.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from litestar.types import Message, Scope
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from projections.channels.queries import AccountsByHealth
from projections.engine.standing import Standing
from projections.outbox.projection import Backlog
from projections.payments import Counts

CONTENT_TYPE = "text/plain; version=0.0.4"  # Litestar adds the character set.

Labels = tuple[str, ...]


class Distribution(Protocol):
    """A histogram, as whoever counts keeps it."""

    bounds: tuple[float, ...]
    counts: list[int]
    total: float


@dataclass
class Metrics:
    """What happens in this process, whatever its role."""

    requests: Counter[Labels] = field(default_factory=Counter)  # By route and status.
    # What else is counted in this process, by who counts it.
    sources: dict[str, Callable[[], Iterable[Metric]]] = field(default_factory=dict)

    async def count_request(self, message: Message, scope: Scope) -> None:
        """Count an answer by the template of its route: paths hold ids, and are without number."""
        if message["type"] == "http.response.start":
            route = str(scope.get("path_template", "none"))
            self.requests[route, str(message["status"])] += 1

    def collected(self) -> list[Metric]:
        """All that is counted here."""
        requests = counter(
            "trunkline_http_requests", "Answers over HTTP.", ("route", "status"), self.requests
        )
        return [requests, *(metric for source in self.sources.values() for metric in source())]


def exposition(metrics: Iterable[Metric]) -> bytes:
    """Metrics as Prometheus reads them, with those of the process itself."""
    registry = CollectorRegistry()
    registry.register(_Collected(metrics))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


class _Collected:
    """What the library asks for metrics."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def counter(
    name: str, meaning: str, labels: Sequence[str], counts: Mapping[Labels, int]
) -> CounterMetricFamily:
    """What only grows, as long as the process lives."""
    family = CounterMetricFamily(name, meaning, labels=labels)
    for values, count in sorted(counts.items()):
        family.add_metric(values, count)
    return family


def gauge(
    name: str, meaning: str, labels: Sequence[str], values: Mapping[Labels, float]
) -> GaugeMetricFamily:
    """What is so at this moment."""
    family = GaugeMetricFamily(name, meaning, labels=labels)
    for of, value in values.items():
        family.add_metric(of, value)
    return family


def histogram(
    name: str, meaning: str, labels: Sequence[str], distributions: Mapping[Labels, Distribution]
) -> HistogramMetricFamily:
    """How values are spread."""
    family = HistogramMetricFamily(name, meaning, labels=labels)
    for values, distribution in distributions.items():
        family.add_metric(values, _buckets(distribution), distribution.total)
    return family


def _buckets(distribution: Distribution) -> list[tuple[str, float]]:
    """Each counts all that is not larger, as Prometheus has it."""
    bounds = [*map(str, distribution.bounds), "+Inf"]
    so_far = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip(bounds, distribution.counts, strict=True):
        so_far += count
        buckets.append((bound, so_far))
    return buckets


# What the database knows: the same for every process.

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


def of_builds(builds: Sequence[Standing]) -> list[Metric]:
    """How far projections are behind the log."""
    labels = ("projection", "version", "build", "state")
    return [
        gauge(
            name,
            meaning,
            labels,
            {
                (each.projection, str(each.version), str(each.build), each.state): getattr(
                    each, field_
                )
                for each in builds
            },
        )
        for name, meaning, field_ in _OF_BUILDS
    ]


def of_payments(counts: Counts) -> list[Metric]:
    """What waits for money."""
    return [
        gauge(
            "trunkline_purchases_waiting",
            "Purchases that no provider has settled yet.",
            (),
            {(): counts.waiting},
        ),
        gauge(
            "trunkline_recharges_failed",
            "Business accounts whose newest recharge failed.",
            (),
            {(): counts.failed_recharges},
        ),
    ]


def of_backlogs(backlogs: Sequence[Backlog]) -> list[Metric]:
    """What waits to be sent. `held`: its account is stopped."""
    labels = ("platform", "state")
    return [
        gauge(
            "trunkline_messages_waiting",
            "Messages that no platform has taken yet.",
            labels,
            {(each.platform, each.state): each.messages for each in backlogs},
        ),
        gauge(
            "trunkline_messages_waiting_oldest_seconds",
            "Age of the oldest of them.",
            labels,
            {(each.platform, each.state): each.oldest_seconds for each in backlogs},
        ),
    ]


def of_accounts(accounts: Sequence[AccountsByHealth]) -> list[Metric]:
    """How well accounts are, over all organisations."""
    return [
        gauge(
            "trunkline_accounts",
            "Accounts by their health: ok, unsubscribed, restricted, limited, …",
            ("platform", "health"),
            {(each.platform, each.health): each.accounts for each in accounts},
        )
    ]


def of_webhooks(accepted: Mapping[str, int], refused: Mapping[str, int]) -> list[Metric]:
    """What platforms delivered to this process. That is all that a refusal leaves (P2)."""
    return [
        counter(
            "trunkline_webhooks_accepted",
            "Deliveries that were acknowledged.",
            ("platform",),
            _by_one(accepted),
        ),
        counter(
            "trunkline_webhooks_refused",
            "Deliveries that were not authentic.",
            ("platform",),
            _by_one(refused),
        ),
    ]


def of_streams(count: int) -> list[Metric]:
    """Who looks on."""
    return [gauge("trunkline_streams_open", "Live streams of this process.", (), {(): count})]


def of_log(commands: Distribution, seconds: Distribution) -> list[Metric]:
    """How this process appends."""
    return [
        histogram(
            "trunkline_log_batch_commands",
            "Commands that were written in one transaction.",
            (),
            {(): commands},
        ),
        histogram(
            "trunkline_log_append_seconds",
            "From sending a batch until it was durable.",
            (),
            {(): seconds},
        ),
    ]


def of_sends(
    answers: Mapping[tuple[str, str], int],
    seconds: Mapping[str, Distribution],
    paused: Mapping[str, int],
) -> list[Metric]:
    """How this process sends."""
    return [
        counter(
            "trunkline_sends",
            "Messages that platforms were asked to take, by their answer.",
            ("platform", "answer"),
            {(platform, answer): count for (platform, answer), count in answers.items()},
        ),
        histogram(
            "trunkline_send_seconds",
            "How long platforms took to answer.",
            ("platform",),
            {(platform,): each for platform, each in seconds.items()},
        ),
        gauge(
            "trunkline_accounts_paused",
            "Accounts that this process leaves in peace because of what was answered.",
            ("platform",),
            _by_one(paused),
        ),
    ]


def _by_one(counts: Mapping[str, Any]) -> dict[Labels, Any]:
    return {(name,): count for name, count in counts.items()}
