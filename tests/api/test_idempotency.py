"""Idempotency-Key: a request that comes again gets what it got, and does nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import psycopg
import pytest

from api.main import core
from api.processes import projecting
from tests.api.conftest import TOKEN, Client, Trunkline, in_process
from tests.api.operations import Office, is_public, office_of, operations
from tests.api.problems import assert_problem
from tests.api.test_roles import PREPARATIONS

USER = {"name": "Ken", "role": "agent"}


@pytest.fixture(scope="module")
async def office(trunkline: Trunkline) -> Office:
    return await office_of(trunkline, "crm", "desk")


async def post_user(
    client: Client, key: str, body: Any = USER, *, expect: int | None = 201
) -> httpx.Response:
    headers = {"Idempotency-Key": key}
    return await client.call("POST", "/v1/users", json=body, headers=headers, expect=expect)


async def secrets_of(trunkline: Trunkline, account_id: str) -> tuple[Any, ...] | None:
    """Who holds an account, and its sealed credentials."""
    async with await psycopg.AsyncConnection.connect(trunkline.database.migration_url) as database:
        rows = await database.execute(
            "SELECT org, held, secrets FROM trunkline.accounts WHERE account_id = %s", [account_id]
        )
        return await rows.fetchone()


async def written_by_users(office: Office) -> list[int]:
    """The log without what the platform and the dispatcher tell meanwhile."""
    events = await office.admin.events()
    return [each["position"] for each in events if "user_id" in each["data"]]


async def test_every_write_that_comes_again_changes_nothing_and_is_answered_the_same(
    office: Office,
) -> None:
    """That status, those ids and that position, and a body built from them."""
    for method, template in await operations(office.admin.http):
        operation = f"{method} {template}"
        if method == "GET" or is_public(template) or template.endswith(("/replay", "/quotes")):
            continue
        prepare = PREPARATIONS.get(operation)
        names = await prepare(office) if prepare else {}
        path, body = office.path(template, **names), office.arguments(method, template, **names)
        headers = {"Idempotency-Key": "again"}
        first = await office.admin.call(method, path, headers=headers, **body)
        assert first.status_code < 300, (operation, first.text)
        before = await written_by_users(office)
        again = await office.admin.call(method, path, headers=headers, **body)
        assert await written_by_users(office) == before, operation
        assert again.status_code == first.status_code, operation
        assert again.headers["trunkline-position"] == first.headers["trunkline-position"], operation
        assert _ids(again.json()) == _ids(first.json()), operation


def _ids(body: Any) -> Any:
    return {key: value for key, value in body.items() if key == "id" or key.endswith("_id")}


async def test_a_new_write_with_a_new_key_is_another_one(office: Office) -> None:
    first, second = await post_user(office.admin, "one"), await post_user(office.admin, "two")
    assert first.json()["id"] != second.json()["id"]


async def test_the_same_key_with_another_body_is_refused_and_writes_nothing(office: Office) -> None:
    await post_user(office.admin, "other-body")
    before = await written_by_users(office)
    for body in ({**USER, "name": "Kenji"}, {"role": "agent", "name": "Ken"}):
        response = await post_user(office.admin, "other-body", body, expect=422)
        assert_problem(response, 422, "idempotency_key_reused")
    assert await written_by_users(office) == before


async def test_a_key_is_scoped_to_its_user_method_and_path(office: Office) -> None:
    admin = office.admin
    second = await admin.user("admin", {})
    key = {"Idempotency-Key": "scoped"}
    mine, theirs = await post_user(admin, "scoped"), await post_user(second, "scoped")
    assert mine.json()["id"] != theirs.json()["id"]
    paths = [f"/v1/users/{made.json()['id']}" for made in (mine, theirs)]
    for path in paths:
        changed = await admin.call("PATCH", path, json={"away": True}, headers=key, expect=200)
        assert changed.json()["away"]
    service = "/v1/services/scoped"
    put = {"subscription": "bundled"}
    assert (await admin.call("PUT", service, json=put, headers=key)).status_code == 200
    assert (await admin.call("POST", f"{service}/visit", headers=key)).status_code == 200


async def test_a_key_of_one_organisation_is_nothing_in_another(office: Office) -> None:
    stranger = await office.trunkline.organisation("Other")
    mine, theirs = await post_user(office.admin, "shared"), await post_user(stranger, "shared")
    assert mine.json()["id"] != theirs.json()["id"]
    assert (await post_user(stranger, "shared", {**USER, "role": "admin"}, expect=None)).is_error


async def test_of_twenty_at_once_one_has_an_effect(office: Office) -> None:
    answers = await asyncio.gather(*(post_user(office.admin, "twenty") for _ in range(20)))
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len({answer.headers["trunkline-position"] for answer in answers}) == 1
    chat = office.path("/v1/services/{service}/chats/{chat_id}/messages")
    body = {"kind": "text", "text": "only once"}
    headers = {"Idempotency-Key": "twenty"}
    answers = await asyncio.gather(
        *(
            office.admin.call("POST", chat, json=body, headers=headers, expect=202)
            for _ in range(20)
        )
    )
    assert len({answer.json()["id"] for answer in answers}) == 1
    timeline = await office.admin.messages("crm", office.names["chat_id"])
    assert [each["content"].get("text") for each in timeline].count("only once") == 1


async def test_of_two_bodies_at_once_one_wins(office: Office) -> None:
    answers = await asyncio.gather(
        *(
            post_user(office.admin, "race", {**USER, "name": f"Ken {number % 2}"}, expect=None)
            for number in range(10)
        )
    )
    taken = {answer.json()["id"] for answer in answers if answer.status_code == 201}
    assert len(taken) == 1
    assert [answer.status_code for answer in answers].count(422) == 5


async def test_refusals_are_decided_again(office: Office) -> None:
    """They write nothing, so that a request that was mended meanwhile goes through."""
    body = {**USER, "services": {"later": "view"}}
    refused = await post_user(office.admin, "later", body, expect=400)
    assert_problem(refused, 400, "invalid")
    await office.admin.services("later")
    await post_user(office.admin, "later", body, expect=201)
    await post_user(office.admin, "later", {**body, "name": "Kenji"}, expect=422)


@asynccontextmanager
async def another_server(trunkline: Trunkline) -> AsyncIterator[httpx.AsyncClient]:
    """A new process's worth of Trunkline on the same database."""
    async with core(trunkline.settings, trunkline.database) as parts, projecting(parts):
        transport = in_process(parts)
        async with httpx.AsyncClient(base_url="http://other", transport=transport) as http:
            yield http


async def test_a_repetition_is_known_after_a_restart_and_elsewhere(office: Office) -> None:
    first = await post_user(office.admin, "restart")
    async with another_server(office.trunkline) as http:
        elsewhere = Client(http, office.admin.api_key)
        again = await post_user(elsewhere, "restart")
        assert again.json() == first.json()
        assert again.headers["trunkline-position"] == first.headers["trunkline-position"]
        await post_user(elsewhere, "restart", {**USER, "name": "Kenji"}, expect=422)


async def test_of_repetitions_at_two_servers_one_has_an_effect(office: Office) -> None:
    async with another_server(office.trunkline) as http:
        clients = (office.admin, Client(http, office.admin.api_key))
        answers = await asyncio.gather(
            *(post_user(clients[number % 2], "both") for number in range(10))
        )
    assert len({answer.json()["id"] for answer in answers}) == 1


@pytest.mark.parametrize("key", ["", "a b", "a\tb", "\u00e9", "x" * 256])
async def test_a_key_that_is_not_visible_ascii_is_refused(office: Office, key: str) -> None:
    """1 to 255 visible ASCII characters, once."""
    headers = [(b"Idempotency-Key", key.encode("latin-1"))]
    response = await office.admin.http.post(
        "/v1/users",
        json=USER,
        headers=[*headers, (b"Authorization", f"Bearer {office.admin.api_key}".encode())],
    )
    assert_problem(response, 400, "invalid", field="Idempotency-Key")


async def test_two_keys_are_refused_and_the_longest_is_taken(office: Office) -> None:
    longest = "~" * 255
    made = await post_user(office.admin, longest)
    assert (await post_user(office.admin, longest)).json() == made.json()
    response = await office.admin.http.post(
        "/v1/users",
        json=USER,
        headers=[
            ("Authorization", f"Bearer {office.admin.api_key}"),
            ("Idempotency-Key", "a"),
            ("Idempotency-Key", "a"),
        ],
    )
    assert_problem(response, 400, "invalid", field="Idempotency-Key")


# What is written beside the log is not written by a repetition either.


async def test_a_refused_repetition_takes_no_account(office: Office) -> None:
    org, account, second = office.admin, office.trunkline.account(), office.trunkline.account()
    body = {"service": "crm", "platform": "whatsapp", "name": "Main", "account_id": account}
    headers = {"Idempotency-Key": "connect"}
    await org.call("POST", "/v1/channels", json=body, headers=headers, expect=201)
    changed = {**body, "account_id": second}
    await org.call("POST", "/v1/channels", json=changed, headers=headers, expect=422)
    assert await secrets_of(office.trunkline, second) is None


async def test_a_repetition_does_not_take_a_released_account_again(office: Office) -> None:
    org, account = office.admin, office.trunkline.account()
    body = {"service": "crm", "platform": "whatsapp", "name": "Main", "account_id": account}
    headers = {"Idempotency-Key": "connect-and-release"}
    made = await org.call("POST", "/v1/channels", json=body, headers=headers, expect=201)
    channel = f"/v1/channels/{made.json()['id']}"
    await org.delete(f"{channel}/services/crm")
    await org.delete(channel)
    again = await org.call("POST", "/v1/channels", json=body, headers=headers, expect=201)
    assert again.headers["trunkline-position"] == made.headers["trunkline-position"]
    holder = await secrets_of(office.trunkline, account)
    assert holder is not None
    assert holder[1] is False


async def test_a_repetition_does_not_bring_old_credentials_back(office: Office) -> None:
    org, account = office.admin, office.names["account_id"]
    path = office.path("/v1/services/{service}/channels/{channel_id}")
    old, headers = {"credentials": {"access_token": TOKEN}}, {"Idempotency-Key": "credentials"}
    await org.call("PATCH", path, json=old, headers=headers, expect=200)
    await org.patch(path, {"credentials": {"access_token": "newer"}})
    newer = await secrets_of(office.trunkline, account)
    await org.call("PATCH", path, json=old, headers=headers, expect=200)
    third = {"credentials": {"access_token": "third"}}
    await org.call("PATCH", path, json=third, headers=headers, expect=422)
    assert await secrets_of(office.trunkline, account) == newer
    await org.patch(path, old)
