"""The library's own recorder tests, on our log."""

import secrets

import psycopg
import pytest
from eventsourcing.tests import persistence as library
from eventsourcing.utils import Environment

from adapters.postgres.blocking_log import CHUNK_EVENTS, BlockingLog
from adapters.postgres.recorder import (
    Factory,
    LogAggregateRecorder,
    LogApplicationRecorder,
    LogProcessRecorder,
    LogTrackingRecorder,
)
from domain.ports import Org
from tests.conftest import Database


def new_org(database: Database) -> Org:
    org_id = f"org_{secrets.token_hex(6)}"
    with psycopg.connect(database.superuser) as connection:
        connection.execute("SET search_path = trunkline")
        (number,) = connection.execute(
            "INSERT INTO organisations (id, partition, wrapping_key, identity_key)"
            " VALUES (%s, 0, '', '') RETURNING org",
            [org_id],
        ).fetchone()
        connection.execute("SELECT open_head(%s, 0)", [number])
    return Org(number, org_id)


class OnOurLog:
    """Each recorder has an organisation of its own; streams are texts."""

    recorder_class: type = LogApplicationRecorder

    @pytest.fixture(autouse=True)
    def _on(self, database: Database) -> None:
        self.database = database

    def create_recorder(self):
        log = BlockingLog(self.database.url, new_org(self.database))
        self.addCleanup(log.close)
        return self.recorder_class(log)

    def new_originator_id(self) -> str:
        return f"chat:{secrets.token_hex(8)}"


class TestAggregateRecorder(OnOurLog, library.AggregateRecorderTestCase):
    recorder_class = LogAggregateRecorder


class TestApplicationRecorder(OnOurLog, library.ApplicationRecorderTestCase):
    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestPositionsOfOneSave(OnOurLog, library.NonInterleavingNotificationIDsBaseCase):
    insert_num = 2 * CHUNK_EVENTS + 1


class TestTrackingRecorder(OnOurLog, library.TrackingRecorderTestCase):
    recorder_class = LogTrackingRecorder


class TestProcessRecorder(OnOurLog, library.ProcessRecorderTestCase):
    recorder_class = LogProcessRecorder


class TestProcessRecorderAsApplicationRecorder(OnOurLog, library.ApplicationRecorderTestCase):
    recorder_class = LogProcessRecorder
    test_concurrent_no_conflicts = test_concurrent_throughput = test_performance = None


class SomeTrackingRecorder(LogTrackingRecorder):
    pass


class TestFactory(OnOurLog, library.InfrastructureFactoryTestCase):
    def setUp(self):
        self.env = environment(self.database, new_org(self.database))
        super().setUp()

    def expected_factory_class(self):
        return Factory

    def expected_aggregate_recorder_class(self):
        return LogAggregateRecorder

    def expected_application_recorder_class(self):
        return LogApplicationRecorder

    def expected_tracking_recorder_class(self):
        return LogTrackingRecorder

    def tracking_recorder_subclass(self):
        return SomeTrackingRecorder

    def expected_process_recorder_class(self):
        return LogProcessRecorder


def environment(database: Database, org: Org) -> Environment:
    return Environment(
        env={
            "PERSISTENCE_MODULE": "adapters.postgres.recorder",
            "TRUNKLINE_DATABASE_URL": database.url,
            "TRUNKLINE_ORGANISATION": org.id,
        }
    )
