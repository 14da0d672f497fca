"""Files that come and go by LINE and Telegram: LINE fetches ours, Telegram is given them (C9)."""

from typing import Any

import pytest

from tests.api.deliveries import eventually
from tests.api.files import JPEG, MP4, PNG, download, upload
from tests.api.test_line_and_telegram_day import (
    KIM,
    PUBLIC,
    Business,
    World,
    both,
    business,
    user_id,
)
from tests.api.test_line_and_telegram_day import (
    world as world,  # The fixture: a server between both.
)


def customer_sends(acme: Business, kind: str, data: bytes, mime_type: str) -> None:
    if acme.platform == "line":
        acme.world.line.customer_sends_file(
            user_id(KIM), kind, data, mime_type, account_id=acme.account_id
        )
    else:
        name = "photo" if kind == "image" else kind
        more = {} if kind == "image" else {"mime_type": mime_type}
        acme.world.telegram.customer_sends_file(KIM, name, data, account_id=acme.account_id, **more)


async def came(acme: Business, state: str) -> Any:
    """The file of the only chat's newest message, once it is in this state."""

    async def media() -> Any:
        await acme.org.settled()
        chats = await acme.org.chats("desk")
        return chats[0]["last_message"]["content"]["media"] if chats else {"state": None}

    async def present() -> Any:
        return (await media())["state"]

    await eventually(present, state)
    return await media()


@both
@pytest.mark.parametrize(
    ("kind", "data", "mime_type"), [("image", JPEG, "image/jpeg"), ("video", MP4, "video/mp4")]
)
async def test_a_customers_file_is_fetched_and_given_to_whoever_may_see_it(
    world: World, platform: str, kind: str, data: bytes, mime_type: str
) -> None:
    acme = await business(world, platform)
    customer_sends(acme, kind, data, mime_type)
    media = await came(acme, "stored")
    assert (media["kind"], media["mime_type"], media["bytes"]) == (kind, mime_type, len(data))
    agent = await acme.org.user("agent", {"desk": "view"})
    agent.position = acme.org.position
    given = await download(agent, media["media_id"])
    assert (given.content, given.headers["content-type"]) == (data, mime_type)
    await download(await acme.org.user("agent", {}), media["media_id"], expect=404)


@both
async def test_a_file_that_the_platform_has_no_more_is_given_up(
    world: World, platform: str
) -> None:
    acme = await business(world, platform)
    customer_sends(acme, "image", JPEG, "image/jpeg")
    acme.fake.files.clear()
    await acme.fake.settled()
    media = await came(acme, "unavailable")
    assert (media["media_id"], media["reason"]) == (None, "not_found")


async def answered_with_a_file(acme: Business) -> str:
    """The id of a picture that was sent."""
    chat_id = await acme.hear(KIM, "Do you have a picture?")
    media_id = await upload(acme.org, PNG, "p.png", "image/png")
    path = f"/v1/services/crm/chats/{chat_id}/messages"
    await acme.org.post(path, {"kind": "image", "media_id": media_id}, expect=202)
    await eventually(lambda: acme.fates(chat_id), [("sent", None)])
    return media_id


async def seen_by(acme: Business, service: str, media_id: str) -> int:
    """What an agent of this service alone is answered."""
    agent = await acme.org.user("agent", {service: "reply"})
    headers = {"Trunkline-Min-Position": str(acme.org.position)}
    return (await agent.call("GET", f"/v1/media/{media_id}", headers=headers)).status_code


async def test_telegram_is_given_the_file_itself(world: World) -> None:
    acme = await business(world, "telegram")
    media_id = await answered_with_a_file(acme)
    (sent,) = await acme.sent()
    file = {"file_name": "p.png", "mime_type": "image/png", "file_size": len(PNG)}
    assert (sent.kind, sent.body["photo"]) == ("photo", file)
    assert [await seen_by(acme, name, media_id) for name in ("crm", "desk")] == [200, 404]


async def test_line_is_given_an_address_where_it_fetches_the_file(world: World) -> None:
    """Without a key."""
    acme, http = await business(world, "line"), world.http
    media_id = await answered_with_a_file(acme)
    (sent,) = await acme.sent()
    (message,) = sent.body["messages"]
    address = message["originalContentUrl"]
    assert address.startswith(f"{PUBLIC}/media/")
    path = address.removeprefix(PUBLIC)
    assert (await http.head(path)).headers["content-length"] == str(len(PNG))
    fetched = await http.get(path)
    assert (fetched.content, fetched.headers["content-type"]) == (PNG, "image/png")
    part = await http.get(path, headers={"Range": "bytes=8-"})
    assert (part.status_code, part.content) == (206, PNG[8:])
    assert [await seen_by(acme, name, media_id) for name in ("crm", "desk")] == [200, 404]
