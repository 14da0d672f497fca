"""`trunkline projections rebuild` on a log in which somebody has changed an event."""

import base64
import json

import psycopg
import pytest
from click.testing import CliRunner, Result

from api.cli import main
from tests.conftest import Database


@pytest.fixture(autouse=True)
def configured(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUNKLINE_DATABASE_URL", database.url)
    monkeypatch.setenv("TRUNKLINE_MIGRATION_DATABASE_URL", database.superuser)
    monkeypatch.setenv("TRUNKLINE_MASTER_KEY", base64.b64encode(b"k" * 32).decode())


def run(*words: str, expect: int = 0) -> Result:
    result = CliRunner().invoke(main, words)
    assert result.exit_code == expect, result.output
    return result


def rename(database: Database, org: str, old: str, new: str) -> None:
    """Do what nobody may: change the first event of an organisation."""
    with psycopg.connect(database.superuser, options="-c search_path=trunkline") as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "UPDATE events"
            " SET data = convert_to(replace(convert_from(data, 'UTF8'), %s, %s), 'UTF8')"
            " WHERE position = 1 AND org = (SELECT org FROM organisations WHERE id = %s)",
            [old, new, org],
        )


def test_a_rebuild_of_a_changed_log_is_not_ready_until_it_is_mended(database: Database) -> None:
    """The event can be folded as well as any other: only the chain of hashes tells.

    What was built of it is not used for what is ready then.
    """
    org = json.loads(run("org", "create", "Moon", "--json").stdout)["organization_id"]
    rename(database, org, "Moon", "Loon")
    refused = run("projections", "rebuild", "unread", expect=1)
    assert f"Organisation {org}: The log is broken at position 1" in refused.stderr
    assert "What was filled is thrown away" in refused.stderr
    nothing = run("projections", "switch", "unread", expect=1)
    assert "unread_1_2 is not filled yet" in nothing.stderr
    rename(database, org, "Loon", "Moon")
    ready = json.loads(run("projections", "rebuild", "unread").stdout.splitlines()[-1])
    assert (ready["build"], ready["state"]) == ("unread_1_3", "ready")
