"""Files and places on their way to customers of WhatsApp (C9, N3, S4)."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.fakes.behaviour import accepts_then_drops, drops
from adapters.whatsapp.fake_behaviour import fails
from adapters.whatsapp.fake_webhooks import StatusPlan
from api import links
from tests.api.businesses import connected
from tests.api.conftest import Client, Trunkline
from tests.api.deliveries import eventually
from tests.api.files import JPEG, OGG, PDF, PNG, WEBP, download, upload
from tests.api.problems import assert_problem


class Desk:
    """An org with two services on one number, and a customer who has just written."""

    def __init__(self, trunkline: Trunkline, admin: Client, account: str, chat_id: str) -> None:
        self.trunkline = trunkline
        self.admin = admin
        self.account = account
        self.chat_id = chat_id
        self.path = f"/v1/services/crm/chats/{chat_id}/messages"

    async def send(self, media_id: str, kind: str = "image", **more: Any) -> Any:
        body = {"kind": kind, "media_id": media_id, **more}
        return await self.admin.post(self.path, body, expect=202)

    async def refused(self, body: dict[str, Any], status: int, code: str) -> Any:
        return assert_problem(await self.admin.call("POST", self.path, json=body), status, code)

    async def becomes(self, message_id: str, status: str) -> Any:
        async def present() -> str:
            await self.admin.settled()
            timeline = await self.admin.messages("crm", self.chat_id)
            return str({each["id"]: each["status"] for each in timeline}[message_id])

        await eventually(present, status)

    def sent(self) -> dict[str, Any]:
        """The newest message that WhatsApp took from this number."""
        taken = [e for e in self.trunkline.fake.accepted if e.account_id == self.account]
        return taken[-1].body


@pytest.fixture
async def desk(trunkline: Trunkline) -> Desk:
    admin, account = await trunkline.organisation(), trunkline.account()
    await connected(admin, account, "crm")
    await admin.services("desk")
    await admin.connect("desk", account)
    await trunkline.says("Do you have a picture?", account_id=account)
    await admin.settled()
    (chat,) = await admin.chats("crm")
    return Desk(trunkline, admin, account, chat["id"])


async def test_a_file_is_uploaded_to_the_platform_and_sent_by_its_id(desk: Desk) -> None:
    media_id = await upload(desk.admin, PDF, "見積書.pdf", "application/pdf")
    message = await desk.send(media_id, "document", caption="Our offer")
    assert message["content"] == {
        "text": "Our offer",
        "media": {
            "media_id": media_id,
            "kind": "document",
            "mime_type": "application/pdf",
            "bytes": len(PDF),
            "sha256": message["content"]["media"]["sha256"],
            "name": "見積書.pdf",
            "state": "stored",
        },
    }
    await desk.becomes(message["id"], "read")
    document = desk.sent()["document"]
    file = desk.trunkline.fake.media.files[document["id"]]
    assert document == {"id": file.id, "caption": "Our offer", "filename": "見積書.pdf"}
    assert (file.data, file.mime_type) == (PDF, "application/pdf")


@pytest.mark.parametrize(
    ("data", "mime_type", "kind"),
    [
        (JPEG, "image/jpeg", "image"),
        (JPEG, "image/jpeg", "document"),
        (OGG, "audio/ogg", "audio"),
        (WEBP, "image/webp", "sticker"),
    ],
)
async def test_every_kind_is_sent_as_what_it_is_to_be(
    desk: Desk, data: bytes, mime_type: str, kind: str
) -> None:
    message = await desk.send(await upload(desk.admin, data, "file", mime_type), kind)
    await desk.becomes(message["id"], "read")
    assert desk.sent()["type"] == kind
    file = desk.trunkline.fake.media.files[desk.sent()[kind]["id"]]
    assert (file.data, file.mime_type) == (data, mime_type)


async def test_a_place_is_sent(desk: Desk) -> None:
    place = {"latitude": 35.6586, "longitude": 139.7454, "name": "東京タワー"}
    body = {"kind": "location", "location": place}
    message = await desk.admin.post(desk.path, body, expect=202)
    assert (message["kind"], message["content"]["location"]) == ("location", place)
    await desk.becomes(message["id"], "read")
    assert desk.sent()["location"] == place


async def test_one_file_may_go_to_several_customers(desk: Desk) -> None:
    media_id = await upload(desk.admin)
    await desk.trunkline.says("Me too", account_id=desk.account, phone="12025550177")
    await desk.admin.settled()
    for chat in await desk.admin.chats("crm"):
        path = f"/v1/services/crm/chats/{chat['id']}/messages"
        await desk.admin.post(path, {"kind": "image", "media_id": media_id}, expect=202)
    assert (await download(desk.admin, media_id)).content == JPEG


@pytest.mark.parametrize(
    ("data", "mime_type", "body", "status", "code"),
    [
        (PDF, "application/pdf", {"kind": "image"}, 415, "wrong_media"),
        (WEBP, "image/webp", {"kind": "image"}, 415, "wrong_media"),
        (JPEG + bytes(5 << 20), "image/jpeg", {"kind": "image"}, 413, "too_large"),
        (WEBP + bytes(100 << 10), "image/webp", {"kind": "sticker"}, 413, "too_large"),
        (OGG, "audio/ogg", {"kind": "audio", "caption": "x"}, 400, "invalid"),
        (JPEG, "image/jpeg", {"kind": "image", "caption": "x" * 1025}, 400, "invalid"),
        (JPEG, "image/jpeg", {"kind": "image", "text": "x"}, 400, "invalid"),
        (JPEG, "image/jpeg", {"kind": "text", "text": "x"}, 400, "invalid"),
        (JPEG, "image/jpeg", {"kind": "voice"}, 400, "invalid"),
    ],
)
async def test_what_the_platform_would_refuse_is_refused_before_anything_is_queued(
    desk: Desk, data: bytes, mime_type: str, body: dict[str, Any], status: int, code: str
) -> None:
    media_id = await upload(desk.admin, data, "file", mime_type)
    before = len(await desk.admin.events())
    await desk.refused({"media_id": media_id, **body}, status, code)
    assert len(await desk.admin.events()) == before


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "image"},
        {"kind": "image", "media_id": None},
        {"kind": "location"},
        {"kind": "location", "location": {"latitude": 91, "longitude": 0}},
        {"kind": "location", "location": {"latitude": "1", "longitude": 0}},
        {"kind": "location", "location": {"latitude": 1}},
        {"kind": "location", "location": {"latitude": 1, "longitude": 0, "name": ""}},
        {"kind": "location", "location": {"latitude": 1, "longitude": 0}, "caption": "x"},
    ],
)
async def test_a_message_lacks_nothing_and_has_nothing_else(
    desk: Desk, body: dict[str, Any]
) -> None:
    await desk.refused(body, 400, "invalid")


async def test_only_its_uploader_sends_a_file(desk: Desk) -> None:
    agent = await desk.admin.user("agent", {"crm": "reply"})
    for media_id in (await upload(agent), "2" * 26, "x", "../x"):
        await desk.refused({"kind": "image", "media_id": media_id}, 404, "not_found")


# What goes wrong.


@pytest.mark.parametrize(
    "trouble", [drops(), accepts_then_drops(), fails(131000, status=500), fails(131053)]
)
async def test_where_the_upload_fails_the_message_is_tried_again(desk: Desk, trouble: Any) -> None:
    """N3: nothing was sent, so nothing is uncertain, and the customer gets it once."""
    desk.trunkline.fake.next_requests(trouble, to="/media")
    message = await desk.send(await upload(desk.admin))
    await desk.becomes(message["id"], "read")
    taken = [e for e in desk.trunkline.fake.accepted if e.account_id == desk.account]
    assert [each.kind for each in taken] == ["image"]
    types = [each["type"] for each in await desk.admin.events()]
    assert types.count("chat.send_deferred") == 1
    assert "chat.send_uncertain" not in types


async def test_where_the_answer_to_the_message_is_lost_it_is_uncertain(desk: Desk) -> None:
    fake = desk.trunkline.fake
    plan, fake.plan = fake.plan, StatusPlan(statuses=())
    fake.next_requests(accepts_then_drops())
    message = await desk.send(await upload(desk.admin))
    await desk.becomes(message["id"], "uncertain")
    path = f"{desk.path}/{message['id']}/retry"
    again = await desk.admin.post(path, expect=202)
    assert again["content"] == message["content"]
    await desk.becomes(again["id"], "sent")
    fake.plan = plan


async def test_a_file_that_is_gone_from_the_store_fails_its_message_alone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    media_id = await upload(desk.admin)
    folder = desk.trunkline.settings.media_folder / desk.admin.organization_id
    (path,) = [each for each in folder.rglob("*") if each.is_file()]
    path.write_bytes(path.read_bytes()[:-1])
    message = await desk.send(media_id)
    await desk.becomes(message["id"], "failed")
    text = await desk.admin.reply("crm", desk.chat_id, "Sorry, here it is in words")
    await desk.becomes(text["id"], "read")
    await download(desk.admin, media_id, expect=404)


# Who may see it then (S4).


async def test_once_it_is_sent_it_is_seen_only_through_messages_that_one_may_see(
    desk: Desk,
) -> None:
    admin, agents = desk.admin, {"crm": "reply"}
    uploader = await admin.user("agent", agents)
    colleague = await admin.user("agent", agents)
    stranger = await admin.user("agent", {"desk": "reply"})
    clients = [admin, uploader, colleague, stranger, await admin.user("auditor", {})]
    media_id = await upload(uploader, PNG, "p.png", "image/png")
    await uploader.post(desk.path, {"kind": "image", "media_id": media_id}, expect=202)
    await admin.settled()

    async def answers() -> list[int]:
        found = []
        for client in clients:
            client.position = admin.position
            headers = {"Trunkline-Min-Position": str(client.position)}
            answer = await client.call("GET", f"/v1/media/{media_id}", headers=headers)
            found.append(answer.status_code)
        return found

    assert await answers() == [200, 200, 200, 404, 200]
    # Under another policy Desk's agents see CRM's answers, and so this one's file.
    body = {"subscription": "bundled", "reply_requires_ownership": False}
    await admin.put("/v1/services/desk", {**body, "masking": "none"})
    assert await answers() == [200, 200, 200, 200, 200]
    await admin.put("/v1/services/desk", {**body, "masking": "full"})
    assert await answers() == [200, 200, 200, 404, 200]
    # Whoever may not look at CRM any more is not shown what they put there themselves.
    await admin.patch(f"/v1/users/{uploader.user_id}", {"services": {"desk": "reply"}})
    assert await answers() == [200, 404, 200, 404, 200]


# Platforms that fetch for themselves are given an address.


async def linked(desk: Desk, message_id: str) -> str:
    """The last part of the address of a message's file."""
    directory = desk.trunkline.parts.directory
    org = await directory.organisation(desk.admin.organization_id)
    assert org is not None
    keys = await directory.keys(org.number)
    return links.link_to(keys, desk.chat_id, message_id, now=datetime.now(UTC))


async def test_an_address_gives_the_file_of_one_message_without_a_key(desk: Desk) -> None:
    media_id = await upload(desk.admin, PNG, "p.png", "image/png")
    message = await desk.send(media_id)
    await desk.becomes(message["id"], "read")
    token = await linked(desk, message["id"])
    given = await desk.trunkline.http.get(f"/media/{token}")
    assert (given.status_code, given.content) == (200, PNG)
    assert given.headers["content-type"] == "image/png"
    assert given.headers["x-content-type-options"] == "nosniff"
    part = await desk.trunkline.http.get(f"/media/{token}", headers={"Range": "bytes=-9"})
    assert (part.status_code, part.content) == (206, PNG[-9:])
    told = await desk.trunkline.http.head(f"/media/{token}")
    assert (told.status_code, told.headers["content-length"]) == (200, str(len(PNG)))


async def test_any_other_address_gives_nothing(desk: Desk) -> None:
    message = await desk.send(await upload(desk.admin))
    await desk.becomes(message["id"], "read")
    token = await linked(desk, message["id"])
    text = await desk.admin.reply("crm", desk.chat_id, "No file")
    changed = [
        token[:index] + ("A" if token[index] != "A" else "B") + token[index + 1 :]
        for index in range(0, len(token) - 1, 7)
    ]
    others = [await linked(desk, text["id"]), await linked(desk, "2" * 26)]
    sly = base64.urlsafe_b64encode(b'["a\\u0000","b","c",1]' + bytes(32)).decode().rstrip("=")
    for each in ("x", "%00", "-", sly, token[:-4], token + "AAAA", *changed, *others):
        response = await desk.trunkline.http.get(f"/media/{each}")
        assert_problem(response, 404, "not_found")


async def test_an_address_is_good_for_a_while(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    message = await desk.send(await upload(desk.admin))
    await desk.becomes(message["id"], "read")
    monkeypatch.setattr(links, "LINK_LIFETIME", timedelta(seconds=-1))
    token = await linked(desk, message["id"])
    assert (await desk.trunkline.http.get(f"/media/{token}")).status_code == 404
