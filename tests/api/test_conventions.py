"""What holds for every route: positions, lists, refusals, times."""

import asyncio
import base64
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import httpx
import psycopg
import pytest

from api.problems import STATUS_CODES
from domain.refusal import Refusal
from tests.api.conftest import Client, Trunkline, text_webhook
from tests.api.deliveries import now
from tests.api.operations import Office, is_public, office_of, operations
from tests.api.problems import assert_problem
from tests.api.test_document import ONLY_READ
from tests.api.test_roles import PREPARATIONS

WAIT_SECONDS_MAX = 5.0
SLACK_SECONDS = 3.0  # For a busy machine.
FAR_AWAY = 10**15
USER = {"name": "Ken", "role": "agent"}


@pytest.fixture(scope="module")
async def office(trunkline: Trunkline) -> Office:
    return await office_of(trunkline, "crm", "desk")


async def reads(office: Office) -> list[str]:
    """The path of every read that needs a key."""
    return [
        f"{office.path(template)}?{urlencode(office.query(method, template))}".rstrip("?")
        for method, template in await operations(office.admin.http)
        if method == "GET" and not is_public(template)
    ]


async def test_no_cache_keeps_an_answer_nor_a_refusal(office: Office) -> None:
    answers = [await office.admin.call("GET", path) for path in await reads(office)]
    answers.append(await office.admin.call("GET", "/v1/nowhere", expect=404))
    answers.append(await office.admin.http.get("/v1/users"))
    assert {200, 401, 404} <= {answer.status_code for answer in answers}
    for answer in answers:
        assert "no-store" in answer.headers["cache-control"], answer.url


# Positions.


async def test_positions_are_1_2_3_without_a_gap_in_each_organisation(trunkline: Trunkline) -> None:
    for org in [await trunkline.organisation(name) for name in ("Acme", "Other")]:
        await asyncio.gather(*(org.services(f"service-{number}") for number in range(20)))
        found = [each["position"] for each in await org.events()]
        assert found == list(range(1, len(found) + 1))
        assert len(found) > 20


async def test_every_write_says_the_position_that_it_produced(office: Office) -> None:
    """That is where a read finds it, and no later than the log is."""
    for method, template in await operations(office.admin.http):
        operation = f"{method} {template}"
        if method == "GET" or is_public(template) or template.endswith(ONLY_READ):
            continue
        names = await PREPARATIONS[operation](office) if operation in PREPARATIONS else {}
        before = await last_position(office.admin)
        path = office.path(template, **names)
        arguments = office.arguments(method, template, **names)
        response = await office.admin.call(method, path, **arguments)
        assert response.status_code < 300, (operation, response.text)
        position = int(response.headers["trunkline-position"])
        assert before <= position <= await last_position(office.admin), operation


async def test_a_write_that_changes_nothing_says_where_that_was_decided(
    trunkline: Trunkline,
) -> None:
    org, service = await trunkline.organisation(), {"subscription": "bundled", "masking": "none"}
    first = await org.call("PUT", "/v1/services/bigin", json=service, expect=200)
    await org.post("/v1/users", USER, expect=201)
    newest = await last_position(org)
    again = await org.call("PUT", "/v1/services/bigin", json=service, expect=200)
    assert again.json() == first.json()
    assert int(first.headers["trunkline-position"]) < newest
    assert (int(again.headers["trunkline-position"]), await last_position(org)) == (newest, newest)


async def last_position(org: Client) -> int:
    positions = [each["position"] for each in await org.events()]
    return int(positions[-1])


# Trunkline-Min-Position.


@pytest.mark.parametrize(
    "path", ["/v1/users", "/v1/channels", "/v1/services/crm/chats", "/v1/events?limit=10000"]
)
async def test_a_read_waits_for_the_position_it_asks_for(trunkline: Trunkline, path: str) -> None:
    """From projections, from the log's state and from the log."""
    org = await trunkline.organisation()
    await org.services("crm")
    wanted = {"Trunkline-Min-Position": str(await last_position(org) + 1)}
    reading = asyncio.create_task(org.call("GET", path, headers=wanted))
    await asyncio.sleep(0.3)
    assert not reading.done()
    await org.post("/v1/users", USER, expect=201)
    response = await asyncio.wait_for(reading, SLACK_SECONDS)
    assert response.status_code == 200
    assert ("Ken" in response.text or "user_added" in response.text) == (
        path.startswith(("/v1/users", "/v1/events"))
    )


async def test_a_read_whose_position_does_not_come_is_behind(office: Office) -> None:
    """Whatever is read; it waits five seconds at most and says when to come again."""
    wanted = {"Trunkline-Min-Position": str(FAR_AWAY)}
    paths = await reads(office)
    started = time.monotonic()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(raw(office.admin, path, wanted)) for path in paths]
    assert time.monotonic() - started < WAIT_SECONDS_MAX + SLACK_SECONDS
    answers = {path: task.result() for path, task in zip(paths, tasks, strict=True)}
    assert {path: (status, body["code"]) for path, (status, _, body) in answers.items()} == (
        dict.fromkeys(paths, (503, "behind"))
    )
    assert all(int(retry_after) >= 1 for _, retry_after, _ in answers.values())


async def raw(client: Client, path: str, headers: dict[str, str]) -> tuple[int, str, Any]:
    """A read that may be answered 503: status, Retry-After, body."""
    key = {"Authorization": f"Bearer {client.api_key}"}
    response = await client.http.get(path, headers={**key, **headers})
    return response.status_code, response.headers.get("retry-after", "0"), response.json()


@asynccontextmanager
async def projections_standing_still(trunkline: Trunkline) -> AsyncIterator[None]:
    """Nobody can move a checkpoint meanwhile; everything else goes on."""
    async with await psycopg.AsyncConnection.connect(trunkline.database.migration_url) as database:
        await database.execute("LOCK TABLE trunkline.checkpoints IN EXCLUSIVE MODE")
        yield
        await database.rollback()


async def test_what_a_projection_shows_is_behind_while_it_stands_still(office: Office) -> None:
    """What is answered from the log's own state is not."""
    org = office.admin
    async with projections_standing_still(office.trunkline):
        made = await org.call("POST", "/v1/users", json=USER, expect=201)
        wanted = {"Trunkline-Min-Position": made.headers["trunkline-position"]}
        status, retry_after, body = await raw(org, office.path("/v1/channels"), wanted)
        assert (status, body["code"], retry_after) == (503, "behind", "1")
        await org.call("GET", "/v1/channels", expect=200)
        users = await org.call("GET", "/v1/users?limit=200", headers=wanted, expect=200)
        assert made.json() in users.json()["items"]
    await org.call("GET", "/v1/channels", headers=wanted, expect=200)


async def test_a_write_that_cannot_be_shown_yet_is_behind_and_done_once(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer is there when it is repeated; it is never our mistake, nor not found."""
    monkeypatch.setattr("api.reading.WAIT_SECONDS", 0.1)
    org, account = office.admin, office.trunkline.account()
    reply = {"kind": "text", "text": "Once"}
    channel = {"service": "crm", "platform": "whatsapp", "account_id": account, "name": "Late"}
    writes = {
        office.path("/v1/services/{service}/chats/{chat_id}/messages"): (reply, 202),
        "/v1/channels": ({**channel, "credentials": {"access_token": "EAAG"}}, 201),
    }
    headers = {"Idempotency-Key": "behind"}
    async with projections_standing_still(office.trunkline):
        for path, (body, _) in writes.items():
            response = await org.call("POST", path, json=body, headers=headers, expect=503)
            assert_problem(response, 503, "behind")
            assert response.headers["retry-after"] == "1"
    monkeypatch.undo()
    for path, (body, status) in writes.items():
        await org.call("POST", path, json=body, headers=headers, expect=status)
    timeline = await org.messages(office.names["service"], office.names["chat_id"])
    assert [each["content"].get("text") for each in timeline].count("Once") == 1


async def test_a_position_that_is_none_is_refused_wherever_something_is_read(
    office: Office,
) -> None:
    for path in await reads(office):
        for value in ("-1", "1.0", "five", "", "+1", "1e3", "٣", str(2**63), "9" * 5_000):
            headers = {"Trunkline-Min-Position": value.encode()}
            response = await office.admin.call("GET", path, headers=headers)
            assert_problem(response, 400, "invalid", field="Trunkline-Min-Position")
        most = {"Trunkline-Min-Position": "0"}
        await office.admin.call("GET", path, headers=most, expect=200)


# Lists.


async def lists(office: Office) -> list[str]:
    """The path of every list that comes in pages of items."""
    document = office.trunkline.openapi.document
    return [
        office.path(template)
        for template, methods in document["paths"].items()
        if any(each["name"] == "cursor" for each in methods.get("get", {}).get("parameters", ()))
    ]


async def test_a_list_comes_in_pages_of_1_to_200_items(office: Office) -> None:
    tried = await lists(office)
    assert len(tried) >= 5
    for path in tried:
        for limit in (1, 200):
            page = await office.admin.get(f"{path}?limit={limit}")
            assert page.keys() == {"items", "next_cursor"}
            assert len(page["items"]) <= limit
        for limit in (0, 201, -1):
            response = await office.admin.call("GET", f"{path}?limit={limit}")
            assert_problem(response, 400, "invalid", field="limit")


async def test_a_page_has_50_items_unless_it_is_asked_for_more(trunkline: Trunkline) -> None:
    org, account = await trunkline.organisation(), trunkline.account()
    await org.services("crm")
    await org.connect("crm", account)
    for number in range(60):
        phone, wamid = f"120255{number:05}", f"wamid.list{number}"
        webhook = text_webhook(
            "hello", phone=phone, wamid=wamid, timestamp=now(), account_id=account
        )
        await trunkline.deliver(webhook)
        again = {**webhook["entry"][0]["changes"][0]["value"]["messages"][0]}
        again |= {"from": "12025551234", "id": f"wamid.same{number}"}
        webhook["entry"][0]["changes"][0]["value"]["messages"] = [again]
        await trunkline.deliver(webhook)
        await org.post("/v1/users", {**USER, "name": f"Ken {number}"}, expect=201)
    await org.settled()
    chats = await org.get("/v1/services/crm/chats?limit=200")
    busiest = next(each for each in chats["items"] if each["customer"]["address"].endswith("1234"))
    for path, total in (
        ("/v1/users", 61),
        ("/v1/services/crm/chats", 61),
        (f"/v1/services/crm/chats/{busiest['id']}/messages", 60),
    ):
        page = await org.get(path)
        assert len(page["items"]) == 50, path
        rest = await org.get(f"{path}?cursor={page['next_cursor']}")
        assert (len(rest["items"]), rest["next_cursor"]) == (total - 50, None), path


async def test_pages_hold_everything_once_while_new_rows_arrive(trunkline: Trunkline) -> None:
    """Of users, keys and channels; chats and messages have a test of their own."""
    org = await trunkline.organisation()
    await org.services("crm", "bigin")
    for number in range(10):
        await org.user("agent", {"crm": "view"}, name=f"Ken {number}")
        await org.connect("crm", trunkline.account())
    for path in ("/v1/users", "/v1/api-keys", "/v1/channels"):
        before = {each["id"] for each in (await org.get(f"{path}?limit=200"))["items"]}
        found: list[str] = []
        cursor = ""
        while True:
            page = await org.get(f"{path}?limit=3{cursor}")
            found += [each["id"] for each in page["items"]]
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
            await org.user("agent", {"crm": "view"}, name="Newcomer")
            await org.connect("crm", trunkline.account())
        assert len(found) == len(set(found)), path
        assert before <= set(found), path


def tampered(cursor: str) -> list[str]:
    """What somebody might make of a cursor of ours."""
    held = json.loads(base64.urlsafe_b64decode(cursor + "=="))
    others: tuple[object, ...] = (
        [],
        [*held, *held],
        [None] * len(held),
        [{}] * len(held),
        [True] * len(held),
        [10**30] * len(held),
        ["a\0b"] * len(held),
        {"0": held},
        held[0],
        None,
    )
    packed = [base64.urlsafe_b64encode(json.dumps(each).encode()).decode() for each in others]
    return [*(each.rstrip("=") for each in packed), "", "x", cursor[1:], f"{cursor}AAAA", "%00"]


async def test_a_cursor_that_is_none_of_ours_is_refused(office: Office) -> None:
    org = office.admin
    await office.trunkline.says("hi", account_id=office.names["account_id"], phone="12025550177")
    await org.connect("crm", office.trunkline.account())
    await org.put(f"/v1/services/{office.names['service']}/canned/bye", {"text": "Goodbye"})
    template = office.body("PUT", "/v1/accounts/{account_id}/templates/{name}/{language}")
    await org.put(f"/v1/accounts/{office.names['account_id']}/templates/farewell/en", template)
    await org.settled()
    for path in await lists(office):
        page = await org.get(f"{path}?limit=1")
        if page["next_cursor"] is None:
            assert path.endswith("/decisions")  # It takes a row of successions to have two.
            continue
        for cursor in tampered(page["next_cursor"]):
            response = await org.call("GET", f"{path}?cursor={cursor}")
            assert_problem(response, 400, "invalid", field="cursor")


async def test_a_cursor_of_another_list_is_refused(office: Office) -> None:
    """It would show a page of this one, and a wrong one."""
    org = office.admin
    pages = {path: await org.get(f"{path}?limit=1") for path in await lists(office)}
    cursors = {path: page["next_cursor"] for path, page in pages.items() if page["next_cursor"]}
    assert len(cursors) > 5
    for path in pages:
        for of, cursor in cursors.items():
            response = await org.call("GET", f"{path}?limit=200&cursor={cursor}")
            if of == path:
                assert response.status_code == 200
            else:
                assert_problem(response, 400, "invalid", field="cursor")


# Refusals and other answers that belong to no operation.


def test_every_code_has_its_status() -> None:
    told = {
        400: "invalid",
        401: "unauthenticated webhook_refused",
        402: "insufficient_credits",
        403: "forbidden view_only not_owner not_parent",
        404: "not_found not_connected",
        409: "owned_here owned_elsewhere answered_meanwhile account_taken channel_dormant"
        " chat_blocked window_closed quota_exceeded cannot_start template_not_approved opted_out",
        413: "too_large",
        415: "wrong_media",
        422: "idempotency_key_reused service_not_eligible parameter_missing",
        429: "too_many_requests",
        503: "unavailable behind",
    }
    answered = {
        code: STATUS_CODES.get(code, 409) for codes in told.values() for code in codes.split()
    }
    assert answered == {code: status for status, codes in told.items() for code in codes.split()}
    assert answered.keys() <= STATUS_CODES.keys() | {each.code for each in refusals()}


def refusals(kind: type[Refusal] = Refusal) -> Iterator[type[Refusal]]:
    """All that anything raises."""
    yield kind
    for each in kind.__subclasses__():
        yield from refusals(each)


async def test_a_page_that_is_not_there_is_a_problem_too(office: Office) -> None:
    for path in ("/", "/v1", "/v1/nothing", "/openapi", "/openapi/x", "/openapi/openapi.json"):
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            assert_problem(await office.admin.http.request(method, path), 404, "not_found")
        assert_no_body(await office.admin.http.head(path), 404)


async def test_a_method_that_a_path_does_not_take_is_a_problem_that_names_those_it_does(
    office: Office,
) -> None:
    known: dict[str, set[str]] = {}
    for method, template in await operations(office.admin.http):
        known.setdefault(template, {"OPTIONS"}).add(method)
    with_head = {"/v1/media/{media_id}": 401, "/media/{token}": 404}
    for template in with_head:
        known[template].add("HEAD")
    for template, methods in known.items():
        path = office.path(template)
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"} - methods:
            response = await office.admin.http.request(method, path)
            assert_problem(response, 405, "method_not_allowed")
            assert allowed(response) == methods, template
        assert_no_body(await office.admin.http.head(path), with_head.get(template, 405))
        options = await office.admin.http.options(path)
        assert (options.status_code, options.content, allowed(options)) == (204, b"", methods)


def allowed(response: httpx.Response) -> set[str]:
    return set(response.headers["allow"].split(", "))


def assert_no_body(response: httpx.Response, status: int) -> None:
    """What HEAD answers: the headers of a problem."""
    assert (response.status_code, response.content) == (status, b"")
    assert response.headers["content-type"] == "application/problem+json"


async def test_a_time_is_taken_in_any_zone_and_shown_in_utc(office: Office) -> None:
    body = {
        "user_id": office.names["user_id"],
        "name": "Zoned",
        "expires_at": "2100-01-01T09:00:00+09:00",
    }
    made = await office.admin.post("/v1/api-keys", body, expect=201)
    keys = (await office.admin.get("/v1/api-keys?limit=200"))["items"]
    (key,) = [each for each in keys if each["id"] == made["id"]]
    assert key["expires_at"] == "2100-01-01T00:00:00Z"
    for path in await reads(office):
        text = (await office.admin.call("GET", path, expect=200)).text
        times = re.findall(r'"(\d{4}-\d\d-\d\dT[^"]*)"', text)
        assert [each for each in times if not each.endswith("Z")] == [], path
