"""A platform that was held up tells much at once, and others are served meanwhile (P2)."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from tests.api.conftest import Client, Trunkline
from tests.api.deliveries import PAUSE_SECONDS, delivery, eventually, new_wamid, now, text_item

PEOPLE = 200
# Of them at once; with all others who look something up now and then they are fewer than half.
AT_ONCE = 30
FEW = PEOPLE // 2

phones = (f"4479{number:08}" for number in itertools.count())


@pytest.fixture(scope="module")
async def org(trunkline: Trunkline) -> Client:
    org = await trunkline.organisation()
    await org.services("crm")
    return org


async def delivery_of_new_people(trunkline: Trunkline, org: Client) -> dict[str, Any]:
    account_id = trunkline.account()
    await org.connect("crm", account_id)
    items = [
        text_item("Hello", wamid=new_wamid(), phone=next(phones), timestamp=now())
        for _ in range(PEOPLE)
    ]
    return delivery(account_id=account_id, messages=items)


@asynccontextmanager
async def nobody_is_found(trunkline: Trunkline) -> AsyncIterator[None]:
    """Whoever looks for a contact waits."""
    async with await psycopg.AsyncConnection.connect(trunkline.database.migration_url) as database:
        await database.execute("LOCK TABLE trunkline.addresses IN ACCESS EXCLUSIVE MODE")
        yield
        await database.rollback()


def who_look(trunkline: Trunkline) -> int:
    """How many have a connection or wait for one."""
    pool = trunkline.parts.all_orgs.get_stats()
    return pool["pool_size"] - pool["pool_available"] + pool["requests_waiting"]


async def many_look(trunkline: Trunkline) -> bool:
    return who_look(trunkline) >= AT_ONCE


async def chats(org: Client) -> int:
    await org.settled()
    shown: int = (await org.get("/v1/services/crm/counts"))["all"]
    return shown


async def test_a_delivery_from_many_new_people_leaves_others_their_turn(
    trunkline: Trunkline, org: Client
) -> None:
    said = await delivery_of_new_people(trunkline, org)
    before = await chats(org)
    async with nobody_is_found(trunkline):
        delivered = asyncio.create_task(trunkline.deliver(said))
        await eventually(lambda: many_look(trunkline), True)
        for _ in range(10):
            await asyncio.sleep(PAUSE_SECONDS)
            assert who_look(trunkline) < FEW
    await delivered
    assert await chats(org) == before + PEOPLE


async def test_what_cannot_be_written_yet_is_not_tried_to_the_end(
    trunkline: Trunkline, org: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The platform is told to come again, and by then nobody stands in its way."""
    said = await delivery_of_new_people(trunkline, org)
    before = await chats(org)
    pool = trunkline.parts.all_orgs
    refused = pool.get_stats().get("requests_errors", 0)
    async with nobody_is_found(trunkline):
        with monkeypatch.context() as patch:
            patch.setattr(pool, "timeout", 0.2)
            await trunkline.deliver(said, expect=503)
            await eventually(lambda: many_look(trunkline), False)
        assert pool.get_stats()["requests_errors"] - refused < FEW
    await trunkline.deliver(said)
    assert await chats(org) == before + PEOPLE
