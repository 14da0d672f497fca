"""The directory: organisations, who holds an account, whose API key it is."""

import asyncio
import hashlib
import secrets
from datetime import UTC, datetime

import pytest

from adapters.postgres.connections import pool
from adapters.postgres.directory import SYSTEM, Directory, partition_of
from adapters.postgres.keys import MasterKey
from domain.ports import AccountHolder, ApiKey, KeyHolder, Org, Unreadable
from tests.adapters.log_scenario import Process, World, command

NOON = datetime(2026, 5, 9, 12, tzinfo=UTC)


def new_account() -> str:
    return f"account_{secrets.token_hex(6)}"


def test_a_partition_is_for_ever() -> None:
    digest = hashlib.sha256(b"org_acme").digest()
    assert partition_of("org_acme") == int.from_bytes(digest[:8], "big") % 64
    assert {partition_of(f"org_{n}") for n in range(2_000)} == set(range(64))


# Organisations.


async def test_all_who_ask_for_an_organisations_keys_at_once_get_the_same_ones(
    world: World,
) -> None:
    """A person's key that is being stored is known to those alone who share them."""
    org = await world.org()
    async with pool(world.database.url, "trunkline_directory", size_max=4) as lookups:
        directory = Directory(lookups, MasterKey(bytes(32)))
        keys = await asyncio.gather(*(directory.keys(org.number) for _ in range(4)))
    keys[0].new_key("contact:ann")
    assert all(each.has("contact:ann") for each in keys)


async def test_an_organisation_is_made_once_by_however_many_at_once(world: World) -> None:
    name = f"org_{secrets.token_hex(6)}"
    made = await asyncio.gather(*(world.directory.create_organisation(name) for _ in range(6)))
    assert len(set(made)) == 1
    assert await world.directory.organisation(name) == made[0]
    assert await world.directory.organisation("org_nobody") is None
    async with await world.superuser() as connection:
        cursor = await connection.execute(
            "SELECT partition, position, hash FROM heads WHERE org = %s", [made[0].number]
        )
        assert await cursor.fetchall() == [
            {"partition": partition_of(name), "position": 0, "hash": bytes(32)}
        ]


async def test_all_organisations_but_the_installations_own(world: World) -> None:
    await world.directory.create_organisation(SYSTEM)
    orgs = [await world.org(), await world.org()]
    ids = await world.directory.organisation_ids()
    assert ids[-2:] == [org.id for org in orgs]
    assert SYSTEM not in ids


async def test_an_organisations_keys_are_the_same_in_every_process(world: World) -> None:
    org, another = await world.org(), await world.org()
    async with pool(world.database.url, "trunkline_directory", size_max=1) as lookups:
        theirs = await Directory(lookups, MasterKey(bytes(32))).keys(org.number)
        ours = await world.directory.keys(org.number)
        assert theirs.org == ours.org == org
        assert theirs.hash("phone") == ours.hash("phone")
        assert ours.hash("phone") != (await world.directory.keys(another.number)).hash("phone")
        sealed = ours.seal_secret(b"token", about="a")
        assert theirs.open_secret(sealed, about="a") == b"token"
        with pytest.raises(Unreadable):
            await Directory(lookups, MasterKey(bytes([1]) * 32)).keys(org.number)


async def test_no_key_is_stored_in_clear(world: World) -> None:
    org = await world.org()
    keys = await world.directory.keys(org.number)
    async with await world.superuser() as connection:
        cursor = await connection.execute(
            "SELECT wrapping_key || identity_key AS stored FROM organisations WHERE org = %s",
            [org.number],
        )
        row = await cursor.fetchone()
    assert row is not None
    assert keys._identity_key not in row["stored"]


# API keys.


async def test_api_keys(world: World, one: Process) -> None:
    org, another = await world.org(), await world.org()
    await one.log.append(command(org, ("chat:a", 1)))
    made = [
        ApiKey(f"{secrets.token_hex(2)}{n}", "user_a", "phone", ["read", "reply"], NOON)
        for n in range(3)
    ]
    for key in made:
        assert await world.directory.add_api_key(org, key, digest=b"digest")
    first, *others = sorted(made, key=lambda key: key.id)
    expected = KeyHolder(org.number, "user_a", b"digest", frozenset(first.scopes), None, None, 1)
    assert await world.directory.key_holder(first.id) == expected
    assert await world.directory.key_holder("nobody's") is None
    assert await world.directory.api_keys(org, after=first.id, limit=9) == others
    assert await world.directory.api_keys(org, after="", limit=1) == [first]
    assert await world.directory.api_keys(another, after="", limit=9) == []
    assert not await world.directory.add_api_key(another, first, digest=b"another's")
    assert await world.directory.key_holder(first.id) == expected


async def test_a_key_is_revoked_by_its_own_org_and_keeps_the_time(world: World) -> None:
    org, another = await world.org(), await world.org()
    key = ApiKey(secrets.token_hex(6), "user_a", "phone", [], NOON)
    await world.directory.add_api_key(org, key, digest=b"digest")
    assert not await world.directory.revoke_api_key(another, key.id, now=NOON)
    assert await world.directory.revoke_api_key(org, key.id, now=NOON)
    assert await world.directory.revoke_api_key(org, key.id, now=datetime.now(UTC))
    holder = await world.directory.key_holder(key.id)
    assert holder is not None
    assert holder.revoked_at == NOON


# Accounts (S15).


async def claim(world: World, org: Org, account: str, business: str | None = None) -> bool:
    return await world.directory.claim_account(org, "line", account, business_account_id=business)


async def test_an_account_belongs_to_one_org_until_it_is_released(world: World) -> None:
    acme, other, account = await world.org(), await world.org(), new_account()
    assert await world.directory.account("line", account) is None
    assert await claim(world, acme, account)
    assert await claim(world, acme, account)  # Finishing what was interrupted.
    assert not await claim(world, other, account)
    await world.directory.release_account(other, "line", account)  # It is not theirs.
    assert await world.directory.account("line", account) == AccountHolder(acme.number, True, None)
    await world.directory.release_account(acme, "line", account)
    released = AccountHolder(acme.number, False, None)
    assert await world.directory.account("line", account) == released
    assert await claim(world, other, account)
    assert await world.directory.account("line", account) == AccountHolder(other.number, True, None)


async def test_an_account_claimed_by_many_at_once_goes_to_one(world: World) -> None:
    orgs = [await world.org() for _ in range(6)]
    account = new_account()
    claims = await asyncio.gather(*(claim(world, org, account) for org in orgs))
    assert claims.count(True) == 1
    holder = AccountHolder(orgs[claims.index(True)].number, True, None)
    assert await world.directory.account("line", account) == holder


async def test_credentials_stay_with_the_org_that_gave_them(world: World) -> None:
    acme, other, account = await world.org(), await world.org(), new_account()
    await claim(world, acme, account)
    await world.directory.store_secrets(acme, "line", account, sealed=b"acme's")
    await world.directory.store_secrets(other, "line", account, sealed=b"other's")
    held = AccountHolder(acme.number, True, b"acme's")
    assert await world.directory.account("line", account) == held
    assert await claim(world, acme, account)
    assert await world.directory.account("line", account) == held
    await world.directory.release_account(acme, "line", account)
    assert await claim(world, other, account)
    assert await world.directory.account("line", account) == AccountHolder(other.number, True, None)


async def test_who_holds_accounts_of_a_business_account(world: World) -> None:
    acme, other, business = await world.org(), await world.org(), new_account()
    accounts = [new_account() for _ in range(4)]
    for org, account in zip((acme, acme, other, other), accounts, strict=True):
        await claim(world, org, account, business)
    assert await claim(world, acme, accounts[0])  # Without saying it again.
    for account in accounts[2:]:
        await world.directory.release_account(other, "line", account)
    found = await world.directory.business_account("line", business)
    assert found == [AccountHolder(acme.number, True, None)]
    assert await world.directory.business_account("whatsapp", business) == []
