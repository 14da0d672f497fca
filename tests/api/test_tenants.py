"""Nothing crosses from one organisation to another: another's id is as good as nobody's.

Two offices with everything in them; what one has, the other names in every place there is: paths,
bodies, queries, cursors, idempotency keys (R2, OWASP API1:2023).
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from tests.api.conftest import Trunkline
from tests.api.operations import (
    BODIES,
    NOBODYS_ACCOUNT,
    NOBODYS_ID,
    Office,
    Operation,
    is_public,
    office_of,
    operations,
    positions,
)

# What names something of one organisation, and what of the same form names nothing.
NOBODYS = {
    "service": "nobodys",
    "channel_id": NOBODYS_ID,
    "chat_id": NOBODYS_ID,
    "message_id": NOBODYS_ID,
    "user_id": NOBODYS_ID,
    "key_id": NOBODYS_ID,
    "media_id": NOBODYS_ID,
    "account_id": NOBODYS_ACCOUNT,
}
MAKES_SOMETHING_NEW = {
    ("PUT", "/v1/services/{service}", "service"),
    # Whoever names an account first has it; whose it is has a test of its own.
    ("POST", "/v1/channels", "account_id"),
}


@pytest.fixture(scope="module")
async def acme(trunkline: Trunkline) -> Office:
    return await office_of(trunkline, "acme-s", "desk")  # With a sign that stands in no id.


@pytest.fixture(scope="module")
async def other(trunkline: Trunkline) -> Office:
    return await office_of(trunkline, "crm", "desk")


@pytest.fixture(autouse=True)
async def nothing_is_written(acme: Office, other: Office) -> AsyncIterator[None]:
    """Invariant: neither log moves, whatever the other names."""
    before = await positions(acme.trunkline)
    yield
    assert await positions(acme.trunkline) == before


def named_in(value: Any) -> Iterator[str]:
    """What a body names of the office."""
    match value:
        case str() if value[1:-1] in NOBODYS:
            yield value[1:-1]
        case dict():
            for key, each in value.items():
                yield from named_in(key)
                yield from named_in(each)
        case list():
            for each in value:
                yield from named_in(each)


async def places(http: httpx.AsyncClient) -> list[tuple[Operation, str, str]]:
    """Every operation with each name in it, and whether it stands in the path or the body."""
    found = []
    for method, path in await operations(http):
        if is_public(path):
            continue
        inside = [part[1:-1] for part in path.split("/") if part[1:-1] in NOBODYS]
        found += [((method, path), name, "path") for name in inside]
        body = named_in(BODIES.get(f"{method} {path}"))
        found += [((method, path), name, "body") for name in body if name not in inside]
    return found


async def ask(office: Office, operation: Operation, where: str, **others: str) -> httpx.Response:
    """Ask with another name in one place; everything else is the office's own."""
    method, template = operation
    path = office.path(template, **(others if where == "path" else {}))
    body = office.body(method, template, **others)
    return await office.admin.call(method, path, json=body)


async def test_anothers_id_is_answered_like_nobodys(acme: Office, other: Office) -> None:
    """Spec R2: unknown ids and other orgs' ids look the same, and are 404 in a path."""
    tried = await places(other.admin.http)
    assert len(tried) > 40
    for operation, name, where in tried:
        if (*operation, name) in MAKES_SOMETHING_NEW:
            continue
        theirs, nobodys = acme.names[name], NOBODYS[name]
        answer = await ask(other, operation, where, **{name: theirs})
        expected = await ask(other, operation, where, **{name: nobodys})
        told = (operation, name, where)
        assert answer.status_code == expected.status_code, told
        assert answer.status_code in ((404,) if where == "path" else (400, 404)), told
        assert answer.text.replace(theirs, "-") == expected.text.replace(nobodys, "-"), told
        assert set(answer.headers) == set(expected.headers), told


async def test_all_of_anothers_ids_together_are_answered_like_nobodys(
    acme: Office, other: Office
) -> None:
    for method, template in await operations(other.admin.http):
        if is_public(template) or not any(f"{{{name}}}" in template for name in NOBODYS):
            continue
        if (method, template, "service") in MAKES_SOMETHING_NEW:
            continue
        body = acme.body(method, template)
        answer = await other.admin.call(method, acme.path(template), json=body)
        expected = await other.admin.call(
            method,
            other.path(template, **NOBODYS),
            json=other.body(method, template, **NOBODYS),
        )
        theirs, nobodys = answer.text, expected.text
        for name in NOBODYS:
            theirs = theirs.replace(acme.names[name], "-")
            nobodys = nobodys.replace(NOBODYS[name], "-")
        assert (answer.status_code, theirs) == (404, nobodys), (method, template)


async def test_who_holds_an_account_is_not_told(acme: Office, other: Office) -> None:
    """Spec S15."""
    answer = await ask(other, ("POST", "/v1/channels"), "body", account_id=acme.names["account_id"])
    assert answer.json() == {
        "type": "https://trunkline.dev/problems/account_taken",
        "title": "Account taken",
        "status": 409,
        "detail": "This account belongs to another organisation until its admin releases it.",
        "code": "account_taken",
    }


async def test_a_filter_that_names_anothers_finds_nothing(acme: Office, other: Office) -> None:
    chats = other.path("/v1/services/{service}/chats")
    for query, mine in (
        ("channel={channel_id}", 1),
        ("owner={user_id}", 0),
    ):
        found = []
        for office in (other, acme):
            page = await other.admin.get(f"{chats}?{query.format(**office.names)}")
            found.append(len(page["items"]))
        assert found == [mine, 0]
    for stream in ("chat:{chat_id}", "channel:{channel_id}", "account:whatsapp:{account_id}"):
        theirs = await other.admin.events(stream=stream.format(**acme.names))
        mine_ = await other.admin.events(stream=stream.format(**other.names))
        assert (bool(mine_), theirs) == (True, [])


async def test_anothers_cursor_shows_only_what_is_ones_own(acme: Office, other: Office) -> None:
    async def ids(office: Office, path: str) -> list[str]:
        page = await office.admin.get(office.path(path))
        return [each["id"] for each in page["items"]]

    for path in (
        "/v1/users",
        "/v1/api-keys",
        "/v1/services/{service}/chats/{chat_id}/messages",
    ):
        page = await acme.admin.get(f"{acme.path(path)}?limit=1")
        assert page["next_cursor"] is not None
        mine = set(await ids(other, f"{path}?limit=200"))
        query = f"?limit=1&cursor={page['next_cursor']}"
        if "{" in path:  # It is the list of another chat.
            await other.admin.get(f"{other.path(path)}{query}", expect=400)
        else:
            assert set(await ids(other, f"{path}{query}")) <= mine
        assert not mine & set(await ids(acme, f"{path}?limit=200"))


async def test_lists_and_logs_hold_nothing_of_another(acme: Office, other: Office) -> None:
    """Every list, with the ids and names of the other office searched in its bytes."""
    theirs = {acme.names[name] for name in NOBODYS} | {acme.admin.user_id}
    for method, template in await operations(other.admin.http):
        if method != "GET" or is_public(template):
            continue
        answer = await other.admin.call(
            "GET", other.path(template), params=other.query(method, template), expect=200
        )
        assert not [each for each in theirs if each in answer.text], template


async def test_a_key_belongs_to_its_organisation_alone(acme: Office, other: Office) -> None:
    """Revoking or listing is of one's own keys; making one is for one's own users."""
    shown = (await other.admin.get("/v1/api-keys"))["items"]
    assert acme.names["key_id"] not in [key["id"] for key in shown]
    await other.admin.call("DELETE", other.path("/v1/api-keys/{key_id}", **acme.names), expect=404)
    keys = (await acme.admin.get("/v1/api-keys"))["items"]
    assert {key["id"]: key["revoked_at"] for key in keys}[acme.names["key_id"]] is None
