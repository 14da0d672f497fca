"""Files: uploaded, looked at by those who may; and what is refused (C9, S7)."""

import asyncio
import hashlib
import resource
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from api.main import PROJECTIONS
from api.media_queue import remove_forgotten
from domain.event import Recorded
from domain.media import FILE_BYTES_MAX, IconChanged
from projections.engine.builds import LiveBuilds
from projections.engine.projection import Connection
from projections.media import Media
from tests.api.conftest import Client, Trunkline
from tests.api.deliveries import eventually
from tests.api.files import JPEG, MP4, OGG, PDF, PNG, TEXT, WEBP, download, try_to_upload, upload
from tests.api.problems import assert_problem

MB = 1 << 20


@pytest.fixture(scope="module")
async def admin(trunkline: Trunkline) -> Client:
    client = await trunkline.organisation()
    await client.services("crm", "desk")
    return client


def stored(trunkline: Trunkline, client: Client) -> list[Path]:
    folder = trunkline.settings.media_folder / client.organization_id
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_a_file_is_given_back_as_it_was_put_here(admin: Client) -> None:
    response = await try_to_upload(admin, JPEG, "Foto von Jörg.jpg", "image/jpeg", expect=201)
    made = response.json()
    assert made == {"media_id": made["media_id"], "kind": "image", "bytes": len(JPEG)}
    given = await download(admin, made["media_id"])
    assert given.content == JPEG
    assert {
        name: given.headers[name]
        for name in (
            "content-type",
            "content-length",
            "content-disposition",
            "x-content-type-options",
            "content-security-policy",
            "cache-control",
        )
    } == {
        "content-type": "image/jpeg",
        "content-length": str(len(JPEG)),
        "content-disposition": "attachment; filename*=UTF-8''Foto%20von%20J%C3%B6rg.jpg",
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'none'; sandbox",
        "cache-control": "private, no-store",
    }


@pytest.mark.parametrize(
    ("data", "called", "shown", "kind"),
    [
        (PNG, "image/png", "image/png", "image"),
        (PNG, None, "image/png", "image"),
        (PNG, "application/octet-stream", "image/png", "image"),
        (WEBP, "image/webp", "image/webp", "image"),
        (MP4, "video/mp4", "video/mp4", "video"),
        (MP4, "audio/x-m4a", "audio/mp4", "audio"),
        (OGG, "audio/ogg; codecs=opus", "audio/ogg", "audio"),
        (PDF, "application/pdf", "application/pdf", "document"),
        (TEXT, "text/plain", "text/plain", "document"),
        (b"PK\x03\x04 a sheet", "application/vnd.ms-excel", "application/vnd.ms-excel", "document"),
        (TEXT, "no type at all", "application/octet-stream", "document"),
    ],
)
async def test_its_type_is_what_its_bytes_say(
    admin: Client, data: bytes, called: str | None, shown: str, kind: str
) -> None:
    response = await try_to_upload(admin, data, "name", called, expect=201)
    assert response.json()["kind"] == kind
    given = await download(admin, response.json()["media_id"])
    assert (given.headers["content-type"].partition(";")[0], given.content) == (shown, data)


@pytest.mark.parametrize(
    ("data", "called"),
    [
        (TEXT, "image/jpeg"),
        (b"<svg onload='alert(1)'/>", "image/svg+xml"),
        (PDF, "image/png"),
        (JPEG, "image/png"),
        (JPEG, "application/pdf"),
        (JPEG, "text/html"),
        (b"MZ\x90\x00", "video/mp4"),
    ],
)
async def test_a_file_that_is_not_what_it_is_called_is_refused(
    trunkline: Trunkline, admin: Client, data: bytes, called: str
) -> None:
    before = stored(trunkline, admin)
    assert_problem(await try_to_upload(admin, data, "x", called), 415, "wrong_media")
    assert stored(trunkline, admin) == before


def form(*parts: str, boundary: str = "B") -> bytes:
    """A form as it is sent, with these parts."""
    whole = "".join(f"--{boundary}\r\n{part}\r\n" for part in parts)
    return f"{whole}--{boundary}--\r\n".encode()


def part(name: str = "file", file_name: str | None = "a.txt", data: str = "text") -> str:
    named = f'; filename="{file_name}"' if file_name is not None else ""
    return f'Content-Disposition: form-data; name="{name}"{named}\r\n\r\n{data}'


FORM = "multipart/form-data; boundary=B"


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b"{}", "application/json", 415, "wrong_media"),
        (form(part()), "multipart/form-data", 415, "wrong_media"),
        (form(part()), "multipart/mixed; boundary=B", 415, "wrong_media"),
        (b"", FORM, 400, "invalid"),
        (form(), FORM, 400, "invalid"),
        (form(part("photo")), FORM, 400, "invalid"),
        (form(part(file_name=None)), FORM, 400, "invalid"),
        (form(part(data="")), FORM, 400, "invalid"),
        (form(part(), part()), FORM, 400, "invalid"),
        (form(part(), part("caption", None)), FORM, 400, "invalid"),
        (form(part())[:-20], FORM, 400, "invalid"),
        (form(part())[:-6], FORM, 400, "invalid"),
        (form(part(), boundary="C"), FORM, 400, "invalid"),
        (b"--B\r\n" + b"X: " + b"y" * 10_000 + b"\r\n\r\n", FORM, 400, "invalid"),
        (form(part()).replace(b"a.txt", b"\xff"), FORM, 400, "invalid"),
        (b"\x00" * 5000, FORM, 400, "invalid"),
    ],
)  # fmt: skip
async def test_a_form_without_exactly_one_file_is_refused_and_leaves_nothing(
    trunkline: Trunkline, admin: Client, body: bytes, content_type: str, status: int, code: str
) -> None:
    before, position = stored(trunkline, admin), len(await admin.events())
    response = await admin.call(
        "POST", "/v1/media", content=body, headers={"Content-Type": content_type}
    )
    assert_problem(response, status, code)
    assert (stored(trunkline, admin), len(await admin.events())) == (before, position)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\ann\\plan.txt", "plan.txt"),
        ("a\tb.txt", "ab.txt"),
        ("..", None),
        ("x" * 1000, "x" * 240),
    ],
)
async def test_a_name_is_a_name_and_no_path(admin: Client, sent: str, kept: str | None) -> None:
    response = await admin.call(
        "POST",
        "/v1/media",
        content=form(part(file_name=sent)),
        headers={"Content-Type": FORM},
        expect=201,
    )
    media_id = response.json()["media_id"]
    given = await download(admin, media_id)
    name = given.headers["content-disposition"].partition("''")[2]
    assert name == (kept or media_id)


async def endless(megabytes: int) -> AsyncIterator[bytes]:
    yield b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
    for _ in range(megabytes):
        yield bytes(MB)
    yield b"\r\n--B--\r\n"


async def test_a_file_that_is_too_large_is_refused_and_leaves_nothing(
    trunkline: Trunkline, admin: Client
) -> None:
    before = stored(trunkline, admin)
    content = endless(FILE_BYTES_MAX // MB + 1)
    try:
        response = await admin.call(
            "POST", "/v1/media", content=content, headers={"Content-Type": FORM}
        )
    except (httpx.WriteError, httpx.RemoteProtocolError):
        pass  # The server had answered and gone before all was sent.
    else:
        assert (response.status_code, response.json()["code"]) == (413, "too_large")
    assert stored(trunkline, admin) == before


async def begun(trunkline: Trunkline, client: Client, length: int, content: bytes) -> Any:
    """A connection on which an upload has begun; what comes back, and what else may be sent."""
    port = int(trunkline.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        f"POST /v1/media HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n"
        f"Authorization: Bearer {client.api_key}\r\nContent-Type: {FORM}\r\n\r\n"
    )
    writer.write(head.encode() + content)
    await writer.drain()
    return reader, writer


async def test_what_announces_that_it_is_too_large_is_not_waited_for(
    trunkline: Trunkline, admin: Client
) -> None:
    reader, writer = await begun(trunkline, admin, FILE_BYTES_MAX * 2, b"--B\r\n")
    assert await reader.readline() == b"HTTP/1.1 413 Request Entity Too Large\r\n"
    writer.close()


async def test_a_large_file_passes_through_little_memory(
    trunkline: Trunkline, admin: Client
) -> None:
    """The server is this process: its greatest size hardly grows with 60 MB in and out."""
    await upload(admin)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    response = await admin.call(
        "POST", "/v1/media", content=endless(60), headers={"Content-Type": FORM}, expect=201
    )
    headers = {
        "Authorization": f"Bearer {admin.api_key}",
        "Trunkline-Min-Position": str(admin.position),
    }
    digest, media_id = hashlib.sha256(), response.json()["media_id"]
    async with admin.http.stream("GET", f"/v1/media/{media_id}", headers=headers) as given:
        assert given.status_code == 200
        async for chunk in given.aiter_bytes():
            digest.update(chunk)
    assert digest.digest() == hashlib.sha256(bytes(60 * MB)).digest()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 30 * 1024  # KiB.


async def test_whoever_hangs_up_leaves_nothing(trunkline: Trunkline, admin: Client) -> None:
    before = stored(trunkline, admin)
    head = await anext(endless(0))
    _, writer = await begun(trunkline, admin, MB, head + bytes(MB // 2))

    async def more() -> int:
        return len(stored(trunkline, admin)) - len(before)

    await eventually(more, 1)
    writer.close()
    await eventually(more, 0)


async def test_the_same_key_gives_the_same_file(trunkline: Trunkline, admin: Client) -> None:
    headers = {"Idempotency-Key": "photo-1"}
    first, again = [
        (await try_to_upload(admin, expect=201, headers=headers)).json() for _ in range(2)
    ]
    before = stored(trunkline, admin)
    assert first == again
    other = await try_to_upload(admin, PNG, "photo.jpg", "image/png", headers=headers)
    assert_problem(other, 422, "idempotency_key_reused")
    bad = await try_to_upload(admin, headers={"Idempotency-Key": "a b"})
    assert_problem(bad, 400, "invalid")
    assert stored(trunkline, admin) == before


# Who may.


async def test_only_those_who_may_write_put_files_here(trunkline: Trunkline, admin: Client) -> None:
    for role, services, status in [
        ("agent", {"crm": "reply"}, 201),
        ("supervisor", {"crm": "view", "desk": "reply"}, 201),
        ("agent", {"crm": "view"}, 403),
        ("supervisor", {"crm": "view"}, 403),
        ("auditor", {}, 403),
    ]:
        client = await admin.user(role, services)
        assert (await try_to_upload(client)).status_code == status, (role, services)
    key = await admin.post(
        "/v1/api-keys",
        {"user_id": admin.user_id, "name": "reads", "scopes": ["read"]},
        expect=201,
    )
    reads_only = Client(admin.http, key["key"])
    assert_problem(await try_to_upload(reads_only), 403, "forbidden")


async def test_until_it_is_sent_a_file_is_its_uploaders_alone(
    trunkline: Trunkline, admin: Client
) -> None:
    agent = await admin.user("agent", {"crm": "reply"})
    media_id = await upload(agent)
    assert (await download(agent, media_id)).content == JPEG
    other_org = await trunkline.organisation("Other")
    await other_org.services("crm")
    nobodys = (await download(admin, "2" * 26, expect=404)).json()
    for client in (admin, await admin.user("auditor", {}), other_org):
        client.position = 0
        await asyncio.sleep(0)
        assert (await download(client, media_id, expect=404)).json() == nobodys
    for strange in ("x", "%00", "..%2f..%2fmaster.key", media_id.upper()):
        await download(agent, strange, expect=404)


# Icons of channels (C9, S12).


async def test_a_channel_has_an_icon_that_everybody_in_the_org_may_see(
    trunkline: Trunkline, admin: Client
) -> None:
    channel = await admin.connect("crm", trunkline.account())
    await admin.connect("desk", channel["account_id"])
    assert channel["icon_media_id"] is None
    media_id = await upload(admin, PNG, "logo.png", "image/png")
    path = f"/v1/services/crm/channels/{channel['id']}"
    changed = await admin.patch(path, {"icon_media_id": media_id})
    assert changed["icon_media_id"] == media_id
    assert (await admin.get(f"/v1/channels/{channel['id']}"))["icon_media_id"] == media_id
    for client in (admin, await admin.user("agent", {"desk": "view"})):
        client.position = admin.position
        given = await download(client, media_id)
        assert (given.content, given.headers["content-type"]) == (PNG, "image/png")
    other_org = await trunkline.organisation("Other")
    await download(other_org, media_id, expect=404)
    # The parent's alone.
    of_desk = f"/v1/services/desk/channels/{channel['id']}"
    body = {"icon_media_id": media_id}
    assert_problem(await admin.call("PATCH", of_desk, json=body), 403, "not_parent")
    renamed = await admin.patch(path, {"name": "Front desk"})
    assert (renamed["name"], renamed["icon_media_id"]) == ("Front desk", media_id)


@pytest.mark.parametrize(
    ("data", "mime_type", "status", "code"),
    [
        (WEBP, "image/webp", 415, "wrong_media"),
        (PDF, "application/pdf", 415, "wrong_media"),
        (PNG + bytes(MB), "image/png", 413, "too_large"),
    ],
)
async def test_an_icon_is_a_small_jpg_or_png(
    trunkline: Trunkline, admin: Client, data: bytes, mime_type: str, status: int, code: str
) -> None:
    channel = await admin.connect("crm", trunkline.account())
    media_id = await upload(admin, data, "logo", mime_type)
    path = f"/v1/services/crm/channels/{channel['id']}"
    answer = await admin.call("PATCH", path, json={"icon_media_id": media_id})
    assert_problem(answer, status, code)
    for unknown in ("x", "2" * 26):
        answer = await admin.call("PATCH", path, json={"icon_media_id": unknown})
        assert_problem(answer, 404, "not_found")


# What nobody sends (E4).


async def test_what_nobody_sent_in_time_is_removed(trunkline: Trunkline) -> None:
    admin, parts = await trunkline.organisation(), trunkline.parts
    await admin.services("crm")
    icon_of = await admin.connect("crm", trunkline.account())
    icon, forgotten = await upload(admin, PNG, "logo.png", "image/png"), await upload(admin)
    path = f"/v1/services/crm/channels/{icon_of['id']}"
    await admin.patch(path, {"icon_media_id": icon})
    await download(admin, forgotten)
    live = LiveBuilds(parts.all_orgs, PROJECTIONS)
    for hours, left in ((24, 2), (26, 1), (26, 1)):
        now = parts.clock.now() + timedelta(hours=hours)
        await remove_forgotten(live, parts.directory, parts.media.store, now=now)
        assert len(stored(trunkline, admin)) == left
    await download(admin, icon)
    await download(admin, forgotten, expect=404)


async def test_nothing_is_removed_of_an_organisation_that_is_not_followed(
    trunkline: Trunkline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody seems to have sent may be in an event that its projection cannot take."""
    admin, parts = await trunkline.organisation(), trunkline.parts
    await admin.services("crm")
    icon_of = await admin.connect("crm", trunkline.account())
    icon = await upload(admin, PNG, "logo.png", "image/png")
    await download(admin, icon)
    apply = Media.apply

    async def fails(
        self: Media, connection: Connection, org: int, batch: Sequence[Recorded]
    ) -> None:
        assert not any(isinstance(each.event, IconChanged) for each in batch)
        await apply(self, connection, org, batch)

    live = LiveBuilds(parts.all_orgs, PROJECTIONS)
    now = parts.clock.now() + timedelta(hours=26)
    with monkeypatch.context() as context:
        context.setattr(Media, "apply", fails)
        context.setattr("api.reading.WAIT_SECONDS", 0.1)  # For what does not come.
        await admin.patch(f"/v1/services/crm/channels/{icon_of['id']}", {"icon_media_id": icon})
        await remove_forgotten(live, parts.directory, parts.media.store, now=now)
        assert len(stored(trunkline, admin)) == 1


async def test_after_a_day_an_upload_is_nobodys(trunkline: Trunkline, admin: Client) -> None:
    """Its key is purged with all that is expired, so no copy of it can be read either."""
    media_id = await upload(admin)
    url = trunkline.database.migration_url
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as database:
        later = trunkline.parts.clock.now() + timedelta(hours=25)
        await database.execute("SELECT trunkline.purge_expired(%s)", [later])
    await download(admin, media_id, expect=404)
