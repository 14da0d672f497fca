"""Servers that die while a file is on its way: it comes once, and none is left over (C9)."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.media.disk import LEFT_BEHIND_SECONDS
from adapters.media.store import LEFT_BEHIND_AFTER
from adapters.postgres.begun_files import PostgresBegunFiles
from domain.ports import Org
from tests.api.conftest import Client
from tests.api.deliveries import eventually
from tests.api.files import JPEG, download, try_to_upload
from tests.failures.house import DEATH_SECONDS_MAX, House, Tenant

PHONE = "12025550143"


@pytest.fixture
async def tenant(house: House) -> AsyncIterator[Tenant]:
    yield await house.tenant()
    house.fake.media.files.clear()  # No later server is to fetch them again, and to die of it.


def stored(tenant: Tenant) -> list[Path]:
    folder = tenant.house.parts.settings.media_folder / tenant.org.id
    return [path for path in folder.rglob("*") if path.is_file()]


async def sweeps_a_day_later(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """As every server does each hour, with nobody on its way any more."""
    later = house.parts.clock.now() + LEFT_BEHIND_AFTER + timedelta(minutes=1)
    old = time.time() - LEFT_BEHIND_SECONDS - 60
    for path in house.parts.settings.media_folder.glob("*/new/*"):
        os.utime(path, (old, old))
    with monkeypatch.context() as patched:
        patched.setattr(type(house.parts.clock), "now", lambda _self: later)
        await house.parts.media.store.sweep()


async def receives_a_file(tenant: Tenant, **plan: Any) -> None:
    """A customer sends one, and the server dies over it."""
    house = tenant.house
    async with house.server(**plan) as (process, http):
        house.fake.deliver_to(str(http.base_url.join("/webhooks/whatsapp")))
        house.fake.customer_sends_file(
            PHONE, "image", JPEG, "image/jpeg", account_id=tenant.account_id
        )
        async with asyncio.timeout(DEATH_SECONDS_MAX):
            await process.wait()
    assert process.returncode == -9
    house.fake.deliver_to(None)


async def media_id_of(client: Client) -> str:
    """The file's, once it has come."""

    async def state() -> Any:
        await client.settled()
        (chat,) = await client.chats("crm")
        return chat["last_message"]["content"]["media"]["state"]

    await eventually(state, "stored")
    (chat,) = await client.chats("crm")
    return str(chat["last_message"]["content"]["media"]["media_id"])


@pytest.mark.parametrize(
    "point",
    [pytest.param("file: before it is stored", marks=pytest.mark.long), "file: stored"],
)
async def test_a_file_whose_server_dies_before_it_is_written_down_comes_again_and_leaves_nothing(
    house: House, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    await receives_a_file(tenant, dies_at=point)
    await house.parts.media.store.sweep()
    assert len(stored(tenant)) == 1  # Somebody could still be about to write it down.
    await sweeps_a_day_later(house, monkeypatch)
    assert stored(tenant) == []
    async with house.server() as (_, http):
        client = tenant.client(http)
        media_id = await media_id_of(client)
        assert (await download(client, media_id)).content == JPEG
        assert len(await client.events(type="chat.media_stored")) == 1
    assert len(stored(tenant)) == 1
    await house.world.assert_whole(tenant.org)


async def test_an_upload_whose_server_dies_leaves_nothing(
    house: House, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house.server(dies_at="file: stored") as (process, http):
        with contextlib.suppress(httpx.TransportError):
            await try_to_upload(tenant.client(http))
        await process.wait()
    assert len(stored(tenant)) == 1
    await sweeps_a_day_later(house, monkeypatch)
    assert stored(tenant) == []


@pytest.mark.parametrize("is_cured", [True, False])
async def test_a_file_that_is_written_down_stays_if_its_server_dies_before_it_has_noted_so(
    house: House, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, is_cured: bool
) -> None:
    """The control: where the log is not looked at, it is lost."""

    async def is_not_asked(_self: PostgresBegunFiles, _org: Org, _address: str) -> bool:
        return False

    await receives_a_file(tenant, dies_at="file: written down")
    if not is_cured:
        monkeypatch.setattr(PostgresBegunFiles, "stands_in_log", is_not_asked)
    await sweeps_a_day_later(house, monkeypatch)
    assert len(stored(tenant)) == (1 if is_cured else 0)


async def test_control_a_file_that_nobody_noted_is_left_for_ever(
    house: House, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    await receives_a_file(tenant, dies_at="file: stored", without="begun files")
    await sweeps_a_day_later(house, monkeypatch)
    assert len(stored(tenant)) == 1
