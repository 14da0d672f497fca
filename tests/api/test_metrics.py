"""What operators are told: counts and ages, by platform, and nobody's name."""

import asyncio
import re
from collections.abc import AsyncIterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from adapters.histogram import Histogram
from adapters.whatsapp.fake_behaviour import fails
from api.main import core
from api.metrics import exposition, histogram
from api.server import serve_http
from tests.api.conftest import ACCOUNT, APP_SECRET, Client, Trunkline
from tests.api.deliveries import eventually
from tests.api.live import live
from tests.api.test_sending import fates, ready

Sample = tuple[str, tuple[tuple[str, str], ...]]


async def measured(http: httpx.AsyncClient) -> dict[Sample, float]:
    """Every sample as an independent reader understands it."""
    answered = await http.get("/metrics")
    assert answered.status_code == 200, answered.text
    assert answered.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answered.text)
        for sample in family.samples
    }


async def value(trunkline: Trunkline, name: str, **labels: str) -> float:
    found = await measured(trunkline.http)
    return found.get((name, tuple(sorted(labels.items()))), 0.0)


async def test_deliveries_are_counted_whether_they_are_taken_or_refused(
    trunkline: Trunkline,
) -> None:
    async def counts() -> list[float]:
        names = ("trunkline_webhooks_accepted_total", "trunkline_webhooks_refused_total")
        return [await value(trunkline, name, platform="whatsapp") for name in names]

    before = await counts()
    await trunkline.says("hi", account_id=ACCOUNT)
    for secret in ("wrong", APP_SECRET[:-1]):
        await trunkline.deliver({"entry": []}, secret=secret, expect=401)
    assert await counts() == [before[0] + 1, before[1] + 2]


async def test_requests_are_counted_by_route_and_status_never_by_path(trunkline: Trunkline) -> None:
    org = await trunkline.organisation()
    name, route = "trunkline_http_requests_total", "/v1/channels/{channel_id}"
    before = await value(trunkline, name, route=route, status="404")
    await org.get("/v1/channels/nobody-has-this-id", expect=404)
    await org.get("/v1/neither/is/there/this-path", expect=404)
    assert await value(trunkline, name, route=route, status="404") == before + 1
    text = (await trunkline.http.get("/metrics")).text
    assert "nobody-has-this-id" not in text
    assert "this-path" not in text


async def test_what_waits_is_shown_with_its_age_and_why(trunkline: Trunkline) -> None:
    """Never a silent queue: it is counted while it waits, and while its account is stopped."""
    inbox = await ready(trunkline)
    waiting, oldest = "trunkline_messages_waiting", "trunkline_messages_waiting_oldest_seconds"
    labels = {"platform": "whatsapp", "state": "held"}
    assert await value(trunkline, waiting, **labels) == 0
    trunkline.fake.next_requests(fails(190))
    await inbox.org.reply("crm", inbox.chats["A"], "a")
    await eventually(lambda: value(trunkline, waiting, **labels), 1)
    assert await fates(inbox) == [("queued", None)]
    age = await value(trunkline, oldest, **labels)
    await asyncio.sleep(0.05)
    assert await value(trunkline, oldest, **labels) > age > 0
    stopped = {"platform": "whatsapp", "health": "stopped"}
    await eventually(lambda: value(trunkline, "trunkline_accounts", **stopped), 1)


async def test_sends_are_counted_by_what_the_platform_answered(trunkline: Trunkline) -> None:
    inbox = await ready(trunkline)
    labels = {"platform": "whatsapp", "answer": "accepted"}
    before = await value(trunkline, "trunkline_sends_total", **labels)
    took = await value(trunkline, "trunkline_send_seconds_count", platform="whatsapp")
    await inbox.org.reply("crm", inbox.chats["A"], "a")
    await eventually(lambda: value(trunkline, "trunkline_sends_total", **labels), before + 1)
    assert await value(trunkline, "trunkline_send_seconds_count", platform="whatsapp") == took + 1


async def test_appends_and_open_streams_are_counted(trunkline: Trunkline) -> None:
    org = await trunkline.organisation()
    await org.services("crm")
    before = await value(trunkline, "trunkline_log_append_seconds_count")
    await org.services("desk")
    assert await value(trunkline, "trunkline_log_append_seconds_count") > before
    assert await value(trunkline, "trunkline_log_batch_commands_count") > before
    async with live(org, "crm"):
        await eventually(lambda: value(trunkline, "trunkline_streams_open"), 1)
    await eventually(lambda: value(trunkline, "trunkline_streams_open"), 0)


async def test_nothing_names_an_organisation_an_account_or_a_person(trunkline: Trunkline) -> None:
    inbox = await ready(trunkline)
    await inbox.org.reply("crm", inbox.chats["A"], "a secret")
    text = (await trunkline.http.get("/metrics")).text
    for known in (
        inbox.org.organization_id,
        inbox.org.user_id,
        inbox.account,
        inbox.channel_id,
        *inbox.chats.values(),
        "Acme",
        "crm",
        "secret",
    ):
        assert known not in text
    names = set(re.findall(r'(\w+)="', text))
    assert names <= {
        "answer",
        "build",
        "health",
        "le",
        "platform",
        "projection",
        "route",
        "state",
        "status",
        "version",
    }


def test_a_histogram_counts_each_value_up_to_its_bound() -> None:
    seconds = Histogram((0.1, 1.0))
    for each in (0.05, 0.1, 0.5, 7.0):
        seconds.note(each)
    text = exposition([histogram("t_seconds", "Time.", (), {(): seconds})]).decode()
    shown = [line for line in text.splitlines() if line.startswith("t_seconds")]
    assert shown == [
        't_seconds_bucket{le="0.1"} 2.0',
        't_seconds_bucket{le="1.0"} 3.0',
        't_seconds_bucket{le="+Inf"} 4.0',
        "t_seconds_count 4.0",
        "t_seconds_sum 7.65",
    ]


@pytest.fixture
async def projector(trunkline: Trunkline) -> AsyncIterator[httpx.AsyncClient]:
    """The HTTP side of a process that serves no clients."""
    stop, ready_at = asyncio.Event(), asyncio.Queue[str]()
    async with core(trunkline.settings, trunkline.database) as parts:
        serving = asyncio.create_task(
            serve_http(parts, "127.0.0.1", 0, stop, ready_at.put_nowait, for_operators=True)
        )
        async with httpx.AsyncClient(base_url=await ready_at.get(), timeout=20) as http:
            yield http
        stop.set()
        await serving


async def test_a_process_without_clients_answers_operators_and_nobody_else(
    trunkline: Trunkline, projector: httpx.AsyncClient
) -> None:
    for path in ("/healthz", "/readyz"):
        assert (await projector.get(path)).json() == {"status": "ok"}
    assert any(name.startswith("trunkline_projection_") for name, _ in await measured(projector))
    org = await trunkline.organisation()
    admin = Client(projector, org.api_key)
    assert (await admin.call("GET", "/v1/channels")).status_code == 404
