"""The `eventsourcing` library's interface to the log of one organisation, for tools and tests.

A notification's id is the event's position, its topic the type: `chat.opened`, and `chat.opened/2`
from the second schema version on. Commands go through the writer, which proves what they were
decided on; here versions are stored as given, and only that they are new is checked. A stream
whose versions are not 1, 2, 3 … is found broken by verification.
"""

import re
import struct
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from eventsourcing import persistence
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    InfrastructureFactory,
    InfrastructureFactoryError,
    Mapper,
    Notification,
    ProcessRecorder,
    StoredEvent,
    Subscription,
    Tracking,
    TrackingRecorder,
)
from eventsourcing.utils import resolve_topic

from adapters.postgres.batch import pack
from adapters.postgres.blocking_log import BlockingLog, find_org
from domain import every_event  # noqa: F401 - A log holds any.
from domain.event import Event, decode, encode

PAGE_EVENTS = 500
POLL_SECONDS = 0.2  # For what other processes append.

VERSION_MAX = 2**31 - 1
POSITION_MAX = 2**63 - 1

_HEAD = "SELECT position FROM heads WHERE org = %s"
_STREAM = (
    "SELECT stream, version, type, schema_version, data FROM events"
    " WHERE org = %s AND stream = %s AND version > %s AND version <= %s ORDER BY version "
)
_EVENTS = (
    "SELECT stream, version, type, schema_version, data, position FROM events"
    " WHERE org = %(org)s AND position >= %(start)s AND position <= %(stop)s AND (%(all)s OR"
    " (type, schema_version) IN (SELECT * FROM unnest(%(types)s::text[], %(schemas)s::int[])))"
    " ORDER BY position LIMIT %(limit)s"
)
_TRACKED = "SELECT position FROM applications WHERE application = %s AND org = %s"

_LATER_SCHEMA = re.compile(r"(.+)/([2-9]|[1-9][0-9]{1,3})", re.DOTALL)


def topic_of(stored_type: str, schema_version: int) -> str:
    """An event's kind in one word."""
    return stored_type if schema_version == 1 else f"{stored_type}/{schema_version}"


def kind_of(topic: str) -> tuple[str, int]:
    """The other way round."""
    match = _LATER_SCHEMA.fullmatch(topic)
    return (match[1], int(match[2])) if match else (topic, 1)


def _event(
    stream: str, version: int, stored_type: str, schema_version: int, data: bytes
) -> tuple[str, int, str, bytes]:
    return stream, version, topic_of(stored_type, schema_version), data


class OrgRecorder:
    """What all recorders have: the log of one organisation."""

    def __init__(self, log: BlockingLog) -> None:
        self.log = log

    def _append(self, events: Sequence[StoredEvent], tracking: Tracking | None = None) -> list[int]:
        with _library_errors():
            packed = [
                pack(str(e.originator_id), e.originator_version, *kind_of(e.topic), e.state)
                for e in events
            ]
            mark = (tracking.application_name, tracking.notification_id) if tracking else None
            return self.log.append(packed, mark)

    def _rows(self, query: str, parameters: Any) -> list[tuple[Any, ...]]:
        with _library_errors():
            return self.log.rows(query, parameters)


class LogAggregateRecorder(OrgRecorder, AggregateRecorder):
    """Streams, one by one."""

    def insert_events(
        self, stored_events: Sequence[StoredEvent], **_kwargs: Any
    ) -> Sequence[int] | None:
        """Append all of them or none. Raises IntegrityError where a version is not new."""
        self._append(stored_events)
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> list[StoredEvent]:
        """One stream's events."""
        above = -1 if gt is None else gt
        until = VERSION_MAX if lte is None else lte
        query = _STREAM + ("DESC LIMIT %s" if desc else "ASC LIMIT %s")
        rows = self._rows(query, [self.log.org.number, str(originator_id), above, until, limit])
        return [StoredEvent(*_event(*row)) for row in rows]


class LogApplicationRecorder(LogAggregateRecorder, ApplicationRecorder):
    """The same, and all streams in the order of their positions."""

    def insert_events(
        self, stored_events: Sequence[StoredEvent], **_kwargs: Any
    ) -> Sequence[int] | None:
        """Append all of them or none; their positions. Raises IntegrityError."""
        return self._append(stored_events)

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> list[Notification]:
        """Events from `start` up to and including `stop`."""
        kinds = [kind_of(topic) for topic in topics]
        parameters = {
            "org": self.log.org.number,
            "start": 0 if start is None else start + (not inclusive_of_start),
            "stop": POSITION_MAX if stop is None else stop,
            "all": not kinds,
            "types": [stored_type for stored_type, _ in kinds],
            "schemas": [schema_version for _, schema_version in kinds],
            "limit": limit,
        }
        rows = self._rows(_EVENTS, parameters)
        return [Notification(*_event(*place), position) for *place, position in rows]

    def max_notification_id(self) -> int | None:
        """The position of the newest event."""
        rows = self._rows(_HEAD, [self.log.org.number])
        return rows[0][0] or None if rows else None

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> "LogSubscription":
        """Follow the log from behind position `gt`."""
        return LogSubscription(self, gt, topics)


class LogTrackingRecorder(OrgRecorder, TrackingRecorder):
    """How far applications have processed others' events: rows of `applications`."""

    def insert_tracking(self, tracking: Tracking) -> None:
        """Move on. Raises IntegrityError where it is not further."""
        self._append((), tracking)

    def max_tracking_id(self, application_name: str) -> int | None:
        """The newest that was processed."""
        rows = self._rows(_TRACKED, [application_name, self.log.org.number])
        return rows[0][0] if rows else None


class LogProcessRecorder(LogTrackingRecorder, LogApplicationRecorder, ProcessRecorder):
    """Events, and what they were made from, in one transaction."""

    def insert_events(
        self,
        stored_events: Sequence[StoredEvent],
        *,
        tracking: Tracking | None = None,
        **_kwargs: Any,
    ) -> Sequence[int] | None:
        """Append all and move on, or neither. Raises IntegrityError."""
        return self._append(stored_events, tracking)


class LogSubscription(Subscription[LogApplicationRecorder]):
    """Follows the log for ever; what this process appends it sees at once."""

    def __init__(
        self, recorder: LogApplicationRecorder, gt: int | None, topics: Sequence[str]
    ) -> None:
        super().__init__(recorder, gt, topics)
        self._grown = recorder.log.grown
        self._read_until = gt or 0
        self._page: deque[Notification] = deque()

    def __next__(self) -> Notification:
        while not self._has_been_stopped:
            if self._page:
                return self._page.popleft()
            if not self._read_on():
                with self._grown:
                    self._grown.wait(POLL_SECONDS)
        raise StopIteration

    def _read_on(self) -> bool:
        # Positions have no gaps and become visible in their order: nothing up to the head is late.
        head = self._recorder.max_notification_id() or 0
        if head <= self._read_until:
            return False
        page = self._recorder.select_notifications(
            self._read_until, PAGE_EVENTS, head, self._topics, inclusive_of_start=False
        )
        self._read_until = page[-1].id if len(page) == PAGE_EVENTS else head
        self._page.extend(page)
        return True

    def stop(self) -> None:
        """End the iteration, also from another thread."""
        super().stop()
        with self._grown:
            self._grown.notify_all()


class StreamEvent(msgspec.Struct, frozen=True):
    """One of our events where the library looks for its place."""

    originator_id: str
    originator_version: int
    event: Event


class EventMapper(Mapper[str]):
    """Our events under the types and in the bytes in which the log has them."""

    def to_stored_event(self, domain_event: DomainEventProtocol[str]) -> StoredEvent:
        """What is stored. Nothing is compressed or encrypted here: our events are sealed."""
        assert isinstance(domain_event, StreamEvent)
        event = domain_event.event
        topic = topic_of(event.stored_type, event.schema_version)
        stream, version = domain_event.originator_id, domain_event.originator_version
        return StoredEvent(stream, version, topic, encode(event))

    def to_domain_event(self, stored_event: StoredEvent) -> StreamEvent:
        """What it means. Raises UnknownEventType."""
        event = decode(*kind_of(stored_event.topic), stored_event.state)
        return StreamEvent(str(stored_event.originator_id), stored_event.originator_version, event)


class Factory(InfrastructureFactory[LogTrackingRecorder]):
    """Recorders for TRUNKLINE_ORGANISATION (an id) in TRUNKLINE_DATABASE_URL.

    PERSISTENCE_MODULE is this module; MAPPER_TOPIC, for our own events, is its EventMapper.
    """

    @cached_property
    def log(self) -> BlockingLog:
        """The log that all recorders share."""
        url, org_id = map(self._setting, ("TRUNKLINE_DATABASE_URL", "TRUNKLINE_ORGANISATION"))
        with _library_errors():
            org = find_org(url, org_id)
        if org is None:
            raise InfrastructureFactoryError(f"There is no organisation {org_id}.")
        return BlockingLog(url, org)

    def _setting(self, name: str) -> str:
        value = self.env.get(name)
        if not value:
            raise InfrastructureFactoryError(f"{name} is not set.")
        return value

    def aggregate_recorder(self, purpose: str = "events") -> LogAggregateRecorder:
        """Raises InfrastructureFactoryError for snapshots: the log is for facts."""
        if purpose != "events":
            raise InfrastructureFactoryError(f"The log has no place for {purpose}.")
        return LogAggregateRecorder(self.log)

    def application_recorder(self) -> LogApplicationRecorder:
        """A recorder of events."""
        return LogApplicationRecorder(self.log)

    def tracking_recorder(
        self, tracking_recorder_class: type[LogTrackingRecorder] | None = None
    ) -> LogTrackingRecorder:
        """A recorder of positions; TRACKING_RECORDER_TOPIC may name its class too."""
        topic = self.env.get(self.TRACKING_RECORDER_TOPIC)
        given = tracking_recorder_class or (resolve_topic(topic) if topic else LogTrackingRecorder)
        return given(self.log)

    def process_recorder(self) -> LogProcessRecorder:
        """A recorder of both."""
        return LogProcessRecorder(self.log)

    def close(self) -> None:
        """Hang up."""
        if "log" in vars(self):
            self.log.close()


@contextmanager
def _library_errors() -> Iterator[None]:
    try:
        yield
    except (struct.error, UnicodeError) as error:
        raise persistence.DataError(f"An event cannot be stored: {error}") from error
    except psycopg.Error as error:
        # Not its details: they may quote what would have been stored.
        text = error.diag.message_primary or str(error)
        raise _library_error(error)(text) from error


def _library_error(error: psycopg.Error) -> type[persistence.PersistenceError]:
    # Both have taken their names from Python's database interface, PEP 249.
    names = [kind.__name__ for kind in type(error).__mro__ if kind.__name__ in vars(persistence)]
    found: type[persistence.PersistenceError] = vars(persistence)[[*names, "PersistenceError"][0]]
    return found
