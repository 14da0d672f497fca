"""What `trunkline …` says of a log that a newer version wrote."""

import base64
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest

from tests.api.terminal import Done, Operator
from tests.conftest import fresh_database


@dataclass
class Own:
    """A database with one organisation, and who operates it."""

    superuser: str
    operator: Operator

    def tell(self, *statements: str) -> None:
        with psycopg.connect(self.superuser, autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")
            for each in statements:
                connection.execute(each.encode())


@pytest.fixture(scope="module")
def own(server: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Own]:
    with fresh_database(server, template) as database:
        operator = Operator(
            {
                "PATH": os.environ["PATH"],
                "TRUNKLINE_HOME": str(tmp_path_factory.mktemp("home")),
                "TRUNKLINE_DATABASE_URL": database.url,
                "TRUNKLINE_MIGRATION_DATABASE_URL": database.superuser,
                "TRUNKLINE_MASTER_KEY": base64.b64encode(b"k" * 32).decode(),
            }
        )
        assert operator.does("org", "create", "Acme").code == 0
        yield Own(database.superuser, operator)


# A log that a newer version wrote.


@pytest.fixture
def newer(own: Own) -> Iterator[Operator]:
    """The third event of the organisation is of a type that nobody knows yet."""
    kind = "UPDATE trunkline.events SET type = '{}' WHERE position = 3 AND type = '{}'"
    names = ("organisation.sung", "organisation.api_key_created")
    own.tell("SET session_replication_role = replica", kind.format(*names))
    yield own.operator
    own.tell("SET session_replication_role = replica", kind.format(*reversed(names)))


def test_a_history_goes_on_behind_what_only_a_newer_version_knows(newer: Operator) -> None:
    done = newer.does("history", "organisation")
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith("  organisation.sung/1: a newer Trunkline knows what that is.\n")
    assert len(done.out.splitlines()) == 3
    line = newer.does("history", "organisation", "--json").lines[-1]
    assert (line["position"], line["type"], line["data"]) == (3, "organisation.sung", None)


def test_a_state_is_told_up_to_what_only_a_newer_version_knows(newer: Operator) -> None:
    before = newer.does("history", "organisation", "--as-of", "2", "--json")
    assert json.loads(before.out)["position"] == 2
    assert newer.does("history", "organisation", "--as-of", "3") == Done(
        1,
        "",
        "Error: What organisation.sung/1 at position 3 changes, a newer Trunkline knows; up to"
        " --as-of 2 this one can tell.\n",
    )
