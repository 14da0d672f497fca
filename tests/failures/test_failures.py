"""Processes killed between any two durable steps: nothing acknowledged is lost or doubled.

Each test kills a real server at a named point, starts another, delivers everything again, and
checks the laws. Each control takes away what keeps it safe, and must find the law broken.
"""

import os
from random import Random

import httpx
import pytest

from tests.api.test_reliability import Load
from tests.failures.child import Plan
from tests.failures.house import AHEAD_SECONDS, House, Tenant
from tests.failures.points import POINTS

SEEDS = range(25) if os.environ.get("TRUNKLINE_TEST_PROFILE") == "long" else range(1)


def passing_of(point: str, seed: int) -> int:
    """At which passing to die: early in some lives, late in others."""
    often = 3 if point.startswith("dispatcher") else 12 if point.startswith("projection") else 40
    return Random(f"{point} {seed}").randint(1, often)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("place", ["webhook", "append", "dispatcher", "projection"])
async def test_whoever_dies_there_has_lost_and_doubled_nothing(
    house: House, place: str, seed: int
) -> None:
    """One after the other dies, each while it serves another organisation; the last one lives."""
    lives: list[tuple[Tenant, Load]] = []
    for point in (each for each in POINTS if each.startswith(place)):
        tenant = await house.tenant()
        load = Load(None, tenant.account_id)
        await tenant.lives_through(load, dies_at=point, passing=passing_of(point, seed))
        lives.append((tenant, load))
    assert any(load.acknowledged for _, load in lives)
    async with house.server(ahead_seconds=AHEAD_SECONDS) as (_, http):
        for tenant, load in lives:
            await tenant.recovers(http, load)
            await tenant.assert_lawful(load)


# Before an organisation's first event.


@pytest.mark.parametrize("point", ["connect: account claimed", "connect: credentials stored"])
async def test_an_account_that_was_claimed_before_its_first_event_is_connected_by_the_next_try(
    house: House, point: str
) -> None:
    """Spec S15: meanwhile it is nobody else's."""
    tenant, rival = await house.tenant(connected=False), await house.tenant(connected=False)
    rival.account_id = tenant.account_id
    body = {
        "service": "crm",
        "platform": "whatsapp",
        "account_id": tenant.account_id,
        "name": "Main number",
        "credentials": {"access_token": "acme-access-token"},
    }
    same = {"Idempotency-Key": "connect-once"}
    async with house.server(dies_at=point) as (process, http):
        with pytest.raises(httpx.TransportError):
            await tenant.client(http).post("/v1/channels", body, expect=201, headers=same)
        await process.wait()
    async with house.server() as (_, http):
        taken = await rival.client(http).post("/v1/channels", body, expect=409)
        assert taken["code"] == "account_taken"
        client = tenant.client(http)
        channel = await client.post("/v1/channels", body, expect=201, headers=same)
        again = await client.post("/v1/channels", body, expect=201, headers=same)
        assert again["id"] == channel["id"]
        assert len(await client.events(type="account.claimed")) == 1
        assert len(await client.events(type="channel.created")) == 1
    await house.world.assert_whole(tenant.org)


@pytest.mark.parametrize("point", ["found: organisation entered", "key: before it is stored"])
async def test_an_organisation_that_was_begun_is_in_nobodys_way(house: House, point: str) -> None:
    """It has no key that opens it; the next try makes one that has."""
    async with house.process(Plan(founds="Acme", dies_at=point)) as (process, _):
        await process.wait()
        assert process.returncode == -9
    async with house.process(Plan(founds="Acme")) as (process, key):
        assert await process.wait() == 0
    async with house.server() as (_, http):
        me = await http.get("/v1/me", headers={"Authorization": f"Bearer {key}"})
        assert me.json()["role"] == "admin"
    for org_id in await house.parts.directory.organisation_ids():
        org = await house.parts.directory.organisation(org_id)
        assert org is not None
        await house.world.assert_whole(org)


async def test_whoever_asks_again_for_a_key_that_was_not_stored_gets_it(house: House) -> None:
    """Its event stands in the log; nobody has ever seen the secret."""
    tenant = await house.tenant()
    body = {"user_id": tenant.user_id, "name": "phone"}
    same = {"Idempotency-Key": "key-once"}
    async with house.server(dies_at="key: before it is stored") as (process, http):
        with pytest.raises(httpx.TransportError):
            await tenant.client(http).post("/v1/api-keys", body, expect=201, headers=same)
        await process.wait()
    async with house.server() as (_, http):
        client = tenant.client(http)
        made = await client.post("/v1/api-keys", body, expect=201, headers=same)
        me = await http.get("/v1/me", headers={"Authorization": f"Bearer {made['key']}"})
        assert me.json()["user"]["id"] == tenant.user_id
        again = await client.post("/v1/api-keys", body, expect=201, headers=same)
        assert again == {"id": made["id"], "key": None}
        created = await client.events(type="organisation.api_key_created")
        assert [each["data"]["key_id"] for each in created].count(made["id"]) == 1


# Controls: without its cure, each law is found broken.


@pytest.mark.parametrize(
    ("without", "point", "passing", "law"),
    [
        ("durability", "append: before it is sent", 5, "I1"),
        ("dedupe keys", "webhook: before the answer", 20, "I1"),
        ("one transaction", "projection: inbox written", 3, "I3"),
        ("claims", "dispatcher: after the request", 1, "I5"),
    ],
)
async def test_control_without_it_the_law_is_found_broken(
    house: House, without: str, point: str, passing: int, law: str
) -> None:
    tenant = await house.tenant()
    load = Load(None, tenant.account_id)
    await tenant.lives_through(load, dies_at=point, passing=passing, without=without)
    written = load.written
    if without == "durability":  # The platform does not deliver again what was acknowledged.
        load.written = {text: written[text] for text in written.keys() - set(load.acknowledged)}
    async with house.server(ahead_seconds=AHEAD_SECONDS, without=without) as (_, http):
        await tenant.recovers(http, load)
    load.written = written
    with pytest.raises(AssertionError, match=law):
        await tenant.assert_lawful(load)
