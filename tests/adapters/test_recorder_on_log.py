"""What the log asks of a recorder, besides what the library asks (test_recorder.py)."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import reduce
from typing import Any
from uuid import UUID

import pytest
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate
from eventsourcing.domain import event as decorated
from eventsourcing.persistence import (
    DataError,
    EventStore,
    InfrastructureFactoryError,
    IntegrityError,
    JSONTranscoder,
    Notification,
    OperationalError,
    ProgrammingError,
    StoredEvent,
    Tracking,
)

from adapters.postgres.blocking_log import CHUNK_EVENTS, BlockingLog
from adapters.postgres.connections import Pool, pool
from adapters.postgres.recorder import (
    EventMapper,
    Factory,
    LogApplicationRecorder,
    LogProcessRecorder,
    StreamEvent,
    kind_of,
    topic_of,
)
from adapters.postgres.verification import BrokenChain, verify
from domain.aggregates import aggregate_of
from domain.contact import Contact, ContactChatStarted, ContactCreated
from domain.ports import Org
from tests.adapters.log_scenario import Process, TestClock, World, event
from tests.adapters.test_recorder import environment, new_org
from tests.conftest import Database

TYPE = event().stored_type
Open = Callable[..., LogApplicationRecorder]


@pytest.fixture
def opened(database: Database) -> Iterator[Open]:
    """Makes recorders, each with connections of its own, as in a process of its own."""
    logs: list[BlockingLog] = []

    def open_recorder(
        org: Org, kind: type[LogApplicationRecorder] = LogApplicationRecorder, **more: Any
    ) -> LogApplicationRecorder:
        logs.append(BlockingLog(database.url, org, **more))
        return kind(logs[-1])

    yield open_recorder
    for log in logs:
        log.close()


@pytest.fixture
async def readers(database: Database) -> AsyncIterator[Pool]:
    async with pool(database.url, "trunkline_read", size_max=2) as readers:
        yield readers


def stored(stream: str, *versions: int, text: str = "") -> list[StoredEvent]:
    mapper = EventMapper(JSONTranscoder())
    return [mapper.to_stored_event(StreamEvent(stream, n, event(text, n))) for n in versions]


def ids(notifications: Iterable[Notification]) -> list[int]:
    return [notification.id for notification in notifications]


async def follow(subscription: Iterator[Notification], count: int) -> list[int]:
    """The ids of the next events; the subscription's end ends the thread if there are fewer."""
    async with asyncio.timeout(20):
        return await asyncio.to_thread(lambda: ids(itertools.islice(subscription, count)))


async def test_what_it_wrote_verifies(world: World, opened: Open, readers: Pool) -> None:
    org, clock = await world.org(), TestClock()
    recorder = opened(org, LogProcessRecorder, clock=clock)
    recorder.insert_events(stored("chat:a", 1, 2) + stored("chat:b", 1))
    clock.move(seconds=-9)  # The log's time does not go back.
    recorder.insert_events(stored("chat:a", 3), tracking=Tracking("upstream", 4))
    long = 2 * CHUNK_EVENTS + 1
    assert recorder.insert_events(stored("chat:c", *range(1, long + 1))) == list(range(5, long + 5))
    assert (await verify(readers, org)).events == long + 4
    rows = await world.assert_whole(org)
    assert {row["recorded_at"] for row in rows} == {clock.time + timedelta(seconds=9)}
    # A statement's worth is a command; all of them were one transaction.
    assert len({row["command"] for row in rows}) == 2 + 3


async def test_a_save_of_several_chunks_is_written_as_a_whole_or_not(
    world: World, opened: Open
) -> None:
    recorder = opened(await world.org())
    with pytest.raises(IntegrityError):
        recorder.insert_events(stored("chat:a", *range(1, 2 * CHUNK_EVENTS), 1))
    assert recorder.max_notification_id() is None
    assert recorder.insert_events(stored("chat:a", 1)) == [1]


async def test_versions_that_do_not_follow_are_stored_and_verification_finds_them(
    world: World, opened: Open, readers: Pool
) -> None:
    org = await world.org()
    opened(org).insert_events(stored("chat:a", 1, 2, 4))
    with pytest.raises(BrokenChain, match="position 3: its stream misses an event"):
        await verify(readers, org)


async def test_it_reads_what_the_log_wrote_and_the_log_what_it_wrote(
    world: World, opened: Open, one: Process, readers: Pool
) -> None:
    org = await world.org()
    recorder = opened(org)
    await one.write(org, "chat:a", "chat:b", text="first")
    assert recorder.select_events("chat:a") == stored_by_log("chat:a", 1, "first")
    recorder.insert_events(stored("chat:a", 2, text="second"))
    # The process does not know of it, yet loses nothing by it.
    await one.write(org, "chat:a", text="third")
    assert await one.state(org, "chat:a") == ["first", "second", "third"]
    assert one.conflicts == 1
    assert recorder.select_events("chat:a", gt=2) == stored_by_log("chat:a", 3, "third")
    assert recorder.select_notifications(None, 9) == [
        Notification(e.originator_id, e.originator_version, e.topic, e.state, position)
        for position, e in enumerate(
            stored_by_log("chat:a", 1, "first")
            + stored_by_log("chat:b", 1, "first")
            + stored("chat:a", 2, text="second")
            + stored_by_log("chat:a", 3, "third"),
            start=1,
        )
    ]
    assert (await verify(readers, org)).events == 4


def stored_by_log(stream: str, version: int, text: str) -> list[StoredEvent]:
    data = f'{{"organisation_id":"{text}","count":0}}'.encode()
    return [StoredEvent(stream, version, TYPE, data)]


async def test_the_writer_and_a_recorder_at_once(
    world: World, opened: Open, one: Process, readers: Pool
) -> None:
    org = await world.org()
    recorder = opened(org)

    def record() -> None:
        for version in range(1, 51):
            recorder.insert_events(stored("chat:r", version))

    async def write(stream: str) -> None:
        for _ in range(25):
            await one.write(org, stream)

    await asyncio.gather(asyncio.to_thread(record), *(write(f"chat:{n}") for n in range(4)))
    assert (await verify(readers, org)).events == 150


async def test_of_two_recorders_at_once_each_version_has_one_winner(
    world: World, opened: Open, readers: Pool
) -> None:
    org = await world.org()
    recorders = [opened(org), opened(org)]

    def record(recorder: LogApplicationRecorder) -> int:
        won = 0
        for version in range(1, 101):
            try:
                recorder.insert_events(stored("chat:a", version))
                won += 1
            except IntegrityError:
                continue
        return won

    with ThreadPoolExecutor(2) as threads:
        assert sum(threads.map(record, recorders)) == 100
    assert (await verify(readers, org)).events == 100


@pytest.mark.parametrize("topics", [[], [TYPE]])
async def test_a_follower_skips_nothing_while_four_write(
    world: World, opened: Open, readers: Pool, topics: list[str]
) -> None:
    org = await world.org()
    saves, each = 50, 3
    follower = opened(org)

    def record(stream: str) -> None:
        recorder = opened(org)
        for save in range(saves):
            first = save * each + 1
            recorder.insert_events(stored(stream, *range(first, first + each)))

    streams = [f"chat:{n}" for n in range(4)]
    with follower.subscribe(topics=topics) as subscription:
        seen, *_ = await asyncio.gather(
            follow(subscription, 4 * saves * each),
            *(asyncio.to_thread(record, stream) for stream in streams),
        )
    assert seen == list(range(1, 4 * saves * each + 1))
    assert (await verify(readers, org)).events == len(seen)


async def test_a_follower_of_a_topic_reads_past_pages_without_it(
    world: World, opened: Open
) -> None:
    recorder = opened(await world.org())
    other = [StoredEvent("chat:b", n, "something else", b"") for n in range(1, 1_201)]
    recorder.insert_events([*other, *stored("chat:a", 1, 2)])
    with recorder.subscribe(gt=600, topics=[TYPE]) as subscription:
        assert await follow(subscription, 2) == [1_201, 1_202]


async def test_a_follower_that_waits_can_be_stopped(world: World, opened: Open) -> None:
    subscription = opened(await world.org()).subscribe()
    waiting = asyncio.create_task(asyncio.to_thread(list, subscription))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    subscription.stop()
    async with asyncio.timeout(20):
        assert await waiting == []


async def test_an_organisation_sees_only_its_own(world: World, opened: Open) -> None:
    mine, others = opened(await world.org()), opened(await world.org())
    others.insert_events(stored("chat:a", 1, 2))
    assert mine.insert_events(stored("chat:a", 1)) == [1]
    assert ids(mine.select_notifications(None, 9)) == [1]
    query = "SELECT DISTINCT org FROM events"
    assert mine.log.rows(query, None) == [(mine.log.org.number,)]


async def test_nobody_is_no_organisation(world: World, opened: Open) -> None:
    recorder = opened(Org(2**31 - 1, "nobody"))
    assert recorder.max_notification_id() is None
    with pytest.raises(ProgrammingError, match="no organisation nobody"):
        recorder.insert_events(stored("chat:a", 1))


@pytest.mark.parametrize(
    "bad",
    [
        StoredEvent("chat:a", -1, "topic", b""),
        StoredEvent("chat:a", 2**31, "topic", b""),
        StoredEvent("chat:\0", 1, "topic", b""),
        StoredEvent("chat:\ud800", 1, "topic", b""),
    ],
)
async def test_what_cannot_be_stored_leaves_nothing(
    world: World, opened: Open, bad: StoredEvent
) -> None:
    recorder = opened(await world.org())
    with pytest.raises(DataError):
        recorder.insert_events([*stored("chat:b", 1), bad])
    assert recorder.insert_events(stored("chat:b", 1)) == [1]


async def test_an_error_says_nothing_of_what_was_to_be_stored(world: World, opened: Open) -> None:
    recorder = opened(await world.org())
    with pytest.raises(IntegrityError) as caught:
        recorder.insert_events(stored("chat:hush", 1, 1))
    assert "hush" not in str(caught.value)


async def test_events_and_tracking_go_together_or_not_at_all(world: World, opened: Open) -> None:
    recorder = opened(await world.org(), LogProcessRecorder)
    assert isinstance(recorder, LogProcessRecorder)
    recorder.insert_events(stored("chat:a", 1), tracking=Tracking("upstream", 5))
    with pytest.raises(IntegrityError):
        recorder.insert_events(stored("chat:a", 2), tracking=Tracking("upstream", 5))
    with pytest.raises(IntegrityError):
        recorder.insert_events(stored("chat:a", 1), tracking=Tracking("upstream", 6))
    assert (recorder.max_notification_id(), recorder.max_tracking_id("upstream")) == (1, 5)


async def test_a_write_that_may_not_be_replicated_is_no_success(world: World, opened: Open) -> None:
    org = await world.org()
    async with await world.superuser() as connection:
        await connection.execute(
            "CREATE FUNCTION warn() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE WARNING 'not waiting any longer'; RETURN NULL; END $$"
        )
        await connection.execute(
            "CREATE TRIGGER warns AFTER INSERT ON events FOR EACH ROW"
            f" WHEN (NEW.org = {org.number}) EXECUTE FUNCTION warn()"
        )
    recorder = opened(org)
    with pytest.raises(OperationalError, match="perhaps nowhere else"):
        recorder.insert_events(stored("chat:a", 1))
    assert recorder.max_notification_id() == 1


async def test_a_broken_connection_is_an_error_once(world: World) -> None:
    log = BlockingLog(f"{world.database.url} application_name=victim", await world.org())
    recorder = LogApplicationRecorder(log)
    recorder.insert_events(stored("chat:a", 1))
    async with await world.superuser() as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid, 20_000) FROM pg_stat_activity"
            " WHERE application_name = 'victim'"
        )
    with pytest.raises(OperationalError):
        recorder.insert_events(stored("chat:a", 2))
    assert recorder.insert_events(stored("chat:a", 2)) == [2]
    log.close()


@pytest.mark.parametrize(
    ("topic", "kind"),
    [
        ("chat.opened", ("chat.opened", 1)),
        ("chat.opened/2", ("chat.opened", 2)),
        ("chat.opened/31", ("chat.opened", 31)),
        ("chat.opened/1", ("chat.opened/1", 1)),
        ("chat.opened/02", ("chat.opened/02", 1)),
        ("chat.opened/99999", ("chat.opened/99999", 1)),
        ("a/2/3", ("a/2", 3)),
        ("module:Class.Event", ("module:Class.Event", 1)),
    ],
)
async def test_a_topic_is_a_type_and_its_schema_version(
    world: World, opened: Open, topic: str, kind: tuple[str, int]
) -> None:
    assert kind_of(topic) == kind
    assert topic_of(*kind) == topic
    org = await world.org()
    recorder = opened(org)
    recorder.insert_events([StoredEvent("s", 1, topic, b""), StoredEvent("s", 2, "more", b"")])
    assert [each.topic for each in recorder.select_events("s")] == [topic, "more"]
    assert ids(recorder.select_notifications(1, 9, topics=[topic])) == [1]
    first, _ = await world.assert_whole(org)
    assert (first["type"], first["schema_version"]) == kind


async def test_the_library_folds_our_streams(world: World, opened: Open, one: Process) -> None:
    org = await world.org()
    store = EventStore(EventMapper(JSONTranscoder()), opened(org))
    events = [
        ContactCreated(contact_id="c", group=True),
        ContactChatStarted(account="line:1", chat_id="d"),
    ]
    put = [StreamEvent("contact:c", n, each) for n, each in enumerate(events, start=1)]
    assert ids(recording.notification for recording in store.put(put)) == [1, 2]
    got = [each for each in store.get("contact:c") if isinstance(each, StreamEvent)]
    assert got == put
    assert [each.event for each in await one.log.read_stream(org, "contact:c")] == events
    empty, evolve = aggregate_of("contact:c")
    assert reduce(evolve, [each.event for each in got], empty) == (
        Contact(contact_id="c", group=True, chats={"line:1": "d"})
    )


class Counter(Aggregate):
    """One of the library's own aggregates, with ids and topics as the library makes them."""

    def __init__(self) -> None:
        self.count = 0

    @decorated("Counted")
    def add(self, *, by: int) -> None:
        self.count += by


async def test_an_application_of_the_library_runs_on_the_log(
    world: World, database: Database, readers: Pool
) -> None:
    org = await world.org()
    with Application[UUID](environment(database, org)) as application:
        counter = Counter()
        counter.add(by=2)
        application.save(counter)
        counter.add(by=3)
        application.save(counter)
        assert application.repository.get(counter.id).count == 5
        assert ids(application.notification_log.select(1, 10)) == [1, 2, 3]
    assert (await verify(readers, org)).events == 3


def test_the_factory_names_what_is_wrong(database: Database) -> None:
    with pytest.raises(InfrastructureFactoryError, match="TRUNKLINE_DATABASE_URL is not set"):
        Factory({}).application_recorder()
    with pytest.raises(InfrastructureFactoryError, match="no organisation nobody"):
        Factory(environment(database, Org(0, "nobody"))).application_recorder()
    with Factory(environment(database, new_org(database))) as factory:
        with pytest.raises(InfrastructureFactoryError, match="no place for snapshots"):
            factory.aggregate_recorder(purpose="snapshots")
        factory.close()
