"""The library's own recorder tests, on our log."""

import secrets
from typing import Generic, TypeVar
from unittest import TestCase

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
    OrgRecorder,
)
from domain.ports import Org
from tests.conftest import Database


def new_org(database: Database) -> Org:
    org_id = f"org_{secrets.token_hex(6)}"
    with psycopg.connect(database.superuser) as connection:
        connection.execute("SET search_path = trunkline")
        row = connection.execute(
            "INSERT INTO organisations (id, partition, wrapping_key, identity_key)"
            " VALUES (%s, 0, '', '') RETURNING org",
            [org_id],
        ).fetchone()
        assert row is not None
        connection.execute("SELECT open_head(%s, 0)", row)
    return Org(row[0], org_id)


Recorder = TypeVar("Recorder", bound=OrgRecorder)


class OnOurLog(TestCase, Generic[Recorder]):
    """Each recorder has an organisation of its own; streams are texts."""

    recorder_class: type[Recorder]

    @pytest.fixture(autouse=True)
    def _on(self, database: Database) -> None:
        self.database = database

    def create_recorder(self) -> Recorder:
        log = BlockingLog(self.database.url, new_org(self.database))
        self.addCleanup(log.close)
        return self.recorder_class(log)

    def new_originator_id(self) -> str:
        return f"chat:{secrets.token_hex(8)}"


class TestAggregateRecorder(OnOurLog[LogAggregateRecorder], library.AggregateRecorderTestCase):
    recorder_class = LogAggregateRecorder


class TestApplicationRecorder(
    OnOurLog[LogApplicationRecorder], library.ApplicationRecorderTestCase[LogApplicationRecorder]
):
    recorder_class = LogApplicationRecorder

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestPositionsOfOneSave(
    OnOurLog[LogApplicationRecorder], library.NonInterleavingNotificationIDsBaseCase
):
    recorder_class = LogApplicationRecorder
    insert_num = 2 * CHUNK_EVENTS + 1


class TestTrackingRecorder(OnOurLog[LogTrackingRecorder], library.TrackingRecorderTestCase):
    recorder_class = LogTrackingRecorder


class TestProcessRecorder(OnOurLog[LogProcessRecorder], library.ProcessRecorderTestCase):
    recorder_class = LogProcessRecorder


class TestProcessRecorderAsApplicationRecorder(
    OnOurLog[LogProcessRecorder], library.ApplicationRecorderTestCase[LogProcessRecorder]
):
    recorder_class = LogProcessRecorder
    test_concurrent_no_conflicts = test_concurrent_throughput = test_performance = None  # type: ignore[assignment]


class SomeTrackingRecorder(LogTrackingRecorder):
    pass


class TestFactory(OnOurLog[OrgRecorder], library.InfrastructureFactoryTestCase[Factory]):
    def setUp(self) -> None:
        self.env = environment(self.database, new_org(self.database))
        super().setUp()

    def expected_factory_class(self) -> type[Factory]:
        return Factory

    def expected_aggregate_recorder_class(self) -> type[LogAggregateRecorder]:
        return LogAggregateRecorder

    def expected_application_recorder_class(self) -> type[LogApplicationRecorder]:
        return LogApplicationRecorder

    def expected_tracking_recorder_class(self) -> type[LogTrackingRecorder]:
        return LogTrackingRecorder

    def tracking_recorder_subclass(self) -> type[SomeTrackingRecorder]:
        return SomeTrackingRecorder

    def expected_process_recorder_class(self) -> type[LogProcessRecorder]:
        return LogProcessRecorder


def environment(database: Database, org: Org) -> Environment:
    return Environment(
        env={
            "PERSISTENCE_MODULE": "adapters.postgres.recorder",
            "TRUNKLINE_DATABASE_URL": database.url,
            "TRUNKLINE_ORGANISATION": org.id,
        }
    )
