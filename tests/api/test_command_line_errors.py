"""What `trunkline …` says when something is wrong, and what to do then."""

import asyncio
import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from adapters.whole_file import write_whole
from api.settings import Settings, SettingsError, master_key
from tests.api.conftest import Trunkline
from tests.api.operations import Office, office_of
from tests.api.terminal import SECONDS_MAX, Done, Operator
from tests.disks import full_disk

ANOTHER_KEY = "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHg="
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


@pytest.fixture(scope="module")
async def office(trunkline: Trunkline) -> Office:
    return await office_of(trunkline, "crm", "desk")


# Configuration.

VARIABLES = {each.metadata["variable"]: each.metadata for each in fields(Settings)}


def test_config_lists_every_variable_with_its_value_and_where_that_came_from(
    operator: Operator,
) -> None:
    given = {"TRUNKLINE_RATE_LIMIT_PER_SECOND": "5", "TRUNKLINE_META_APP_SECRET": "one,two"}
    (listed,) = [json.loads(operator.does("config", "--json", **given).out)]
    assert [each["variable"] for each in listed] == list(VARIABLES)
    by_name = {each["variable"]: each for each in listed}
    for name, each in by_name.items():
        is_given = name in operator.environment or name in given
        assert each["meaning"] == VARIABLES[name]["meaning"]
        assert each["source"] == ("environment" if is_given else "default"), name
    assert by_name["TRUNKLINE_RATE_LIMIT_PER_SECOND"]["value"] == "5"
    assert by_name["TRUNKLINE_META_APP_SECRET"]["value"] == "(hidden)"
    assert by_name["TRUNKLINE_META_VERIFY_TOKEN"]["value"] == ""


def test_config_shows_no_secret(operator: Operator) -> None:
    hidden = {
        name: ANOTHER_KEY if "MASTER_KEY" in name else NOWHERE if "_URL" in name else "zinnober"
        for name, metadata in VARIABLES.items()
        if metadata["secret"]
    }
    assert len(hidden) >= 6
    for arguments in (("config",), ("config", "--json")):
        shown = operator.does(*arguments, **hidden)
        assert shown.code == 0, shown.err
        assert shown.out.count("(hidden)") == len(hidden)
        assert [value for value in hidden.values() if value in shown.out] == []


def test_config_can_be_searched_and_read_on_a_narrow_screen(stranger: Operator) -> None:
    shown = stranger.does("config", COLUMNS="60", TRUNKLINE_BILLING="no")
    assert (shown.code, shown.err) == (0, "")
    lines = shown.out.splitlines()
    told = [line for line in lines if not line.startswith(" ")]
    assert [line.split()[0] for line in told] == list(VARIABLES)
    assert "TRUNKLINE_BILLING = off (environment)" in told
    assert "TRUNKLINE_RATE_LIMIT_PER_SECOND = 1000 (default)" in told
    assert "TRUNKLINE_PUBLIC_URL is not set" in told
    meanings = [line for line in lines if line.startswith(" ")]
    assert max(len(line) for line in meanings) <= 60
    words = " ".join(" ".join(meanings).split())
    assert words == " ".join(metadata["meaning"] for metadata in VARIABLES.values())


# What goes wrong, and what to do then.

WRONG_SETTINGS = {
    "TRUNKLINE_MASTER_KEY": ("abc", "expected 32 bytes in base64"),
    "TRUNKLINE_MASTER_KEY_PREVIOUS": ("YWJj", "expected 32 bytes in base64"),
    "TRUNKLINE_RATE_LIMIT_PER_SECOND": ("-5", "expected a whole number that is not negative"),
    "TRUNKLINE_DATABASE_URL": (
        "nonsense",
        "expected an address such as postgresql://user@host/name",
    ),
    "TRUNKLINE_MIGRATION_DATABASE_URL": (
        "postgresql://[",
        "expected an address such as postgresql://user@host/name",
    ),
}


@pytest.mark.parametrize("name", WRONG_SETTINGS)
def test_a_setting_that_cannot_be_used_is_named_with_what_is_expected(
    stranger: Operator, name: str
) -> None:
    value, expected = WRONG_SETTINGS[name]
    for arguments in (("config",), EVERY_WORK[-1]):
        refused = stranger.does(*arguments, **{name: value})
        assert refused == Done(1, "", f"trunkline: {name} cannot be used: {expected}.\n")


EVERY_WORK = (
    ("serve", "--port", "0"),
    ("org", "create", "Acme"),
    ("history", "organisation"),
    ("statement", "account", "2026-11"),
    ("credits", "adjust", "account", "1", "--reason", "a test"),
)


@pytest.mark.parametrize("arguments", [*EVERY_WORK, ("migrate",)], ids=" ".join)
def test_a_database_that_is_away_is_told_with_where_to_look(
    operator: Operator, arguments: tuple[str, ...]
) -> None:
    away = {"TRUNKLINE_DATABASE_URL": NOWHERE, "TRUNKLINE_MIGRATION_DATABASE_URL": NOWHERE}
    refused = operator.does(*arguments, **away)
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.startswith("trunkline: The database cannot be reached: ")
    assert refused.err.endswith(
        "trunkline: Look at TRUNKLINE_DATABASE_URL (trunkline config lists everything).\n"
    )


@pytest.mark.parametrize("arguments", EVERY_WORK, ids=" ".join)
async def test_another_master_key_is_told_apart(
    operator: Operator, office: Office, arguments: tuple[str, ...]
) -> None:
    refused = await asyncio.to_thread(operator.does, *arguments, TRUNKLINE_MASTER_KEY=ANOTHER_KEY)
    assert refused == Done(
        1,
        "",
        "trunkline: The master key does not open this database, which was made with another one."
        " Set TRUNKLINE_MASTER_KEY to that one.\n",
    )
    own = operator.environment["TRUNKLINE_MASTER_KEY"]
    changing = {"TRUNKLINE_MASTER_KEY": ANOTHER_KEY, "TRUNKLINE_MASTER_KEY_PREVIOUS": own}
    org = ("--org", office.admin.organization_id)
    opened = await asyncio.to_thread(operator.does, "history", "organisation", *org, **changing)
    assert (opened.code, opened.err) == (0, "")


def test_a_database_of_ones_own_needs_a_master_key(operator: Operator) -> None:
    del operator.environment["TRUNKLINE_MASTER_KEY"]
    for arguments in EVERY_WORK:
        refused = operator.does(*arguments)
        assert (refused.code, refused.out) == (1, "")
        assert "TRUNKLINE_MASTER_KEY is needed" in refused.err
        assert "python3 -c 'import base64, secrets;" in refused.err


def test_a_home_that_cannot_be_used_is_told(stranger: Operator, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    file, below = str(tmp_path / "file"), str(tmp_path / "file" / "below")
    tries = [(arguments, file) for arguments in (*EVERY_WORK, ("migrate",))]
    for arguments, home in (*tries, (("migrate",), below)):
        refused = stranger.does(*arguments, TRUNKLINE_HOME=home)
        assert (refused.code, refused.out) == (1, "")
        assert refused.err.startswith("trunkline: ")
        assert "Make it writable, or choose another TRUNKLINE_HOME." in refused.err
        assert home in refused.err


def kept_key(home: Path) -> bytes:
    return master_key(Settings(home=home), embedded=True, write=write_whole)


def test_a_kept_master_key_that_is_broken_is_told(tmp_path: Path) -> None:
    made = kept_key(tmp_path)
    assert kept_key(tmp_path) == made
    (tmp_path / "master.key").write_text("broken")
    with pytest.raises(SettingsError) as told:
        kept_key(tmp_path)
    assert str(told.value) == (
        f"{tmp_path}/master.key does not hold a master key: expected 32 bytes in base64."
        " Bring it back from a backup: without it nothing that is sealed can be read."
    )


def test_a_master_key_is_made_when_the_disk_has_space_again(tmp_path: Path) -> None:
    with full_disk(), pytest.raises(OSError, match=r"File too large: .*/master\.key"):
        kept_key(tmp_path)
    made = kept_key(tmp_path)
    assert kept_key(tmp_path) == made
    assert (tmp_path / "master.key").stat().st_mode & 0o777 == 0o600


def test_who_begins_beside_another_has_the_key_of_whoever_was_first(tmp_path: Path) -> None:
    first = []

    def write_second(path: Path, data: bytes, *, mode: int) -> None:
        first.append(kept_key(tmp_path))
        write_whole(path, data, mode=mode)

    second = master_key(Settings(home=tmp_path), embedded=True, write=write_second)
    assert [second] == first


# Ends that are nobody's mistake.

# Ctrl-C at the moment when a module is looked for.
INTERRUPTED = """
import os, signal, sys
where = sys.argv[1]
class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == where:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupts())
from api.start import main
sys.argv = ["trunkline", "--help"]
main()
"""


@pytest.mark.parametrize("module", ["api.cli", "click", "litestar", "projections.inbox", "rich"])
def test_an_interruption_while_the_program_is_loaded_is_no_error(
    stranger: Operator, repository: Path, module: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, module],
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        env={**stranger.environment, "PYTHONPATH": str(repository)},
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "\nAborted!\n")


def test_the_program_begins_where_an_interruption_is_expected(repository: Path) -> None:
    """What the program `trunkline` imports first must be as good as nothing."""
    assert 'trunkline = "api.start:main"' in (repository / "pyproject.toml").read_text()
    listing = "import sys; before = set(sys.modules); import api.start;"
    listing += "print(*sorted(set(sys.modules) - before))"
    imported = subprocess.run(
        [sys.executable, "-c", listing], capture_output=True, text=True, check=True, cwd=repository
    )
    assert imported.stdout.split() == ["api", "api.start"]


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("config",), ("config", "--json"), ("migrate",), ("history", "organisation")],
    ids=" ".join,
)
async def test_a_reader_that_has_read_enough_is_no_error(
    operator: Operator, office: Office, arguments: tuple[str, ...]
) -> None:
    """As in `trunkline history … | head`."""
    org = ("--org", office.admin.organization_id) if arguments[0] == "history" else ()
    process = operator.start(*arguments, *org)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    said = await asyncio.to_thread(process.stderr.read)
    assert (said, process.wait(SECONDS_MAX)) == ("", 1)
    process.stderr.close()
