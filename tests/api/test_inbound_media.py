"""Files that customers send: fetched at once, shown to those who may see them (C9, P1, S4, E4)."""

import base64
import hashlib
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from adapters import fetcher
from adapters.exchange import new_http_client
from adapters.fakes.behaviour import answers, drops
from adapters.fetcher import Fetcher
from adapters.platforms import media_sources
from adapters.postgres.keys import OrgKeys
from api.main import PROJECTIONS
from api.media_queue import ProjectedMedia
from api.system import running
from domain.inbound import Address, Content, MessageOccurred, Person
from domain.media_ports import WaitingMessage
from projections.engine import runner
from projections.engine.builds import LiveBuilds
from tests.api.businesses import connected
from tests.api.conftest import Client, Trunkline
from tests.api.deliveries import delivery, eventually, new_wamid, now
from tests.api.files import JPEG, MP4, OGG, PDF, WEBP, download
from tests.api.live import live

PHONE = "12025550143"


class Inbox:
    """An org with two services on one number, and customers who send files."""

    def __init__(self, trunkline: Trunkline, admin: Client, account: str) -> None:
        self.trunkline = trunkline
        self.admin = admin
        self.account = account

    def customer_sends(
        self, kind: str = "image", data: bytes = JPEG, mime_type: str = "image/jpeg", **more: Any
    ) -> str:
        return self.trunkline.fake.customer_sends_file(
            PHONE, kind, data, mime_type, account_id=self.account, **more
        )

    async def newest(self, service: str = "crm") -> Any:
        """The customer's newest message."""
        await self.admin.settled()
        chats = await self.admin.chats(service)
        return chats[0]["last_message"] if chats else None

    async def media(self, state: str, service: str = "crm") -> Any:
        """The file of the newest message, once it is in this state."""

        async def present() -> Any:
            message = await self.newest(service)
            return message["content"].get("media", {}).get("state") if message else None

        await eventually(present, state)
        return (await self.newest(service))["content"]["media"]


@pytest.fixture
async def inbox(trunkline: Trunkline) -> Inbox:
    admin, account = await trunkline.organisation(), trunkline.account()
    await connected(admin, account, "crm")
    await admin.services("desk")
    await admin.connect("desk", account)
    return Inbox(trunkline, admin, account)


@pytest.mark.parametrize(
    ("kind", "data", "mime_type", "more", "shown"),
    [
        ("image", JPEG, "image/jpeg", {"caption": "Look"}, {}),
        ("document", PDF, "application/pdf", {"filename": "見積書.pdf"}, {"name": "見積書.pdf"}),
        ("audio", OGG, "audio/ogg; codecs=opus", {"voice": True}, {"voice": True}),
        ("video", MP4, "video/mp4", {}, {}),
        ("sticker", WEBP, "image/webp", {"animated": False}, {"animated": False}),
    ],
)
async def test_a_customers_file_is_fetched_and_shown_in_every_service(
    inbox: Inbox, kind: str, data: bytes, mime_type: str, more: Any, shown: Any
) -> None:
    inbox.customer_sends(kind, data, mime_type, **more)
    media = await inbox.media("stored")
    assert media == {
        "media_id": media["media_id"],
        "kind": kind,
        "mime_type": mime_type.partition(";")[0],
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "state": "stored",
        **shown,
    }
    assert await inbox.media("stored", "desk") == media
    agent = await inbox.admin.user("agent", {"desk": "view"})
    agent.position = inbox.admin.position
    given = await download(agent, media["media_id"])
    assert given.content == data
    assert given.headers["content-type"] == media["mime_type"]
    other = await inbox.trunkline.organisation("Other")
    await download(other, media["media_id"], expect=404)
    nobody = await inbox.admin.user("agent", {})
    await download(nobody, media["media_id"], expect=404)


@pytest.mark.parametrize(
    "image",
    [
        {"caption": "Look again"},
        {"id": "77001", "sha256": base64.b64encode(hashlib.sha256(JPEG).digest()).decode()},
    ],
)
async def test_an_edit_of_the_words_beside_a_file_leaves_the_file(
    inbox: Inbox, image: dict[str, str]
) -> None:
    """Spec C17: an edit may name the file anew, or not at all."""
    wamid = inbox.customer_sends(caption="Look")
    media = await inbox.media("stored")
    edited = {"type": "image", "image": {"caption": "Look again", **image}}
    item = {
        "from": PHONE,
        "id": new_wamid(),
        "timestamp": str(now()),
        "type": "edit",
        "edit": {"original_message_id": wamid, "message": edited},
    }
    await inbox.trunkline.deliver(delivery(account_id=inbox.account, messages=[item]))
    shown = await inbox.newest()
    assert shown["content"]["text"] == "Look again"
    assert shown["content"]["media"]["media_id"] == media["media_id"]
    assert (await download(inbox.admin, media["media_id"])).content == JPEG


async def test_what_has_been_fetched_makes_room_for_what_is_to_be_fetched(inbox: Inbox) -> None:
    for number in range(fetcher.FETCHING_MAX + 1):
        inbox.customer_sends(caption=str(number))

    async def stored() -> int:
        return len(await inbox.admin.events(type="chat.media_stored"))

    await eventually(stored, fetcher.FETCHING_MAX + 1)


@pytest.mark.parametrize("is_remembered", [True, False])
async def test_a_file_is_fetched_once_although_it_shows_a_moment_later(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch, is_remembered: bool
) -> None:
    """The second case is the first's control."""
    monkeypatch.setattr(runner, "PATIENCE_SECONDS", 0.5)
    if not is_remembered:
        monkeypatch.setattr(fetcher, "SETTLED_REMEMBERED_SECONDS", 0.0)
    before = len(inbox.trunkline.fake.requests)
    inbox.customer_sends()
    await inbox.media("stored")
    fetched = [each for each in inbox.trunkline.fake.requests[before:] if "/attach" in each.path]
    assert (len(fetched) == 1) is is_remembered


async def test_what_is_not_what_it_is_called_is_given_out_as_what_it_is(inbox: Inbox) -> None:
    inbox.customer_sends(data=b"<script>alert(1)</script>", mime_type="image/jpeg")
    media = await inbox.media("stored")
    given = await download(inbox.admin, media["media_id"])
    assert given.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize("mime_type", [5, {"is": "image/jpeg"}])
async def test_a_type_that_is_no_text_holds_up_no_file(inbox: Inbox, mime_type: Any) -> None:
    """In the log there may be some, from before only texts were taken for types."""
    file = inbox.trunkline.fake.media.add(inbox.account, JPEG, "image/jpeg")
    received = MessageOccurred(
        kind="message.image",
        account_id=inbox.account,
        business_account_id=None,
        at=datetime.now(UTC),
        dedupe=("message", "wamid.5"),
        platform_id="wamid.5",
        person=Person(addresses=(Address("phone", PHONE),)),
        content=Content(media={"platform_id": file.id, "mime_type": mime_type}),
    )
    await inbox.trunkline.parts.inbound.receive("whatsapp", [received])
    assert (await inbox.media("stored"))["mime_type"] == "image/jpeg"


async def test_a_live_stream_tells_when_the_file_has_come(inbox: Inbox) -> None:
    inbox.customer_sends()
    await inbox.media("stored")
    (stored,) = await inbox.admin.events(type="chat.media_stored")
    async with live(inbox.admin, "desk", after=stored["position"] - 1) as stream:
        told = await stream.event()
    assert (told.name, told.data["message"]["content"]["media"]["state"]) == ("message", "stored")


async def test_a_message_that_is_unsent_takes_its_file_along(inbox: Inbox) -> None:
    wamid = inbox.customer_sends()
    media = await inbox.media("stored")
    revoke = {"type": "revoke", "revoke": {"original_message_id": wamid}}
    inbox.trunkline.fake.customer_sends(PHONE, revoke, account_id=inbox.account)
    await inbox.trunkline.fake.settled()
    await inbox.admin.settled()
    await download(inbox.admin, media["media_id"], expect=404)


async def test_a_file_of_an_erased_contact_cannot_be_had(inbox: Inbox) -> None:
    """E4: it goes with the contact's key, at once, whatever lies in the store."""
    inbox.customer_sends()
    media = await inbox.media("stored")
    (chat,) = await inbox.admin.chats("crm")
    url = inbox.trunkline.database.migration_url
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as database:
        key = f"contact:{chat['customer']['contact_id']}"
        await database.execute("DELETE FROM trunkline.keys WHERE id = %s", [key])
    await download(inbox.admin, media["media_id"], expect=404)
    assert (await inbox.newest())["content"] == {}


# What goes wrong.


async def test_a_file_that_the_platform_does_not_have_any_more_is_given_up(inbox: Inbox) -> None:
    inbox.customer_sends()
    inbox.trunkline.fake.media.files.clear()
    await inbox.trunkline.fake.settled()
    media = await inbox.media("unavailable")
    assert (media["media_id"], media["reason"]) == (None, "not_found")
    (event,) = await inbox.admin.events(type="chat.media_unavailable")
    assert event["data"]["reason"] == "not_found"


@pytest.mark.parametrize("trouble", [drops(), answers(503, b"{}"), answers(200, b"[1]")])
async def test_where_the_platform_has_a_bad_moment_it_is_asked_again(
    inbox: Inbox, trouble: Any
) -> None:
    inbox.trunkline.fake.next_requests(trouble, to="")
    inbox.customer_sends()
    media = await inbox.media("stored")
    assert (await download(inbox.admin, media["media_id"])).content == JPEG


async def test_a_file_with_another_hash_is_not_taken(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = inbox.trunkline.fake
    about = type(fake.media).about
    lies = 2

    def lying(self: Any, *arguments: Any) -> Any:
        nonlocal lies
        lies -= 1
        found = about(self, *arguments)
        return {**found, "sha256": "0" * 64} if lies >= 0 else found

    monkeypatch.setattr(type(fake.media), "about", lying)
    inbox.customer_sends()
    media = await inbox.media("stored")
    assert lies < 0
    assert (await download(inbox.admin, media["media_id"])).content == JPEG
    folder = inbox.trunkline.settings.media_folder / inbox.admin.organization_id
    assert len([path for path in folder.rglob("*") if path.is_file()]) == 1


async def waiting_for(inbox: Inbox) -> WaitingMessage:
    """What a second process would still believe to be waiting, with the file already fetched."""
    inbox.customer_sends()
    await inbox.media("stored")
    (chat,) = await inbox.admin.chats("crm")
    org = await inbox.trunkline.parts.directory.organisation(inbox.admin.organization_id)
    assert org is not None
    return WaitingMessage(
        org=org.number,
        platform="whatsapp",
        account_id=inbox.account,
        chat_id=chat["id"],
        message_id=chat["last_message"]["id"],
        kind="image",
        files=1,
        sealed_for=chat["customer"]["contact_id"],
        content=None,
        settled=frozenset(),
        age_seconds=0,
    )


@pytest.mark.parametrize("is_cured", [True, False])
async def test_a_file_that_was_fetched_twice_is_written_down_once(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch, is_cured: bool
) -> None:
    """The control: where a command's id does not follow from the file, there are two events."""
    message = await waiting_for(inbox)
    media = inbox.trunkline.parts.media

    async def chunks() -> AsyncIterator[bytes]:
        yield JPEG

    again = await media.keep_for(message, chunks(), mime_type="image/jpeg", kind="image", name=None)
    if not is_cured:
        monkeypatch.setattr(OrgKeys, "hash", lambda *_: secrets.token_bytes(32))
    assert await media.stored(message, 0, again) is not is_cured
    monkeypatch.undo()
    await media.unavailable(message, 0, "not_found")
    types = [each["type"] for each in await inbox.admin.events()]
    assert types.count("chat.media_stored") == (1 if is_cured else 2)
    assert "chat.media_unavailable" not in types
    assert (await inbox.media("stored"))["bytes"] == len(JPEG)


async def test_two_fetchers_store_a_file_once(inbox: Inbox) -> None:
    """Other processes fetch too: what comes second is thrown away, and one event is written."""
    parts = inbox.trunkline.parts
    queue = ProjectedMedia(
        LiveBuilds(parts.all_orgs, PROJECTIONS),
        parts.directory,
        parts.context.credentials,
        parts.clock,
    )
    async with new_http_client() as client:
        sources = media_sources(client, parts.settings.media_bases, parts.access_tokens)
        fetchers = [Fetcher(queue, parts.media, sources, parts.bell.listener()) for _ in range(2)]

        async def count() -> int:
            return len(await inbox.admin.events(type="chat.media_stored"))

        folder = inbox.trunkline.settings.media_folder / inbox.admin.organization_id

        async def files() -> int:
            return len([path for path in folder.rglob("*") if path.is_file()])

        async with running(fetchers[0].run()), running(fetchers[1].run()):
            for _ in range(5):
                inbox.customer_sends(data=JPEG * 300)
            await eventually(count, 5)
            # What came second is thrown away before its fetcher ends.
            await eventually(files, 5)
    assert await count() == 5
