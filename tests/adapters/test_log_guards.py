"""Who may do what to the tables: no tenant sees another, and nobody changes an event."""

import asyncio
import secrets
from collections.abc import Iterator
from typing import Any, cast

import psycopg
import pytest
from psycopg import AsyncConnection, sql

from adapters.postgres.appender import Appender
from adapters.postgres.batch import Batch
from adapters.postgres.connections import Role, TooPowerful, assume, pool, within
from adapters.postgres.log import PostgresLog
from adapters.postgres.ticket import Sorting, Ticket
from api.main import PROJECTIONS
from domain.ports import AddressClaim, NewKey, Org
from migrations.apply import ROLES
from migrations.builds import OWNER
from projections.inbox.projection import Inbox
from tests.adapters.log_scenario import Process, TestClock, World, command, text_of
from tests.adapters.test_log import request
from tests.api.deliveries import eventually
from tests.conftest import BUILDS

# The directory spans organisations; `migrations` and `builds` are about none.
DIRECTORY = {"organisations", "accounts", "api_keys", "access_tokens"}
UNGUARDED = DIRECTORY | {"migrations", "builds"}
TABLES = (
    "SELECT c.oid::regclass::text AS name, c.relname, n.nspname, c.relrowsecurity,"
    " c.relforcerowsecurity"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relkind IN ('r', 'p') AND (n.nspname = 'trunkline'"
    "       OR n.nspname IN (SELECT schema FROM trunkline.builds)) ORDER BY 1"
)
# Whoever follows or fills a build asks about all organisations.
ORG_NOT_FIRST = {"checkpoints", "parked", "pieces"}


@pytest.fixture
async def orgs(world: World, one: Process) -> tuple[Org, Org]:
    """Two organisations with something in every table of the log."""
    orgs = (await world.org(), await world.org())
    for org in orgs:
        await one.log.append(
            command(
                org,
                ("contact:a", 1),
                keys=[NewKey("contact:a", b"wrapped")],
                addresses=[AddressClaim(b"p", "a")],
                idempotent=request("same"),
            )
        )
    async with await world.superuser() as connection:
        await connection.execute(
            "INSERT INTO checkpoints SELECT 'inbox', %s, org, 1, 1 FROM heads"
            " ON CONFLICT DO NOTHING",
            [Inbox.version],
        )
    return orgs


async def acting(world: World, role: str) -> AsyncConnection[Any]:
    connection = await AsyncConnection.connect(world.database.superuser, autocommit=True)
    await connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
    await connection.execute(f"SET search_path = {BUILDS}")
    return connection


async def tables(world: World) -> list[dict[str, Any]]:
    async with await world.superuser() as connection:
        return await (await connection.execute(TABLES)).fetchall()


# Tenants.


async def test_every_table_has_its_org_in_its_key_and_row_security(world: World) -> None:
    async with await world.superuser() as connection:
        found = await tables(world)
        schemas = {row["nspname"] for row in found}
        assert schemas == {f"{each.name}_{each.version}_1" for each in PROJECTIONS} | {"trunkline"}
        for row in found:
            if row["relname"] in UNGUARDED:
                continue
            assert row["relrowsecurity"], row["name"]
            assert row["relforcerowsecurity"], row["name"]
            cursor = await connection.execute(
                "SELECT a.attname FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS k(n, place)"
                " JOIN pg_attribute a ON a.attnum = k.n"
                " WHERE i.indrelid = %s::regclass AND i.indisprimary AND a.attrelid = i.indrelid"
                " ORDER BY k.place",
                [row["name"]],
            )
            key = [column["attname"] for column in await cursor.fetchall()]
            assert "org" in key, row["name"]
            # Elsewhere a random id in front serves some queries better, and finds one org as well.
            if row["nspname"] == "trunkline" and row["relname"] not in ORG_NOT_FIRST:
                assert key[0] == "org", row["name"]


READABLE = {
    "trunkline_read": {"heads", "events", "commands", "keys", "addresses", "idempotency_keys"},
    "trunkline_audit": {"heads", "events"},
}


@pytest.mark.parametrize("role", READABLE)
async def test_a_reader_sees_one_organisation_and_without_one_nothing(
    world: World, orgs: tuple[Org, Org], role: str
) -> None:
    async with await acting(world, role) as connection:
        for row in await tables(world):
            if row["relname"] in UNGUARDED:
                continue
            query = sql.SQL("SELECT org, count(*) FROM {} GROUP BY org").format(
                sql.Identifier(row["nspname"], row["relname"])
            )
            try:
                cursor = await connection.execute(query)
            except psycopg.errors.InsufficientPrivilege:
                assert row["relname"] not in READABLE[role]
                continue
            assert await cursor.fetchall() == []
            async with connection.transaction():
                number = str(orgs[0].number)
                await connection.execute("SELECT set_config('app.org', %s, true)", [number])
                seen = await (await connection.execute(query)).fetchall()
            if row["relname"] in READABLE[role]:
                assert seen == [(orgs[0].number, 1)], row["name"]
            assert {org for org, _ in seen} <= {orgs[0].number}


async def test_control_a_superuser_sees_every_organisation(
    world: World, orgs: tuple[Org, Org]
) -> None:
    async with await world.superuser() as connection:
        rows = await (await connection.execute("SELECT DISTINCT org FROM events")).fetchall()
    assert {row["org"] for row in rows} >= {org.number for org in orgs}


async def test_an_organisation_does_not_leak_through_the_pool(
    world: World, orgs: tuple[Org, Org]
) -> None:
    async with pool(world.database.url, "trunkline_read", size_max=1) as readers:
        async with within(readers, orgs[0].number) as connection:
            rows = await (await connection.execute("SELECT org FROM heads")).fetchall()
            assert rows == [(orgs[0].number,)]
        async with readers.connection() as connection:
            assert await (await connection.execute("SELECT org FROM heads")).fetchall() == []


async def test_control_a_setting_of_the_session_leaks(world: World, orgs: tuple[Org, Org]) -> None:
    async with pool(world.database.url, "trunkline_read", size_max=1) as readers:
        async with readers.connection() as connection:
            await connection.execute(
                "SELECT set_config('app.org', %s, false)", [str(orgs[0].number)]
            )
        async with readers.connection() as connection:
            rows = await (await connection.execute("SELECT org FROM heads")).fetchall()
    assert rows == [(orgs[0].number,)]


# Events are for ever.

CHANGES = (
    "UPDATE trunkline.events SET data = '{}'",
    "DELETE FROM trunkline.events",
    "TRUNCATE trunkline.events",
)
REFUSED = (psycopg.errors.InsufficientPrivilege, psycopg.errors.RestrictViolation)


@pytest.mark.parametrize("role", [OWNER, *ROLES, "postgres"])
@pytest.mark.parametrize("change", CHANGES)
async def test_nobody_changes_an_event(
    world: World, orgs: tuple[Org, Org], role: str, change: str
) -> None:
    async with await acting(world, role) as connection:
        await connection.execute("SELECT set_config('app.org', %s, false)", [str(orgs[0].number)])
        with pytest.raises(REFUSED):
            await connection.execute(change.encode())
    assert len(await world.assert_whole(orgs[0])) == 1


async def test_control_a_change_with_triggers_switched_off_breaks_the_chain(
    world: World, one: Process
) -> None:
    org = await world.org()
    await one.log.append(command(org, ("chat:a", 1, "as it was"), ("chat:a", 2)))
    await world.assert_whole(org)
    async with await world.superuser() as connection:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(
            "UPDATE events SET data = replace(convert_from(data, 'UTF8'), 'was', 'is')::bytea"
            " WHERE org = %s AND position = 1",
            [org.number],
        )
    with pytest.raises(AssertionError):
        await world.assert_whole(org)


# Roles.


async def test_the_appending_role_can_append_and_nothing_else(world: World) -> None:
    async with await world.superuser() as connection:
        cursor = await connection.execute(
            "SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'trunkline'::regnamespace"
            " AND has_function_privilege('trunkline_append', p.oid, 'EXECUTE') ORDER BY 1"
        )
        assert [row["proname"] for row in await cursor.fetchall()] == [
            "append_batch",
            "append_companions",
            "current_org",
            "find_known",
            "forget_snapshot",
            "keep_snapshot",
            "lock_heads",
            "purge_expired",
        ]
        for row in await tables(world):
            cursor = await connection.execute(
                "SELECT has_table_privilege('trunkline_append', %s,"
                " 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER') AS may",
                [row["name"]],
            )
            assert await cursor.fetchone() == {"may": False}, row["name"]


@pytest.mark.parametrize("role", [role for role in ROLES if role != "trunkline_append"])
async def test_no_other_role_can_append(world: World, role: str) -> None:
    async with await world.superuser() as connection:
        cursor = await connection.execute(
            "SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'trunkline'::regnamespace"
            " AND p.prosecdef AND has_function_privilege(%s, p.oid, 'EXECUTE')",
            [role],
        )
        allowed = [row["proname"] for row in await cursor.fetchall()]
    assert allowed == (["open_head"] if role == "trunkline_directory" else [])


@pytest.fixture
def powerful(server: str) -> Iterator[dict[str, str]]:
    """Roles that are too powerful, by what makes them so."""
    roles = {power: f"test_{secrets.token_hex(6)}" for power in ("SUPERUSER", "BYPASSRLS")}
    with psycopg.connect(server, autocommit=True) as connection:
        for power, role in roles.items():
            connection.execute(f"CREATE ROLE {role} {power}".encode())
            connection.execute(f"GRANT {role} TO trunkline".encode())
        yield roles
        for role in roles.values():
            connection.execute(f"DROP ROLE {role}".encode())


@pytest.mark.parametrize("power", ["SUPERUSER", "BYPASSRLS"])
async def test_a_role_to_which_walls_are_air_does_not_start(
    world: World, powerful: dict[str, str], power: str
) -> None:
    async with await AsyncConnection.connect(world.database.url, autocommit=True) as connection:
        with pytest.raises(TooPowerful):
            await assume(connection, cast("Role", powerful[power]))


async def test_a_log_whose_role_is_too_powerful_does_not_start(
    world: World, powerful: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def assume_another(connection: AsyncConnection[Any], _role: Role) -> None:
        await assume(connection, cast("Role", powerful["SUPERUSER"]))

    monkeypatch.setattr("adapters.postgres.appender.assume", assume_another)
    readers = pool(world.database.url, "trunkline_project", size_max=1)
    log = PostgresLog(world.database.url, readers=readers, clock=TestClock())
    with pytest.raises(TooPowerful):
        await log.start()


# Followers.


async def test_a_follower_skips_nothing_that_commits_late(world: World, one: Process) -> None:
    """Positions are given out under the head's lock: who comes later waits."""
    org = await world.org()
    await one.state(org, "chat:a")
    late = Appender(world.database.url)
    findings = await late.look({org.number: 0}, [], [])
    ticket = Ticket(command(org, ("chat:b", 1, "late")), asyncio.Future(), 1)
    early = one.log.submit(command(org, ("chat:a", 1, "early")))
    await eventually(world.waiting_for_locks, 1)
    seen = [row["position"] for row in await world.events(org)]
    assert seen == []
    assert not early.done()
    heads = {number: change.head for number, change in findings.changes.items()}
    await late.commit(Batch([ticket], heads, now=0), Sorting([ticket], {}, {}))
    await late.close()
    assert (await early).last == 2
    assert [text_of(row) for row in await world.assert_whole(org)] == ["late", "early"]


async def test_control_a_follower_of_a_sequence_skips_what_commits_late(world: World) -> None:
    async with await world.superuser() as late, await world.superuser() as early:
        await early.execute("CREATE TABLE numbered (id bigserial PRIMARY KEY, text text)")
        async with late.transaction():
            await late.execute("INSERT INTO numbered (text) VALUES ('late')")
            await early.execute("INSERT INTO numbered (text) VALUES ('early')")
            seen = await (await early.execute("SELECT * FROM numbered ORDER BY id")).fetchall()
        last = seen[-1]["id"]
        cursor = await early.execute("SELECT * FROM numbered WHERE id > %s", [last])
        seen += await cursor.fetchall()
        assert [row["text"] for row in seen] == ["early"]
        await early.execute("DROP TABLE numbered")
