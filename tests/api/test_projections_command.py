"""`trunkline projections …` as an operator runs it."""

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from api.cli import main
from api.main import PROJECTIONS
from migrations.builds import make_build
from projections.engine import retired
from projections.inbox.projection import Inbox
from projections.unread.projection import Unread
from tests.conftest import Database
from tests.projections.diaries import Log

Run = Callable[..., Result]


@pytest.fixture
def run(database: Database, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command; its exit code must be the one that is expected."""
    monkeypatch.setenv("TRUNKLINE_DATABASE_URL", database.url)
    monkeypatch.setenv("TRUNKLINE_MIGRATION_DATABASE_URL", database.superuser)
    monkeypatch.setenv("TRUNKLINE_MASTER_KEY", base64.b64encode(b"k" * 32).decode())

    def invoke(*words: str, expect: int = 0) -> Result:
        result = CliRunner().invoke(main, ["projections", *words])
        assert result.exit_code == expect, result.output
        return result

    return invoke


@pytest.fixture(scope="module")
def log(database: Database) -> Log:
    log = Log(database.superuser)
    log.append(1, 40, streams=4)
    log.append(2, 10)
    return log


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_rebuild_is_followed_by_diff_switch_and_rollback(run: Run, log: Log) -> None:
    *steps, last = lines(run("rebuild", "unread", "--workers", "2"))
    assert last["build"] == "unread_1_2"
    assert last["state"] == "ready"
    assert steps[-1] | {"step": ""} == {
        "build": "unread_1_2",
        "step": "",
        "events_done": 50,
        "events": 50,
    }
    *tables, verdict = lines(run("diff", "unread"))
    assert verdict["tables_that_differ"] == 0
    assert {each["position"] for each in tables} == {40, 10}
    assert lines(run("switch", "unread")) == [{"build": "unread_1_2", "state": "live"}]
    assert lines(run("rollback", "unread")) == [{"build": "unread_1_1", "state": "live"}]


def test_what_differs_is_shown_and_ends_with_1(run: Run, log: Log, database: Database) -> None:
    *_, last = lines(run("rebuild", "unread"))
    table_name = f"{last['build']}.unread_visits"
    with psycopg.connect(database.superuser) as connection:
        connection.execute(
            f"INSERT INTO {table_name} SELECT (jsonb_populate_record(NULL::{table_name}, %s)).*",
            [json.dumps(visit(connection))],
        )
    *tables, verdict = lines(run("diff", "unread", expect=1))
    (table,) = [each for each in tables if not each["equal"]]
    assert verdict["tables_that_differ"] == 1
    assert (table["table"], table["differing_rows"]) == ("unread_visits", 1)
    run("rebuild", "unread")
    run("diff", "unread")


def visit(connection: psycopg.Connection) -> dict[str, Any]:
    """Some row of that table."""
    rows = connection.execute(
        "SELECT attname, atttypid::regtype::text FROM pg_attribute"
        " WHERE attrelid = 'unread_1_1.unread_visits'::regclass AND attnum > 0"
    ).fetchall()
    kinds = {"text": "x", "boolean": True, "timestamp with time zone": "2026-01-01T00:00:00Z"}
    return {name: kinds.get(kind, 1) for name, kind in rows}


def test_list_and_status_are_for_people_and_for_programs(run: Run, log: Log) -> None:
    listed = json.loads(run("list", "--json").stdout)
    assert [each["projection"] for each in listed] == [each.name for each in PROJECTIONS]
    assert listed[0]["live"] == 1
    assert "Projection" in run("list").stdout
    status = json.loads(run("status", "--json").stdout)
    (inbox,) = [each for each in status["builds"] if each["projection"] == "inbox"]
    assert (inbox["state"], inbox["orgs"], inbox["events_behind"]) == ("live", 2, 50)
    assert inbox["seconds_behind"] > 0
    assert "Events behind" in run("status").stdout


def screen(monkeypatch: pytest.MonkeyPatch, *, width: int) -> None:
    """Let the commands write to a terminal that is so wide."""
    console = Console(width=width, force_terminal=True, color_system=None, highlight=False)
    monkeypatch.setattr("api.cli.projections.console", console)


def test_what_is_typed_into_other_commands_is_never_shortened(
    run: Run, log: Log, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = {name for name in schemas(database) if not name.startswith("unread")}
    screen(monkeypatch, width=50)
    assert live <= set(run("status").stdout.split())
    assert {each.name for each in PROJECTIONS} <= set(run("list").stdout.split())


def test_a_command_to_go_on_with_stands_on_one_line(
    run: Run, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen(monkeypatch, width=50)
    told = run("rebuild", "unread").stdout
    assert (
        "Compare it with `trunkline projections diff unread`,"
        " then `trunkline projections switch unread`.\n"
    ) in told


def test_what_is_parked_is_shown(run: Run, log: Log, database: Database) -> None:
    with psycopg.connect(database.superuser) as connection:
        connection.execute(
            "INSERT INTO trunkline.parked VALUES ('inbox', %s, 1, 1, 7, 'ValueError')",
            [Inbox.version],
        )
    (parked,) = json.loads(run("status", "--json").stdout)["parked"]
    assert (parked["projection"], parked["position"], parked["error"]) == ("inbox", 7, "ValueError")
    assert "before position 7" in " ".join(run("status").stdout.split())


@pytest.mark.parametrize("word", ["rebuild", "diff", "switch", "rollback"])
def test_a_name_that_is_not_known_is_refused_with_those_that_are(run: Run, word: str) -> None:
    assert "'nope' is none of channels, inbox" in run(word, "nope", expect=2).output


@pytest.mark.parametrize(
    ("word", "what"),
    [
        ("diff", "trunkline projections rebuild channels"),
        ("switch", "trunkline projections rebuild channels"),
        ("rollback", "no previous build of channels"),
    ],
)
def test_what_cannot_be_done_says_what_to_do(run: Run, log: Log, word: str, what: str) -> None:
    assert what in " ".join(run(word, "channels", expect=1).output.split())


def test_a_second_rebuild_at_the_same_time_is_refused(
    run: Run, log: Log, database: Database
) -> None:
    with psycopg.connect(database.url) as connection:
        connection.execute("SELECT pg_advisory_lock(hashtext('trunkline job'), hashtext('outbox'))")
        output = " ".join(run("rebuild", "outbox", expect=1).output.split())
        assert "Another rebuild, switch, rollback, diff or drop of outbox is running" in output
    run("rebuild", "outbox")


# Dropping.


def schemas(database: Database) -> set[str]:
    with psycopg.connect(database.superuser) as connection:
        found = connection.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname ~ '_[0-9]+_[0-9]+$'"
        )
        return {name for (name,) in found}


class Old(Unread):
    """The projection as an older version of the code had it."""

    version = 99


@pytest.fixture
def old_build(run: Run, log: Log, database: Database) -> str:
    """A live build of a version that the code does not know, as an upgrade leaves it behind."""
    run("list")
    with psycopg.connect(database.superuser) as connection:
        make_build(connection, Old(), 1, tables=Old.tables, state="live", complete=True)
    return "unread_99_1"


def moves(database: Database, position: int) -> None:
    """Whoever follows the old build has come so far in the first organisation."""
    with psycopg.connect(database.superuser) as connection:
        connection.execute(
            "INSERT INTO trunkline.checkpoints (projection, version, build, org, position)"
            " VALUES ('unread', 99, 1, 1, %s) ON CONFLICT (projection, version, build, org)"
            " DO UPDATE SET position = excluded.position",
            [position],
        )


def test_retired_builds_are_dropped_and_nothing_else(
    run: Run, old_build: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retired, "WATCH_SECONDS", 0.1)
    before = schemas(database)
    moves(database, 20)
    assert lines(run("drop", "--retired")) == [{"build": old_build, "state": "dropped"}]
    assert schemas(database) == before - {old_build}
    assert lines(run("drop", "--retired")) == [{"dropped": 0}]


def test_what_old_servers_may_still_read_is_not_dropped(
    run: Run, old_build: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Level with the log, or moving on."""
    monkeypatch.setattr(retired, "WATCH_SECONDS", 0.1)
    moves(database, 1_000)
    output = run("drop", "--retired", expect=1).output
    assert "a server of an older version follows it" in " ".join(output.split())

    async def meanwhile(_: float) -> None:
        moves(database, 21)

    moves(database, 20)
    with monkeypatch.context() as context:
        context.setattr(asyncio, "sleep", meanwhile)
        run("drop", old_build, expect=1)
    assert old_build in schemas(database)
    run("drop", old_build)
    assert old_build not in schemas(database)


def test_the_build_that_serves_is_never_dropped_and_others_are_by_name(
    run: Run, log: Log, database: Database
) -> None:
    rebuilt = lines(run("rebuild", "unread"))[-1]["build"]
    live = next(
        each for each in schemas(database) if each.startswith("unread_") and each != rebuilt
    )
    refused = " ".join(run("drop", live, expect=1).output.split())
    assert f"{live} is live and serves" in refused
    assert lines(run("drop", rebuilt)) == [{"build": rebuilt, "state": "dropped"}]
    assert rebuilt not in schemas(database)
    unknown = " ".join(run("drop", rebuilt, expect=1).output.split())
    assert f"There is no build {rebuilt}. There are: channels_" in unknown
    run("drop", expect=2)
    run("drop", live, "--retired", expect=2)


def test_nothing_is_dropped_while_a_job_runs(run: Run, old_build: str, database: Database) -> None:
    with psycopg.connect(database.url) as connection:
        connection.execute("SELECT pg_advisory_lock(hashtext('trunkline job'), hashtext('unread'))")
        output = " ".join(run("drop", "--retired", expect=1).output.split())
    assert "Another rebuild, switch, rollback, diff or drop of unread is running" in output
    assert old_build in schemas(database)
