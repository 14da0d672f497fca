"""`trunkline …` as an operator has it: words, JSON, exit codes, and what to do next."""

import asyncio
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import httpx
import psycopg
import pytest
from click.testing import CliRunner
from psycopg import sql
from psycopg.conninfo import make_conninfo

from api.cli import main
from api.main import PROJECTIONS
from projections.engine.runner import POLL_SECONDS
from tests.adapters.proxy import proxy_to
from tests.api.conftest import Trunkline
from tests.api.operations import Office, office_of
from tests.api.terminal import SECONDS_MAX, Done, Operator

STOP_SECONDS_MAX = 10


# Help.


def commands(group: click.Group = main, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that name it."""
    yield path, group
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield (*path, name), command


@pytest.mark.parametrize(("path", "command"), list(commands()))
def test_every_command_has_help_with_a_sentence_for_each_option(
    path: tuple[str, ...], command: click.Command
) -> None:
    shown = [CliRunner().invoke(main, [*path, option]) for option in ("--help", "-h")]
    assert [each.exit_code for each in shown] == [0, 0]
    assert shown[0].output == shown[1].output
    assert shown[0].output.startswith(f"Usage: {' '.join(('main', *path))} ")
    assert (command.help or "").strip()
    # What a group says of its commands stands on one line each, and ends there.
    assert re.findall(r"^  .*\.\.\.$", shown[0].output, re.MULTILINE) == []
    options = [each for each in command.params if isinstance(each, click.Option)]
    assert [each.name for each in options if not each.help and each.name != "version"] == []


def test_the_program_lists_its_commands_and_refuses_others(stranger: Operator) -> None:
    shown = stranger.does("--help")
    assert (shown.code, shown.err) == (0, "")
    for name in main.commands:
        assert re.search(rf"^  {name} +\w", shown.out, re.MULTILINE), name
    refused = stranger.does("nothing")
    assert (refused.code, refused.out) == (2, "")
    assert "No such command 'nothing'" in refused.err


# Where Python takes files and terminals for ASCII.
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("arguments", [("--help",), ("migrate",), ("projections", "list")])
def test_no_command_depends_on_the_encoding_of_the_surroundings(
    operator: Operator, arguments: tuple[str, ...]
) -> None:
    done = operator.does(*arguments, **ASCII)
    assert (done.code, done.err) == (0, "")


def test_what_a_terminal_cannot_show_is_written_otherwise(stranger: Operator) -> None:
    url = {"TRUNKLINE_PUBLIC_URL": "https://花.example"}
    shown = stranger.does("config", PYTHONIOENCODING="latin-1", **url)
    assert (shown.code, shown.err) == (0, "")
    assert r"TRUNKLINE_PUBLIC_URL = https://\u82b1.example (environment)" in shown.out


# Serving.


def test_serve_says_one_line_when_it_is_ready_and_ends_when_it_is_told_to(
    operator: Operator,
) -> None:
    """SIGTERM ends it within 10 seconds with exit code 0; so does Ctrl-C."""
    for number in (signal.SIGTERM, signal.SIGINT):
        server = operator.start("serve", "--port", "0")
        assert server.stdout is not None
        line = server.stdout.readline()
        address = line.removeprefix("Trunkline is ready at ").rstrip("\n")
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address), line
        assert httpx.get(f"{address}/readyz").json() == {"status": "ok"}
        told = time.monotonic()
        server.send_signal(number)
        out, err = server.communicate(timeout=SECONDS_MAX)
        assert (server.returncode, out, err) == (0, "", "")
        assert time.monotonic() - told < STOP_SECONDS_MAX


HURRIED = """
from api import server
from api.start import main
server.STOP_SECONDS_MAX = 0.5
main()
"""


async def test_a_server_ends_in_time_though_its_database_does_not_answer(
    operator: Operator, trunkline: Trunkline
) -> None:
    """Nine seconds made half a one; without that limit it would take twenty."""
    async with proxy_to(trunkline.database.url) as proxy:
        server = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", HURRIED, "serve", "--role", "projector"),
            env={**operator.environment, "TRUNKLINE_DATABASE_URL": proxy.url},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert server.stdout is not None
        assert await server.stdout.readline() == b"Trunkline is ready as projector\n"
        while len(proxy.links) < 2 * len(PROJECTIONS):  # noqa: ASYNC110 - until each is followed.
            await asyncio.sleep(0.02)
        proxy.flowing.clear()
        await asyncio.sleep(POLL_SECONDS)  # Each has asked, and waits.
        server.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(5.0):
                _, err = await server.communicate()
        finally:
            proxy.flowing.set()
        assert server.returncode == 0
        assert b"The server ends now, without what waits for the database" in err


def processes_naming(folder: Path) -> list[int]:
    """A server and its watcher: both name their folder in their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.fsencode(folder) in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def children_of(process: int) -> list[int]:
    return [
        int(each) for each in Path(f"/proc/{process}/task/{process}/children").read_text().split()
    ]


@pytest.fixture
def own_postgres() -> Iterator[Path]:
    """A home whose server, frozen or not, ends with the test."""
    folder = Path(tempfile.mkdtemp())  # Pytest's folders are private to root.
    folder.chmod(0o755)
    yield folder / "home"
    give_up_at = time.monotonic() + SECONDS_MAX
    while processes_naming(folder):
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
    shutil.rmtree(folder)


def test_a_server_ends_in_time_though_its_own_database_is_frozen(
    stranger: Operator, own_postgres: Path
) -> None:
    """As on a disk that hangs; the watcher stops it once it goes on."""
    home = {"TRUNKLINE_HOME": str(own_postgres)}
    server = subprocess.Popen(
        [sys.executable, "-c", HURRIED, "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**stranger.environment, **home},
    )
    assert server.stdout is not None
    assert server.stdout.readline().startswith("Trunkline is ready at ")
    pid = own_postgres / "postgres" / "data" / "postmaster.pid"
    postmaster = int(pid.read_text().splitlines()[0])
    frozen = [postmaster, *children_of(postmaster)]
    for each in frozen:
        os.kill(each, signal.SIGSTOP)
    try:
        server.send_signal(signal.SIGTERM)
        _, err = server.communicate(timeout=STOP_SECONDS_MAX)
    finally:
        server.kill()
        for each in frozen:
            os.kill(each, signal.SIGCONT)
    assert server.returncode == 0
    assert "The server ends now, without what waits for the database" in err


def test_each_role_says_that_it_is_ready(operator: Operator) -> None:
    for role, *port in (("api", "--port", "0"), ("projector", "--port", "0"), ("dispatcher",)):
        server = operator.start("serve", "--role", role, *port)
        assert server.stdout is not None
        where = r"at http://127\.0\.0\.1:\d+" if port else f"as {role}"
        assert re.fullmatch(f"Trunkline is ready {where}\n", server.stdout.readline())
        server.terminate()
        server.communicate(timeout=SECONDS_MAX)
        assert server.returncode == 0


async def test_a_port_that_is_taken_is_told(operator: Operator, trunkline: Trunkline) -> None:
    port = trunkline.url.rpartition(":")[2]
    # Beside the running server: one that stands still may hold a lock that the other waits for.
    refused = await asyncio.to_thread(operator.does, "serve", "--port", port)
    assert (refused.code, refused.out) == (1, "")
    assert refused.err == (
        f"trunkline: Cannot listen at 127.0.0.1, port {port}: Address already in use."
        " Choose another with --host and --port; port 0 takes a free one.\n"
    )


# Migrating.


def test_migrating_twice_and_at_once_is_safe(operator: Operator, server: str) -> None:
    name = f"empty_{secrets.token_hex(6)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        owner = make_conninfo(server, dbname=name)
        where = {
            "TRUNKLINE_DATABASE_URL": make_conninfo(owner, user="trunkline"),
            "TRUNKLINE_MIGRATION_DATABASE_URL": owner,
        }
        try:
            both = [operator.start("migrate", **where) for _ in range(2)]
            said = [each.communicate(timeout=SECONDS_MAX) for each in both]
            assert [each.returncode for each in both] == [0, 0], said
            applied = [line for out, _ in said for line in out.splitlines() if "Applied" in line]
            assert len(applied) == len(set(applied)) > 0
            again = operator.does("migrate", **where)
            assert again == Done(0, "The database is up to date.\n", "")
            nobody = operator.does("history", "organisation", **where)
            assert nobody == Done(
                1, "", "Error: There is no organisation; `trunkline org create NAME` makes one.\n"
            )
            made = operator.does("org", "create", "Acme", "--json", **where)
            assert made.code == 0, made.err
        finally:
            drop = sql.SQL("DROP DATABASE {} WITH (FORCE)")
            connection.execute(drop.format(sql.Identifier(name)))


# Organisations.


async def test_an_organisation_is_made_with_an_admin_whose_key_opens_it(
    operator: Operator, trunkline: Trunkline
) -> None:
    in_json = await operator.asks("org", "create", "Acme", "--json")
    (made,) = in_json.lines
    assert made.keys() == {"organization_id", "user_id", "api_key"}
    in_words = await operator.asks("org", "create", "株式会社アクメ")
    key = re.search(r"^API key +(\S+) +\(shown once: keep it\)$", in_words.out, re.MULTILINE)
    assert key is not None
    for api_key in (made["api_key"], key[1]):
        me = await trunkline.http.get("/v1/me", headers={"Authorization": f"Bearer {api_key}"})
        assert me.json()["role"] == "admin"


@pytest.mark.parametrize("name", ["", "  ", "a\tb", "x" * 201])
def test_a_name_is_held_to_the_rules_of_the_api(operator: Operator, name: str) -> None:
    refused = operator.does("org", "create", name)
    assert (refused.code, refused.out) == (2, "")
    assert "Invalid value for 'NAME': must be printable, 1 to 200 characters" in refused.err


# History.


@pytest.fixture(scope="module")
async def office(trunkline: Trunkline) -> Office:
    office = await office_of(trunkline, "crm", "desk")
    await office.admin.post(office.path("/v1/services/{service}/visit"))
    return office


async def streams(office: Office) -> dict[str, list[Any]]:
    """The events of every kind of stream that the office has: one stream of each."""
    found: dict[str, list[Any]] = {}
    kinds: dict[str, str] = {}
    for each in await office.admin.events():
        stream = each["stream"]
        if kinds.setdefault(stream.partition(":")[0], stream) == stream:
            found.setdefault(stream, []).append(each)
    return found


async def test_the_history_of_every_kind_of_thing_is_told_in_words_and_in_json(
    operator: Operator, office: Office
) -> None:
    org = ("--org", office.admin.organization_id)
    found = await streams(office)
    kinds = {stream.partition(":")[0] for stream in found}
    assert kinds == {
        "account",
        "canned",
        "channel",
        "chat",
        "contact",
        "credits",
        "media",
        "organisation",
        "reader",
        "template",
    }
    for stream, events in found.items():
        in_json = await operator.asks("history", stream, "--json", *org)
        assert in_json.code == 0, in_json.err
        shown = {line["position"]: line for line in in_json.lines}
        for event in events:
            line = shown[event["position"]]
            assert line.keys() == {*event, "words"} - {"hash"}
            assert {name: line[name] for name in ("stream", "version", "type", "recorded_at")} == {
                name: event[name] for name in ("stream", "version", "type", "recorded_at")
            }
        told = [line["words"] for line in in_json.lines]
        assert [each for each in told if not re.fullmatch(r"\S.*\.", each)] == []
    in_words = await operator.asks("history", stream, *org)
    assert [line.split("  ")[-1] for line in in_words.out.splitlines()] == told


async def test_the_state_of_every_kind_of_thing_is_shown_as_of_a_position_or_a_time(
    operator: Operator, office: Office
) -> None:
    async def state(*arguments: str) -> Any:
        done = await operator.asks("history", *arguments, "--org", office.admin.organization_id)
        return json.loads(done.out)

    for stream, events in (await streams(office)).items():
        event = events[len(events) // 2]
        shown = await state(stream, "--as-of", str(event["position"]), "--json")
        assert shown.keys() == {"position", "recorded_at", "state"}
        assert shown["position"] == event["position"]
    assert await state(stream, "--as-of", str(event["position"])) == shown
    # At one time there may be several; the state is that after the last of them.
    at_that_time = [each for each in events if each["recorded_at"] == event["recorded_at"]]
    shown = await state(stream, "--as-of", event["recorded_at"], "--json")
    assert shown["position"] == at_that_time[-1]["position"]


async def test_a_history_that_there_is_not_is_told(operator: Operator, office: Office) -> None:
    org = ("--org", office.admin.organization_id)
    for arguments, code, told in (
        (("nonsense:1",), 2, "'nonsense:1' is none of account, canned, channel, chat"),
        (("chat:nobodys",), 1, "There is no chat:nobodys in this organisation."),
        (("organisation", "--as-of", "0"), 1, "organisation did not exist then."),
        (("organisation", "--as-of", "2020-01-01T00:00:00Z"), 1, "did not exist then."),
        (
            ("organisation", "--as-of", "2020-01-01T00:00:00"),
            2,
            "must be a time with its zone, such as",
        ),
        (("organisation", "--as-of", "1000000"), 2, "log ends at position"),
        (("organisation", "--as-of", "yesterday"), 2, "must be a position or a time such as"),
    ):
        refused = await operator.asks("history", *arguments, *org)
        assert (refused.code, refused.out) == (code, ""), arguments
        assert told in refused.err
    for org_id in ("nobody", "system:", ""):
        refused = await operator.asks("history", "organisation", "--org", org_id)
        assert (refused.code, refused.err) == (1, f"Error: There is no organisation {org_id}.\n")


async def test_who_does_not_say_which_organisation_is_told_which_there_are(
    operator: Operator, office: Office, trunkline: Trunkline
) -> None:
    other = await trunkline.organisation("Other")
    refused = await operator.asks("history", "organisation")
    assert refused.code == 1
    assert "Say which organisation with --org. There are:" in refused.err
    assert {office.admin.organization_id, other.organization_id} <= set(refused.err.split())
