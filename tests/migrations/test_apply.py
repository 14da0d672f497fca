"""Bringing a database to the current schema: twice, at once, and by whom it may be done."""

import secrets
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from migrations import apply
from migrations.apply import MigrationError, migrate
from migrations.builds import OWNER

FILES = sorted(path.name for path in apply.FOLDER.glob("[0-9]*.sql"))


class Shelf:
    """A projection, as far as migrations see one."""

    name = "shelf"
    version = 1
    is_watched = False
    tables = "CREATE TABLE shelf (org int NOT NULL, text text, PRIMARY KEY (org))"


SHELF = Shelf()


@pytest.fixture
def empty(server: str, template: str) -> Iterator[str]:
    """The superuser's address of a database with nothing in it."""
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield make_conninfo(server, dbname=name)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def plain_user(empty: str) -> Iterator[str]:
    """Somebody who may log in to that database, and nothing more."""
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN NOINHERIT".encode())
        yield name
        connection.execute(f"DROP OWNED BY {name}".encode())
        connection.execute(f"DROP ROLE {name}".encode())


def applied(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT name FROM trunkline.migrations ORDER BY name")
        return [name for (name,) in rows.fetchall()]


def test_every_file_is_applied_once(empty: str) -> None:
    assert migrate(empty, login="trunkline", projections=[SHELF]) == FILES
    assert migrate(empty, login="trunkline", projections=[SHELF]) == []
    assert applied(empty) == FILES


def test_a_projection_added_later_is_guarded_like_the_others(empty: str) -> None:
    migrate(empty, login="trunkline", projections=[])
    migrate(empty, login="trunkline", projections=[SHELF])
    with psycopg.connect(empty) as connection:
        connection.execute("INSERT INTO shelf_1_1.shelf VALUES (1, 'one'), (2, 'two')")
        connection.execute("SET LOCAL ROLE trunkline_read")
        query = "SELECT text FROM shelf_1_1.shelf"
        assert connection.execute(query).fetchall() == []
        connection.execute("SELECT set_config('app.org', '2', true)")
        assert connection.execute(query).fetchall() == [("two",)]


def test_at_once_from_several_processes(empty: str) -> None:
    with ProcessPoolExecutor(4) as processes:
        started = [
            processes.submit(migrate, empty, login="trunkline", projections=[SHELF])
            for _ in range(4)
        ]
        results = sorted(each.result(timeout=60) for each in started)
    assert results == [[], [], [], FILES]


def test_roles_that_are_made_at_once_from_several_databases(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each database has its own lock; roles are the server's."""
    names = [f"test_{secrets.token_hex(6)}" for _ in range(4)]
    monkeypatch.setattr(apply, "OWNER", names[0])
    monkeypatch.setattr(apply, "ROLES", names[1:])

    def make() -> None:
        with psycopg.connect(server, autocommit=True) as connection:
            apply._make_roles(connection, "trunkline")

    try:
        with ThreadPoolExecutor(8) as threads:
            for each in [threads.submit(make) for _ in range(8)]:
                each.result(timeout=60)
        with psycopg.connect(server) as connection:
            for role in names[1:]:
                assert apply._may_become(connection, "trunkline", role)
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            for name in names:
                connection.execute(f"DROP ROLE IF EXISTS {name}".encode())


def test_a_file_that_was_changed_after_it_ran_is_refused(
    empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in FILES:
        (tmp_path / name).write_text((apply.FOLDER / name).read_text())
    monkeypatch.setattr(apply, "FOLDER", tmp_path)
    migrate(empty, login="trunkline", projections=[])
    with (tmp_path / FILES[0]).open("a") as file:
        file.write("-- An afterthought.\n")
    with pytest.raises(MigrationError, match=f"{FILES[0]} was changed after it ran here"):
        migrate(empty, login="trunkline", projections=[])


def test_a_file_that_fails_leaves_nothing_behind(
    empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in FILES:
        (tmp_path / name).write_text((apply.FOLDER / name).read_text())
    (tmp_path / "9999_fails.sql").write_text("CREATE TABLE half (); SELECT 1 / 0;")
    monkeypatch.setattr(apply, "FOLDER", tmp_path)
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate(empty, login="trunkline", projections=[])
    assert applied(empty) == FILES
    (tmp_path / "9999_fails.sql").write_text("CREATE TABLE half ();")
    assert migrate(empty, login="trunkline", projections=[]) == ["9999_fails.sql"]


def test_a_user_who_may_not_make_roles_is_told_what_to_have_run(
    empty: str, plain_user: str
) -> None:
    """And what is said suffices."""
    url = make_conninfo(empty, user=plain_user)
    with pytest.raises(MigrationError, match="Have an administrator run this") as error:
        migrate(url, login="trunkline", projections=[])
    statements = [line.strip() for line in str(error.value).splitlines()[1:]]
    with psycopg.connect(empty, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())
    assert migrate(url, login="trunkline", projections=[SHELF]) == FILES
    assert migrate(url, login="trunkline", projections=[SHELF]) == []


def test_a_login_that_there_is_not_is_named_with_what_makes_it(empty: str) -> None:
    login = f"nobody_{secrets.token_hex(6)}"
    with pytest.raises(MigrationError, match=f"There is no database user {login}, ") as error:
        migrate(empty, login=login, projections=[])
    (statement,) = [line.strip() for line in str(error.value).splitlines()[1:]]
    with psycopg.connect(empty, autocommit=True) as connection:
        assert connection.execute("SELECT to_regnamespace('trunkline')").fetchone() == (None,)
        try:
            connection.execute(statement.encode())
            assert migrate(empty, login=login, projections=[]) == FILES
        finally:
            user = sql.Identifier(login)
            connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(user))


def test_a_login_takes_on_every_role_but_the_owners(empty: str) -> None:
    migrate(empty, login="trunkline", projections=[])
    for role in (*apply.ROLES, OWNER):
        with psycopg.connect(make_conninfo(empty, user="trunkline")) as connection:
            taking = sql.SQL("SET ROLE {}").format(sql.Identifier(role))
            if role == OWNER:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(taking)
            else:
                connection.execute(taking)
