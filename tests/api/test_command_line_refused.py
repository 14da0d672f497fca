"""What `trunkline …` says of a database that refuses, and of a log that a newer version wrote."""

import base64
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import click
import psycopg
import pytest
from click.testing import CliRunner
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo

from adapters.postgres import connections
from adapters.postgres.connections import Role, assume
from api.cli.clearly import Clearly
from domain.event import UnknownEventType
from domain.ports import Unavailable
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


# It may only be read.


@pytest.fixture
def only_read(own: Own) -> Iterator[Operator]:
    name = psycopg.conninfo.conninfo_to_dict(own.superuser)["dbname"]
    own.tell(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    yield own.operator
    own.tell(f"ALTER DATABASE {name} RESET default_transaction_read_only")


@pytest.mark.parametrize(
    "arguments",
    [("migrate",), ("history", "organisation"), ("projections", "list"), ("projections", "status")],
    ids=" ".join,
)
def test_what_only_reads_goes_on_where_one_may_only_read(
    only_read: Operator, arguments: tuple[str, ...]
) -> None:
    done = only_read.does(*arguments)
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "refused"),
    [
        (("org", "create", "Other"), "INSERT"),
        (("serve", "--port", "0"), "INSERT"),
        (("projections", "rebuild", "inbox"), "CREATE SCHEMA"),
    ],
)
def test_what_writes_says_that_one_may_only_read(
    only_read: Operator, arguments: tuple[str, ...], refused: str
) -> None:
    assert only_read.does(*arguments) == Done(
        1,
        "",
        f"trunkline: The database refuses: cannot execute {refused} in a read-only transaction\n"
        "trunkline: It may only be read: a standby, or default_transaction_read_only is on.\n",
    )


# Its roles and its limits.


@pytest.fixture
def role_for(own: Own) -> Iterator[Any]:
    """Makes a role of this test's own."""
    made = []

    def make(kind: str) -> str:
        made.append(f"test_{secrets.token_hex(6)}")
        own.tell(f"CREATE ROLE {made[-1]} NOINHERIT {kind}")
        return made[-1]

    yield make
    for role in made:
        own.tell(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@pytest.mark.parametrize("arguments", [("projections", "status"), ("org", "create", "Other")])
async def test_a_role_to_which_walls_are_air_is_told_with_what_mends_it(
    own: Own, role_for: Any, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    powerful = role_for("BYPASSRLS")
    own.tell(f"GRANT {powerful} TO trunkline")

    async def assume_another(connection: AsyncConnection[Any], _role: Role) -> None:
        await assume(connection, cast("Role", powerful))

    monkeypatch.setattr(connections, "assume", assume_another)
    assert await own.operator.asks(*arguments) == Done(
        1,
        "",
        f"trunkline: {powerful} may be no superuser and may not bypass row security, which keeps"
        " organisations apart. Have an administrator run this, then try again:\n"
        f"  ALTER ROLE {powerful} NOSUPERUSER NOBYPASSRLS;\n",
    )


@pytest.mark.parametrize("limit", [0, 3])
def test_a_database_whose_connections_are_all_taken_is_not_looked_for_elsewhere(
    own: Own, role_for: Any, limit: int
) -> None:
    """The first is refused, or one of those that follow."""
    busy = role_for(f"LOGIN CONNECTION LIMIT {limit}")
    url = make_conninfo(own.superuser, user=busy)
    told = own.operator.does("org", "create", "Other", TRUNKLINE_DATABASE_URL=url)
    assert (told.code, told.out) == (1, "")
    *_, reason, hint = told.err.splitlines()
    assert reason.startswith("trunkline: All connections of the database are taken: ")
    assert reason.endswith(f'too many connections for role "{busy}"')
    assert hint == (
        "trunkline: Raise its max_connections, or its user's limit: README.md says how many we"
        " open."
    )


# What is told of what is raised.


def told_of(error: Exception) -> tuple[int, str]:
    @click.group(cls=Clearly)
    def group() -> None:
        """A program."""

    @group.command()
    def command() -> None:
        raise error

    result = CliRunner().invoke(group, ["command"])
    if result.exception is error:
        raise error
    return result.exit_code, result.stderr


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (psycopg.errors.DiskFull("no space"), "The database refuses: no space"),
        (psycopg.errors.InsufficientPrivilege("not you"), "The database refuses: not you"),
        (psycopg.errors.IndexCorrupted("REINDEX"), "The database refuses: REINDEX"),
        (psycopg.errors.AdminShutdown("ending"), "The database cannot be reached: ending"),
        (Unavailable("the log is away"), "The database cannot be reached: the log is away"),
        (
            psycopg.OperationalError("FATAL:  sorry, too many clients already"),
            "All connections of the database are taken: FATAL:  sorry, too many clients already",
        ),
        (UnknownEventType("chat.sung/1"), "The log holds chat.sung/1, which this version"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_what_an_operator_can_mend_is_told_in_a_sentence(error: Exception, told: str) -> None:
    code, err = told_of(error)
    assert code == 1
    assert err.startswith(f"trunkline: {told}")


@pytest.mark.parametrize(
    "error", [psycopg.errors.SyntaxError("at or near"), psycopg.errors.UniqueViolation("twice")]
)
def test_a_fault_of_our_own_keeps_its_traceback(error: Exception) -> None:
    with pytest.raises(type(error)):
        told_of(error)


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
