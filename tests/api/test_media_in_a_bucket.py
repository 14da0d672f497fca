"""Files in a bucket: the same as on a disk, and what goes on while the bucket is away (C9)."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.media_places import files_in
from tests.adapters.s3 import FOLDER, FakeS3
from tests.api.businesses import connected
from tests.api.conftest import Client, Trunkline, installed
from tests.api.deliveries import eventually
from tests.api.files import JPEG, PDF, PNG, download, try_to_upload, upload
from tests.api.problems import assert_problem
from tests.conftest import Database as EmptyDatabase

PHONE = "12025550143"


class Office:
    """An organisation with one chat, whose files lie in a bucket."""

    def __init__(self, trunkline: Trunkline, fake: FakeS3, admin: Client, account: str) -> None:
        self.trunkline = trunkline
        self.bucket = fake
        self.admin = admin
        self.account = account

    async def chat(self) -> Any:
        await self.admin.settled()
        (chat,) = await self.admin.chats("crm")
        return chat

    async def file_that_came(self) -> Any:
        """What is said of the file that the customer sent, once it is there."""
        # Not the last message: the platform's times are whole seconds, and ours are not.
        timeline = await self.admin.messages("crm", (await self.chat())["id"])
        inbound = [each["content"] for each in timeline if each["direction"] == "inbound"]
        return next((each["media"] for each in inbound if "media" in each), {"state": None})

    async def came(self) -> Any:
        return (await self.file_that_came())["state"]

    async def send(self, media_id: str) -> Any:
        path = f"/v1/services/crm/chats/{(await self.chat())['id']}/messages"
        body = {"kind": "image", "media_id": media_id}
        return await self.admin.post(path, body, expect=202)

    async def status(self, message_id: str) -> str:
        timeline = await self.admin.messages("crm", (await self.chat())["id"])
        return str({each["id"]: each["status"] for each in timeline}[message_id])

    def sealed(self) -> list[Path]:
        return files_in(self.bucket.objects / FOLDER / self.admin.organization_id)


@pytest.fixture(scope="module")
async def bucket(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FakeS3]:
    async with FakeS3(tmp_path_factory.mktemp("s3")) as fake:
        yield fake


@pytest.fixture(scope="module")
async def trunkline(
    database: EmptyDatabase, tmp_path_factory: pytest.TempPathFactory, bucket: FakeS3
) -> AsyncIterator[Trunkline]:
    home = tmp_path_factory.mktemp("home")
    async with installed(database, home, **bucket.reached()) as running:
        yield running


@pytest.fixture
async def office(trunkline: Trunkline, bucket: FakeS3) -> Office:
    admin, account = await trunkline.organisation(), trunkline.account()
    await connected(admin, account, "crm")
    await trunkline.says("Hello", account_id=account)
    return Office(trunkline, bucket, admin, account)


async def test_files_lie_there_sealed_and_come_and_go(office: Office) -> None:
    media_id = await upload(office.admin, PNG, "p.png", "image/png")
    message = await office.send(media_id)
    await eventually(lambda: office.status(message["id"]), "read")
    (sent,) = office.trunkline.fake.media.files.values()
    assert sent.data == PNG
    office.trunkline.fake.customer_sends_file(
        PHONE, "document", PDF, "application/pdf", account_id=office.account
    )
    await eventually(office.came, "stored")
    came = (await office.file_that_came())["media_id"]
    assert (await download(office.admin, media_id)).content == PNG
    assert (await download(office.admin, came)).content == PDF
    assert len(office.sealed()) == 2
    assert not any(b"A page." in path.read_bytes() for path in office.sealed())
    assert not office.trunkline.settings.media_folder.exists()


async def test_while_it_is_away_all_else_goes_on_and_nothing_is_lost(
    office: Office,
) -> None:
    admin, media_id = office.admin, await upload(office.admin)
    await office.bucket.go_down()
    answer = await try_to_upload(admin, expect=503)
    assert_problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "1"
    assert_problem(await download(admin, media_id, expect=503), 503, "unavailable")
    message = await office.send(media_id)

    async def deferred() -> set[str]:
        return {each["data"]["reason"] for each in await admin.events(type="chat.send_deferred")}

    await eventually(deferred, {"store_away"})
    office.trunkline.fake.customer_sends_file(
        PHONE, "image", JPEG, "image/jpeg", account_id=office.account
    )
    await eventually(office.came, "pending")
    await office.bucket.come_back()
    await eventually(lambda: office.status(message["id"]), "read")
    await eventually(office.came, "stored")
    channel = await admin.get("/v1/channels")
    assert [each["health"]["state"] for each in channel["items"]] == ["ok"]
    assert len(office.sealed()) == 2
