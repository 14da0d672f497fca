"""The library's ProjectionRunner over our log: an inbox of the same kind, one transaction an event.

Our recorder gives it the events, its own tracking recorder keeps its place and its table.
"""

import time
from typing import Any

from eventsourcing.application import Application
from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresDatastore, PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Composed

from adapters.postgres.recorder import EventMapper, StreamEvent
from domain.chat_events import EchoReceived, MessageReceived, ReplyRequested
from domain.event import Event
from projections.engine.sealed_parts import pack

_TABLE = (
    'CREATE TABLE IF NOT EXISTS chats (chat_id text COLLATE "C" PRIMARY KEY, message_id text'
    " NOT NULL, at timestamptz NOT NULL, content bytea NOT NULL, messages bigint NOT NULL)"
)
_UPSERT = (
    "INSERT INTO chats AS c VALUES (%s, %s, %s, %s, 1)"
    " ON CONFLICT (chat_id) DO UPDATE SET message_id = excluded.message_id, at = excluded.at,"
    " content = excluded.content, messages = c.messages + 1"
)


class Log(Application[str]):
    """An organisation's log, as the library's tools see it."""

    name = "log"


class ChatsView(PostgresTrackingRecorder):
    """A row a chat, with its newest message."""

    def __init__(self, datastore: PostgresDatastore, **more: Any) -> None:
        super().__init__(datastore, **more)
        self.sql_create_statements.append(Composed([SQL(_TABLE)]))

    def write(self, tracking: Tracking, row: tuple[Any, ...] | None) -> None:
        """A chat's row, if there is one to write, and the place, in one transaction."""
        with self.datastore.transaction(commit=True) as cursor:
            if row is not None:
                cursor.execute(SQL(_UPSERT), row, prepare=True)
            self._insert_tracking(cursor, tracking)


class Chats(Projection[ChatsView]):
    """The fold."""

    name = "chats"

    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        """One event."""
        assert isinstance(domain_event, StreamEvent)
        self.view.write(tracking, _row(domain_event.originator_id, domain_event.event))


def _row(stream: str, event: Event) -> tuple[Any, ...] | None:
    if not isinstance(event, MessageReceived | EchoReceived | ReplyRequested):
        return None
    return stream.partition(":")[2], event.message_id, event.at, pack(event.content)


def run(url: str, superuser: str, *, org_id: str, events: int) -> float:
    """Events a second over the first so many of the log. The tables stay behind."""
    parts = conninfo_to_dict(superuser)
    env = {
        "LOG_PERSISTENCE_MODULE": "adapters.postgres.recorder",
        "MAPPER_TOPIC": f"{EventMapper.__module__}:{EventMapper.__qualname__}",
        "TRUNKLINE_DATABASE_URL": url,
        "TRUNKLINE_ORGANISATION": org_id,
        "CHATS_PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": str(parts["dbname"]),
        "POSTGRES_HOST": str(parts["host"]),
        "POSTGRES_PORT": str(parts.get("port", "5432")),
        "POSTGRES_USER": str(parts["user"]),
        "POSTGRES_PASSWORD": "none",
    }
    began = time.perf_counter()
    with ProjectionRunner(
        application_class=Log, projection_class=Chats, view_class=ChatsView, env=env
    ) as runner:
        runner.wait(events, timeout=600)
        seconds = time.perf_counter() - began
        return (runner.view.max_tracking_id(Log.name) or 0) / seconds
