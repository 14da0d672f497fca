"""Which accounts wait for a check of their credentials (S15)."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from domain import account as accounts
from domain.dispatch_ports import WaitingAccount
from domain.event import Event, Recorded
from projections import verifications
from projections.verifications import Verifications
from tests.conftest import BUILDS, Database

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

CLAIMED = accounts.AccountClaimed(platform="whatsapp", account_id="1")
CHANGED = accounts.CredentialsChanged(fields=("access_token",))
VERIFIED = accounts.AccountVerified()
FAILED = accounts.VerificationFailed(reason="token")


@pytest.fixture(scope="module")
async def connection(database: Database) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
        await connection.execute("SET ROLE trunkline_project")
        await connection.execute(f"SET search_path = {BUILDS}")
        yield connection


async def pending_after(
    connection: psycopg.AsyncConnection, *events: tuple[str, Event]
) -> list[WaitingAccount]:
    batch = [
        Recorded(at, f"account:{account}", at, NOON + timedelta(seconds=at), event)
        for at, (account, event) in enumerate(events, 1)
    ]
    async with connection.transaction(force_rollback=True):
        await Verifications().apply(connection, 1, batch)
        return await verifications.pending(connection, platforms=("whatsapp", "wechat"), limit=10)


def pending(account_id: str, *, position: int, platform: str = "whatsapp") -> WaitingAccount:
    return WaitingAccount(
        org=1,
        platform=platform,
        account_id=account_id,
        position=position,
    )


async def test_s15_a_claimed_account_waits_for_its_check(
    connection: psycopg.AsyncConnection,
) -> None:
    found = await pending_after(connection, ("whatsapp:1", CLAIMED), ("wechat:gh:2", CLAIMED))
    assert found == [
        pending("1", position=1),
        pending("gh:2", position=2, platform="wechat"),
    ]


@pytest.mark.parametrize("answer", [VERIFIED, FAILED, accounts.AccountReleased()])
async def test_s15_an_answer_ends_the_waiting(
    connection: psycopg.AsyncConnection, answer: Event
) -> None:
    assert await pending_after(connection, ("whatsapp:1", CLAIMED), ("whatsapp:1", answer)) == []


@pytest.mark.parametrize("answer", [VERIFIED, FAILED])
async def test_s15_new_credentials_are_checked_again(
    connection: psycopg.AsyncConnection, answer: Event
) -> None:
    found = await pending_after(
        connection, ("whatsapp:1", CLAIMED), ("whatsapp:1", answer), ("whatsapp:1", CHANGED)
    )
    assert found == [pending("1", position=3)]


async def test_the_longest_waiting_account_comes_first(
    connection: psycopg.AsyncConnection,
) -> None:
    found = await pending_after(
        connection, ("whatsapp:1", CLAIMED), ("whatsapp:2", CLAIMED), ("whatsapp:1", CHANGED)
    )
    assert found == [pending("2", position=2), pending("1", position=3)]


async def test_accounts_of_platforms_that_nobody_asks_wait_in_nobodys_way(
    connection: psycopg.AsyncConnection,
) -> None:
    line = accounts.AccountClaimed(platform="line", account_id="U1")
    found = await pending_after(connection, ("line:U1", line), ("whatsapp:2", CLAIMED))
    assert found == [pending("2", position=2)]
