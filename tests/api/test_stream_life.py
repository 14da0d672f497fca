"""How live streams begin, wait and end: limits, rights, slow readers, stops, outages (E1)."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from api import server, stream
from api.feeds import STREAMS_PER_KEY_MAX
from api.main import Core, Database, core
from api.server import serve_http
from tests.adapters.proxy import proxy_to
from tests.api.conftest import Client, Trunkline
from tests.api.deliveries import eventually
from tests.api.live import Live, live
from tests.api.problems import assert_problem
from tests.api.test_stream import CANARY, office, texts_of

PATH = "/v1/services/crm/stream"


@asynccontextmanager
async def many(client: Client, service: str, count: int) -> AsyncIterator[list[Live]]:
    """So many streams of one key."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(live(client, service)) for _ in range(count)]


async def test_an_eleventh_stream_of_a_key_is_refused_until_one_ends(trunkline: Trunkline) -> None:
    """10 streams a key. Another key of the same user has its own ten."""
    org, account = await office(trunkline, "crm")
    made = await org.post("/v1/api-keys", {"user_id": org.user_id, "name": "Two"}, expect=201)
    other = Client(org.http, made["key"])
    async with many(org, "crm", STREAMS_PER_KEY_MAX) as streams:
        response = await org.call("GET", PATH)
        assert_problem(response, 429, "too_many_requests")
        assert int(response.headers["retry-after"]) > 0
        assert (await other.call("GET", PATH)).status_code == 200
        await trunkline.says("Hello", account_id=account)
        for each in streams:
            assert texts_of([await each.event()]) == ["Hello"]
        await streams[0].response.aclose()

        async def status() -> int:
            return (await org.call("GET", PATH)).status_code

        await eventually(status, 200)


async def test_many_that_come_at_once_get_ten_places(trunkline: Trunkline) -> None:
    org, _ = await office(trunkline, "crm")
    async with AsyncExitStack() as stack:
        streams = [stack.enter_async_context(live(org, "crm")) for _ in range(30)]
        opened = await asyncio.gather(*streams)
        statuses = [each.response.status_code for each in opened]
    assert sorted(statuses) == [200] * STREAMS_PER_KEY_MAX + [429] * 20


# Rights.


async def test_a_stream_ends_when_its_key_is_revoked(trunkline: Trunkline) -> None:
    """What was written after the key was revoked is not told any more."""
    org, account = await office(trunkline, "crm")
    ren = await org.user("agent", {"crm": "view"}, name="Ren")
    (key,) = [
        each for each in (await org.get("/v1/api-keys"))["items"] if each["user_id"] == ren.user_id
    ]
    async with live(ren, "crm") as stream:
        await org.delete(f"/v1/api-keys/{key['id']}")
        await trunkline.says(CANARY, account_id=account)
        assert await stream.rest() == []
    assert CANARY.encode() not in stream.raw
    assert stream.comments[-1] == "the key or its rights have changed"
    assert_problem(await ren.call("GET", PATH), 401, "unauthenticated")


@pytest.mark.parametrize(
    "change", [{"services": {}}, {"services": {"crm": "reply"}}, {"role": "auditor"}]
)
async def test_a_stream_ends_when_its_users_rights_change(
    trunkline: Trunkline, change: dict[str, object]
) -> None:
    """Who may still look on comes back, and is asked anew."""
    org, account = await office(trunkline, "crm")
    ren = await org.user("agent", {"crm": "view"}, name="Ren")
    async with live(ren, "crm") as stream:
        await org.patch(f"/v1/users/{ren.user_id}", {"away": True})
        await trunkline.says("Before", account_id=account)
        assert texts_of([await stream.event()]) == ["Before"]  # Being away is no right.
        await org.patch(f"/v1/users/{ren.user_id}", change)
        await trunkline.says(CANARY, account_id=account)
        assert await stream.rest() == []
    assert CANARY.encode() not in stream.raw
    status = 403 if change == {"services": {}} else 200
    assert (await ren.call("GET", PATH)).status_code == status


async def test_a_stream_ends_when_its_key_expires(trunkline: Trunkline) -> None:
    org, _ = await office(trunkline, "crm")
    soon = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
    body = {"user_id": org.user_id, "name": "Short", "expires_at": soon}
    made = await org.post("/v1/api-keys", body, expect=201)
    began = time.monotonic()
    async with live(Client(org.http, made["key"]), "crm") as stream:
        assert await stream.rest() == []
    assert time.monotonic() - began < 4


async def test_a_key_that_is_closed_behind_our_back_is_noticed_at_the_next_heartbeat(
    trunkline: Trunkline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its event may be missing: the row is closed first."""
    monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", 0.3)
    org, _ = await office(trunkline, "crm")
    ren = await org.user("agent", {"crm": "view"}, name="Ren")
    async with live(ren, "crm") as open_stream:
        async with await psycopg.AsyncConnection.connect(
            trunkline.database.migration_url
        ) as database:
            await database.execute(
                "UPDATE trunkline.api_keys SET revoked_at = now() WHERE user_id = %s", [ren.user_id]
            )
        assert await open_stream.rest() == []


# Waiting.


async def test_a_quiet_stream_is_kept_alive_and_moves_on(
    trunkline: Trunkline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that comes back later need not be told what passed without concerning it."""
    monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", 0.2)
    org, account = await office(trunkline, "crm")
    await org.services("desk")
    began = org.position
    async with live(org, "desk", after=began) as open_stream:
        await trunkline.says("Not for desk", account_id=account)
        await org.settled()
        await open_stream.silence(1.5)
        assert open_stream.comments.count("still here") >= 3
        assert open_stream.last_id >= org.position > began


async def test_many_streams_read_the_log_once(trunkline: Trunkline) -> None:
    """The log, the rows, the counters: per batch and service, not per stream."""
    org, account = await office(trunkline, "crm")
    clients = [org, *[await org.user("agent", {"crm": "view"}, name=f"{n}") for n in range(9)]]
    costs = []
    for streams_per_client in (1, 10):
        async with AsyncExitStack() as stack:
            limits = httpx.Limits(max_connections=None)
            http = await stack.enter_async_context(
                httpx.AsyncClient(base_url=trunkline.url, limits=limits)
            )
            streams = [
                await stack.enter_async_context(live(replace(client, http=http), "crm"))
                for client in clients
                for _ in range(streams_per_client)
            ]
            before = await scans(trunkline)
            for number in range(5):
                await trunkline.says(f"{number}", account_id=account)
                for each in streams:
                    assert texts_of([await each.event()]) == [f"{number}"]
            costs.append(await scans(trunkline) - before)
    # Ten times the streams; the slack is for polls, and for batches that fell otherwise.
    assert costs[1] <= 2 * costs[0]


async def scans(trunkline: Trunkline) -> int:
    """How often the tables that streams are made of were looked into."""
    async with await psycopg.AsyncConnection.connect(
        trunkline.database.migration_url, autocommit=True
    ) as database:
        for _ in range(8):  # Idle servers say what they did within a second.
            await asyncio.sleep(0.2)
        cursor = await database.execute(
            "SELECT sum(idx_scan + seq_scan) FROM pg_stat_user_tables"
            " WHERE relname ~ '^(events|inbox_chats|unread_readers|api_keys)'"
        )
        row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


# Ends.


@asynccontextmanager
async def served(
    trunkline: Trunkline, database: Database | None = None
) -> AsyncIterator[tuple[Core, str, asyncio.Event]]:
    """A second server on the same database, as `trunkline serve` runs it; `stop` stops it."""
    stop, ready = asyncio.Event(), asyncio.Queue[str]()
    async with core(trunkline.settings, database or trunkline.database) as parts:
        serving = asyncio.create_task(serve_http(parts, "127.0.0.1", 0, stop, ready.put_nowait))
        yield parts, await ready.get(), stop
        stop.set()
        await serving


async def test_a_server_that_stops_ends_its_streams_at_once(trunkline: Trunkline) -> None:
    """SIGTERM drains within ten seconds; a client goes on where it was, with another server."""
    org, account = await office(trunkline, "crm")
    await org.settled()
    async with served(trunkline) as (_, url, stop), httpx.AsyncClient(base_url=url) as http:
        here = replace(org, http=http)
        async with live(here, "crm", after=org.position) as stream:
            await trunkline.says("One", account_id=account)
            assert texts_of([await stream.event()]) == ["One"]
            began = time.monotonic()
            stop.set()
            assert await stream.rest() == []
            assert time.monotonic() - began < 2
    await trunkline.says("Two", account_id=account)
    async with live(org, "crm", after=stream.last_id) as again:
        assert texts_of([await again.event()]) == ["Two"]


async def test_a_client_that_reads_nothing_is_dropped_and_costs_nothing_meanwhile(
    trunkline: Trunkline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept for it is bounded; others are not held up; its place is free afterwards."""
    monkeypatch.setattr(server, "SLOW_READER_SECONDS", 1.0)
    org, account = await office(trunkline, "crm")
    async with served(trunkline) as (parts, url, _), httpx.AsyncClient(base_url=url) as http:
        here = replace(org, http=http)
        deaf = deaf_client(url, org.api_key)
        await eventually(streams_of(parts), 1)
        async with live(here, "crm") as stream:
            for number in range(60):  # More than the kernel keeps for a connection.
                text = f"{number} " + "x" * 100_000
                await trunkline.says(text, account_id=account, phone=f"1202555{number % 9:04}")
                assert texts_of([await stream.event()]) == [text]
            await eventually(streams_of(parts), 1)
            await trunkline.says("Still there", account_id=account)
            assert texts_of([await stream.event()]) == ["Still there"]
        await eventually(streams_of(parts), 0)
        deaf.close()


def streams_of(parts: Core) -> Callable[[], Awaitable[int]]:
    async def count() -> int:
        return parts.feeds.stream_count

    return count


def deaf_client(url: str, api_key: str) -> socket.socket:
    """A connection that asks for a stream from the beginning and never reads of it."""
    address = urlsplit(url)
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((address.hostname, address.port))
    connection.sendall(
        f"GET {PATH} HTTP/1.1\r\nHost: x\r\nLast-Event-ID: 0\r\n"
        f"Authorization: Bearer {api_key}\r\n\r\n".encode()
    )
    return connection


async def test_a_database_that_goes_away_ends_streams_and_no_event_is_lost(
    trunkline: Trunkline,
) -> None:
    """Clients come back until it answers again, and go on where they were."""
    org, account = await office(trunkline, "crm")
    await org.settled()
    async with (
        proxy_to(trunkline.database.url) as proxy,
        served(trunkline, replace(trunkline.database, url=proxy.url)) as (_, url, _stop),
        httpx.AsyncClient(base_url=url, timeout=20) as http,
    ):
        here = replace(org, http=http)
        async with live(here, "crm", after=org.position) as stream:
            await trunkline.says("Before", account_id=account)
            assert texts_of([await stream.event()]) == ["Before"]
            await proxy.shut()
            assert await stream.rest() == []
            assert stream.comments == ["the database cannot be reached"]
        await trunkline.says("Meanwhile", account_id=account)
        response = await here.http.get(
            PATH, headers={"Authorization": f"Bearer {org.api_key}"}, timeout=20
        )
        assert_problem_of_outage(response)
        await proxy.open()

        async def answer() -> list[str] | int:
            async with live(here, "crm", after=stream.last_id) as again:
                if again.response.status_code != 200:
                    return again.response.status_code
                return texts_of([await again.event()])

        await eventually(answer, ["Meanwhile"])


def assert_problem_of_outage(response: httpx.Response) -> None:
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert int(response.headers["retry-after"]) > 0


async def test_what_a_stream_tells_is_never_ahead_of_what_can_be_read(trunkline: Trunkline) -> None:
    """The id is a position at which the projections are already."""
    org, account = await office(trunkline, "crm")
    async with live(org, "crm") as stream:
        for number in range(30):
            await trunkline.says(f"{number}", account_id=account)
            event = await stream.event()
            page = await org.call("GET", "/v1/services/crm/chats", expect=200)
            assert int(page.headers["trunkline-position"]) >= event.id
