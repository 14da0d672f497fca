"""Who may ask, before what is asked."""

import asyncio
import dataclasses
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest

from api.main import core
from tests.api.conftest import VERIFY_TOKEN, Client, Trunkline, in_process
from tests.api.operations import from_elsewhere
from tests.api.problems import assert_problem

ID = "2" * 26


def bearer(key: str) -> tuple[str, str]:
    return "Authorization", f"Bearer {key}"


@pytest.mark.parametrize(
    ("method", "path", "arguments"),
    [
        ("GET", "/v1/services/crm/chats?view=everything", {}),
        ("GET", "/v1/channels?limit=0", {}),
        ("GET", "/v1/channels?colour=blue", {}),
        ("POST", "/v1/channels", {}),
        ("POST", "/v1/channels", {"content": b"{"}),
        ("POST", f"/v1/services/crm/chats/{ID}/assign", {"json": {"user_id": 5}}),
        ("POST", f"/v1/services/crm/chats/{ID}/messages", {"json": {}}),
    ],
)
@pytest.mark.parametrize("key", ["", "Bearer tk_nobody_secret"])
async def test_without_a_valid_key_the_answer_is_401_whatever_else_is_wrong(
    trunkline: Trunkline, method: str, path: str, arguments: dict[str, Any], key: str
) -> None:
    headers = {"Authorization": key} if key else {}
    response = await trunkline.http.request(method, path, headers=headers, **arguments)
    assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")


# Keys.


async def key_of(org: Client, **more: Any) -> dict[str, Any]:
    body = {"user_id": org.user_id, "name": "Spare", **more}
    made: dict[str, Any] = await org.post("/v1/api-keys", body, expect=201)
    return made


async def me(http: httpx.AsyncClient, *headers: tuple[str, str]) -> httpx.Response:
    return await http.get("/v1/me", headers=list(headers))


async def test_every_key_that_opens_nothing_is_answered_alike(trunkline: Trunkline) -> None:
    """401, with the same body whether the key is missing, wrong, expired or revoked."""
    org = await trunkline.organisation()
    revoked = await key_of(org)
    assert (await me(trunkline.http, bearer(revoked["key"]))).status_code == 200
    await org.delete(f"/v1/api-keys/{revoked['id']}")
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    expired = await key_of(org, expires_at=soon)
    assert (await me(trunkline.http, bearer(expired["key"]))).status_code == 200
    await asyncio.sleep(1)
    _, key_id, secret = org.api_key.split("_", 2)
    headers: dict[str, list[tuple[str, str]]] = {
        "none": [],
        "empty": [("Authorization", "")],
        "no scheme": [("Authorization", org.api_key)],
        "another scheme": [("Authorization", f"Basic {org.api_key}")],
        "only a scheme": [("Authorization", "Bearer")],
        "another prefix": [bearer(f"sk_{key_id}_{secret}")],
        "no secret": [bearer(f"tk_{key_id}")],
        "an empty secret": [bearer(f"tk_{key_id}_")],
        "an empty id": [bearer(f"tk__{secret}")],
        "a wrong secret": [bearer(f"tk_{key_id}_{'x' * 43}")],
        "half a secret": [bearer(f"tk_{key_id}_{secret[:-1]}")],
        "an unknown id": [bearer(f"tk_{ID}_{secret}")],
        "another's secret": [bearer(f"tk_{revoked['id']}_{secret}")],
        "upper case": [bearer(f"tk_{key_id.upper()}_{secret}")],
        "two headers": [bearer(org.api_key), bearer(org.api_key)],
        "two keys": [bearer(f"{org.api_key} {org.api_key}")],
        "64 KiB": [bearer(f"tk_{key_id}_{'x' * 64 * 1024}")],
        "another header": [("X-Api-Key", org.api_key)],
        "a cookie": [("Cookie", f"api_key={org.api_key}")],
        "expired": [bearer(expired["key"])],
        "revoked": [bearer(revoked["key"])],
    }
    bodies = set()
    for name, sent in headers.items():
        async with from_elsewhere(trunkline) as http:
            response = await me(http, *sent)
        assert response.status_code == 401, name
        assert response.headers["www-authenticate"] == "Bearer"
        assert_problem(response, 401, "unauthenticated")
        bodies.add(response.content)
    async with from_elsewhere(trunkline) as http:
        bodies.add((await http.get(f"/v1/me?api_key={org.api_key}")).content)
    assert len(bodies) == 1


async def test_a_key_that_is_revoked_is_closed_from_the_next_request_on(
    trunkline: Trunkline,
) -> None:
    org = await trunkline.organisation()
    key = await key_of(org)
    client = Client(trunkline.http, key["key"])
    assert (await client.call("GET", "/v1/services")).status_code == 200
    await org.delete(f"/v1/api-keys/{key['id']}")
    assert (await client.call("GET", "/v1/services")).status_code == 401
    (shown,) = [
        each for each in (await org.get("/v1/api-keys"))["items"] if each["id"] == key["id"]
    ]
    assert shown["revoked_at"] is not None


async def test_a_key_may_be_revoked_by_itself(trunkline: Trunkline) -> None:
    org = await trunkline.organisation()
    key_id = org.api_key.split("_")[1]
    assert await org.delete(f"/v1/api-keys/{key_id}") == {"id": key_id}
    await org.call("GET", "/v1/me", expect=401)


async def test_a_key_is_not_made_for_the_past(trunkline: Trunkline) -> None:
    org = await trunkline.organisation()
    body = {"user_id": org.user_id, "name": "Late", "expires_at": "2020-01-01T00:00:00Z"}
    response = await org.call("POST", "/v1/api-keys", json=body)
    assert_problem(response, 400, "invalid", field="expires_at")


async def test_keys_are_stored_hashed(trunkline: Trunkline) -> None:
    """Nowhere in the database, nor in the log, stands a key that opens anything."""
    org = await trunkline.organisation()
    made = await key_of(org)
    for key in (org.api_key, made["key"]):
        _, key_id, secret = key.split("_", 2)
        async with await psycopg.AsyncConnection.connect(
            trunkline.database.migration_url
        ) as database:
            rows = await database.execute(
                "SELECT hash FROM trunkline.api_keys WHERE id = %s", [key_id]
            )
            assert await rows.fetchall() == [(hashlib.sha256(secret.encode()).digest(),)]
        assert secret not in (await org.call("GET", "/v1/events?limit=10000")).text
        assert secret not in (await org.call("GET", "/v1/api-keys")).text


async def test_a_key_is_shown_once_also_when_its_making_is_repeated(trunkline: Trunkline) -> None:
    """A secret that is shown once comes back as null."""
    org = await trunkline.organisation()
    body, headers = {"user_id": org.user_id, "name": "Spare"}, {"Idempotency-Key": "once"}
    first = await org.call("POST", "/v1/api-keys", json=body, headers=headers, expect=201)
    again = await org.call("POST", "/v1/api-keys", json=body, headers=headers, expect=201)
    assert again.json() == {"id": first.json()["id"], "key": None}
    assert again.headers["trunkline-position"] == first.headers["trunkline-position"]
    assert (await me(trunkline.http, bearer(first.json()["key"]))).status_code == 200


async def test_what_a_platform_wants_pasted_is_shown_once(trunkline: Trunkline) -> None:
    """Spec P4: the verify token comes with the first connection of an account only."""
    org, account = await trunkline.organisation(), trunkline.account()
    await org.services("crm", "desk")
    body = {"platform": "whatsapp", "account_id": account, "name": "Main"}
    tokens = []
    for service, key in (("crm", "a"), ("crm", "a"), ("crm", "b"), ("desk", "c")):
        response = await org.call(
            "POST",
            "/v1/channels",
            json={**body, "service": service},
            headers={"Idempotency-Key": key},
        )
        tokens.append(response.json()["setup"].get("verify_token"))
    assert tokens == [VERIFY_TOKEN, None, None, None]


# Scopes.

SCOPES_BY_DEFAULT = ["read", "reply", "manage", "billing", "audit"]


async def test_a_key_without_scopes_has_all_but_content_read(trunkline: Trunkline) -> None:
    """The first key of an organisation too."""
    org = await trunkline.organisation()
    plain = Client(trunkline.http, (await key_of(org))["key"])
    for client in (org, plain):
        assert (await client.get("/v1/me"))["scopes"] == SCOPES_BY_DEFAULT
    all_of_them = await key_of(org, scopes=[*SCOPES_BY_DEFAULT, "content:read"])
    scopes = (await Client(trunkline.http, all_of_them["key"]).get("/v1/me"))["scopes"]
    assert scopes == [*SCOPES_BY_DEFAULT, "content:read"]


# Which scope opens what; an admin's key, so that nothing but the scope is in the way.
NEEDED = {
    "read": ("GET", "/v1/services", None),
    "reply": ("POST", f"/v1/services/crm/chats/{ID}/close", None),
    "manage": ("POST", "/v1/users", {"name": "Ken"}),
    "audit": ("GET", "/v1/events", None),
}


@pytest.mark.parametrize("scope", [*NEEDED, "billing", "content:read"])
async def test_a_key_opens_what_its_scope_says_and_no_more(
    trunkline: Trunkline, scope: str
) -> None:
    org = await trunkline.organisation()
    await org.services("crm")
    narrow = Client(trunkline.http, (await key_of(org, scopes=[scope]))["key"])
    for needed, (method, path, body) in NEEDED.items():
        response = await narrow.call(method, path, json=body)
        missing = f"This API key lacks the scope {needed!r}."
        if needed == scope:
            assert response.status_code != 403
        else:
            assert assert_problem(response, 403, "forbidden")["detail"] == missing


async def test_a_key_without_any_scope_opens_nothing(trunkline: Trunkline) -> None:
    org = await trunkline.organisation()
    nothing = Client(trunkline.http, (await key_of(org, scopes=[]))["key"])
    for method, path, body in NEEDED.values():
        assert_problem(await nothing.call(method, path, json=body), 403, "forbidden")


# Rights are looked at on each request.


async def test_a_user_who_is_demoted_is_so_from_their_next_request_on(trunkline: Trunkline) -> None:
    """Their keys stay what they were, and open less."""
    org = await trunkline.organisation()
    await org.services("crm")
    ken = await org.user("admin", {}, name="Ken")
    await ken.put("/v1/services/desk", {"subscription": "bundled"})
    await org.patch(f"/v1/users/{ken.user_id}", {"role": "agent", "services": {"crm": "view"}})
    response = await ken.call("PUT", "/v1/services/sales", json={"subscription": "bundled"})
    assert_problem(response, 403, "forbidden")
    assert (await ken.get("/v1/me"))["role"] == "agent"
    assert (await ken.call("GET", "/v1/services/crm/chats")).status_code == 200
    await org.patch(f"/v1/users/{ken.user_id}", {"services": {}})
    assert_problem(await ken.call("GET", "/v1/services/crm/chats"), 403, "forbidden")


async def test_a_user_who_is_demoted_by_another_server_is_so_too(trunkline: Trunkline) -> None:
    org = await trunkline.organisation()
    await org.services("crm")
    ken = await org.user("admin", {}, name="Ken")
    async with core(trunkline.settings, trunkline.database) as parts:
        transport = in_process(parts)
        async with httpx.AsyncClient(base_url="http://other", transport=transport) as other:
            elsewhere = Client(other, ken.api_key)
            await elsewhere.put("/v1/services/desk", {"subscription": "bundled"})
            await org.patch(f"/v1/users/{ken.user_id}", {"role": "auditor"})
            body = {"subscription": "bundled"}
            response = await elsewhere.call("PUT", "/v1/services/sales", json=body)
            assert_problem(response, 403, "forbidden")


async def test_the_last_admin_stays_one(trunkline: Trunkline) -> None:
    org = await trunkline.organisation()
    response = await org.call("PATCH", f"/v1/users/{org.user_id}", json={"role": "agent"})
    assert_problem(response, 409, "last_admin")


# How often.


async def test_an_address_that_fails_too_often_is_told_to_wait(trunkline: Trunkline) -> None:
    """20 failed authentications a minute and address; others are not held for it."""
    org = await trunkline.organisation()
    async with from_elsewhere(trunkline) as http:
        for _ in range(20):
            assert_problem(await me(http, bearer("tk_a_b")), 401, "unauthenticated")
        response = await me(http, bearer("tk_a_b"))
        assert_problem(response, 429, "too_many_requests")
        wait = int(response.headers["retry-after"])
        assert 1 <= wait <= 3
        forwarded = await me(http, bearer("tk_a_b"), ("X-Forwarded-For", "192.0.2.1"))
        assert_problem(forwarded, 429, "too_many_requests")
        # Who comes from there with a key that has opened before is not held for it either.
        assert (await me(http, bearer(org.api_key))).status_code == 429
        assert (await me(trunkline.http, bearer(org.api_key))).status_code == 200
        assert (await me(http, bearer(org.api_key))).status_code == 200
        assert_problem(await me(http, bearer("tk_a_b")), 429, "too_many_requests")
        await asyncio.sleep(wait)
        assert_problem(await me(http, bearer("tk_a_b")), 401, "unauthenticated")
        # Who only knows its id has one try.
        guessed = bearer(f"{org.api_key}x")
        assert_problem(await me(http, guessed), 401, "unauthenticated")
        assert_problem(await me(http, guessed), 429, "too_many_requests")


async def test_a_key_that_asks_too_often_is_told_to_wait(trunkline: Trunkline) -> None:
    """So many requests a second and key, twice as many at once."""
    org = await trunkline.organisation()
    slow = dataclasses.replace(trunkline.settings, rate_limit_per_second=5)
    parts = dataclasses.replace(trunkline.parts, settings=slow)
    transport = in_process(parts)
    other = await key_of(org)
    async with httpx.AsyncClient(base_url="http://slow", transport=transport) as http:
        answers = [await me(http, bearer(org.api_key)) for _ in range(30)]
        statuses = [each.status_code for each in answers]
        assert statuses[:10] == [200] * 10
        refused = next(each for each in answers if each.status_code != 200)
        assert_problem(refused, 429, "too_many_requests")
        assert refused.headers["retry-after"] == "1"
        assert (await me(http, bearer(other["key"]))).status_code == 200
        await asyncio.sleep(1)
        assert (await me(http, bearer(org.api_key))).status_code == 200
