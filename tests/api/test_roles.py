"""Who may do what: one table of all operations and principals (C5)."""

from collections.abc import Awaitable, Callable

import pytest

from tests.api.conftest import Client, Trunkline
from tests.api.operations import Office, from_elsewhere, is_public, office_of, operations

# The columns: who asks. All but the last two belong to the org; `other` works in another service.
PRINCIPALS = (
    "admin",
    "supervisor",
    "agent_reply",
    "agent_view",
    "auditor",
    "other_service",
    "other_org",
    "nobody",
)

ANYBODY = "200 200 200 200 200 200 200 401"
ADMINS = "200 403 403 403 403 403 404 401"
VIEWERS = "200 200 200 200 200 403 404 401"
VISITORS = "200 200 200 200 403 403 404 401"
STATEMENTS = "200 200 403 403 200 403 404 401"
WRITERS = "200 200 200 403 403 403 404 401"

# A row for each operation: what it answers to whom. Reading services, channels and users is for
# everybody, since chats name them; GET /v1/events is each org's own, so it answers any admin.
TABLE = {
    "PUT /v1/services/{service}": "200 403 403 403 403 403 200 401",
    "GET /v1/services": ANYBODY,
    "GET /v1/me": ANYBODY,
    "GET /v1/installation": ANYBODY,
    "POST /v1/users": "201 403 403 403 403 403 400 401",
    "PATCH /v1/users/{user_id}": ADMINS,
    "GET /v1/users": ANYBODY,
    "POST /v1/api-keys": "201 403 403 403 403 403 404 401",
    "GET /v1/api-keys": "200 403 403 403 403 403 200 401",
    "DELETE /v1/api-keys/{key_id}": ADMINS,
    "POST /v1/channels": "200 403 403 403 403 403 404 401",
    "GET /v1/channels": ANYBODY,
    "GET /v1/channels/{channel_id}": "200 200 200 200 200 200 404 401",
    "POST /v1/channels/{channel_id}/services/{service}/disable": ADMINS,
    "POST /v1/channels/{channel_id}/services/{service}/enable": ADMINS,
    "DELETE /v1/channels/{channel_id}/services/{service}": ADMINS,
    "PATCH /v1/services/{service}/channels/{channel_id}": ADMINS,
    "PUT /v1/services/{service}/channels/{channel_id}/connection": ADMINS,
    "PUT /v1/channels/{channel_id}/services/{service}/agents": "200 200 403 403 403 403 404 401",
    "DELETE /v1/channels/{channel_id}": ADMINS,
    "GET /v1/channels/{channel_id}/decisions": "200 403 403 403 200 403 404 401",
    "POST /v1/channels/{channel_id}/decisions/replay": "200 403 403 403 200 403 404 401",
    "GET /v1/services/{service}/chats": VIEWERS,
    "GET /v1/services/{service}/counts": VIEWERS,
    "GET /v1/services/{service}/chats/{chat_id}": VIEWERS,
    "POST /v1/services/{service}/chats/{chat_id}/assign": "200 200 403 403 403 403 404 401",
    "POST /v1/services/{service}/chats/{chat_id}/unassign": "200 200 403 403 403 403 404 401",
    "POST /v1/services/{service}/chats/{chat_id}/close": WRITERS,
    "POST /v1/services/{service}/chats/{chat_id}/open": WRITERS,
    "POST /v1/services/{service}/chats/{chat_id}/block": WRITERS,
    "POST /v1/services/{service}/chats/{chat_id}/unblock": WRITERS,
    "POST /v1/services/{service}/chats/{chat_id}/visit": VISITORS,
    "POST /v1/services/{service}/visit": VISITORS,
    "GET /v1/services/{service}/unread": VIEWERS,
    "GET /v1/services/{service}/chats/{chat_id}/messages": VIEWERS,
    "POST /v1/services/{service}/chats/{chat_id}/messages": "202 202 202 403 403 403 404 401",
    "POST /v1/services/{service}/chats": "202 202 202 403 403 403 404 401",
    "POST /v1/services/{service}/chats/{chat_id}/messages/{message_id}/retry": (
        "202 202 202 403 403 403 404 401"
    ),
    "POST /v1/services/{service}/chats/{chat_id}/messages/{message_id}/discard": WRITERS,
    "POST /v1/media": "201 201 201 403 403 201 201 401",
    # The admin's own, which nobody else is shown before it is sent.
    "GET /v1/media/{media_id}": "200 404 404 404 404 404 404 401",
    "GET /media/{token}": "404 404 404 404 404 404 404 404",
    "GET /v1/services/{service}/stream": VIEWERS,
    "PUT /v1/services/{service}/canned/{shortcut}": "200 200 403 403 403 403 404 401",
    "GET /v1/services/{service}/canned/{shortcut}": VIEWERS,
    "GET /v1/services/{service}/canned": VIEWERS,
    "DELETE /v1/services/{service}/canned/{shortcut}": "200 200 403 403 403 403 404 401",
    "PUT /v1/accounts/{account_id}/templates/{name}/{language}": "200 200 403 403 403 403 404 401",
    "GET /v1/accounts/{account_id}/templates/{name}/{language}": (
        "200 200 200 200 200 200 404 401"
    ),
    "GET /v1/accounts/{account_id}/templates": "200 200 200 200 200 200 404 401",
    "GET /v1/credits": "200 403 403 403 200 403 404 401",
    "POST /v1/credits/purchases": "201 403 403 403 403 403 404 401",
    "GET /v1/credits/purchases": "200 403 403 403 200 403 200 401",
    "PUT /v1/credits/auto-recharge": "200 403 403 403 403 403 404 401",
    "GET /v1/rules/{kind}": "200 403 403 403 200 403 200 401",
    "PUT /v1/rules/{kind}": "200 403 403 403 403 403 404 401",
    "POST /v1/quotes": "200 200 403 403 200 403 404 401",
    "GET /v1/statements/{account_id}/{month}": STATEMENTS,
    "GET /v1/statements/{account_id}/{month}/lines": STATEMENTS,
    "GET /v1/statements/{account_id}/{month}/lines.csv": STATEMENTS,
    "POST /v1/statements/{account_id}/{month}/replay": STATEMENTS,
    "GET /v1/events": "200 403 403 403 200 403 200 401",
    "GET /healthz": "200 200 200 200 200 200 200 200",
    "GET /readyz": "200 200 200 200 200 200 200 200",
    "GET /metrics": "200 200 200 200 200 200 200 200",
    "GET /webhooks/whatsapp": "403 403 403 403 403 403 403 403",
    "POST /webhooks/whatsapp": "401 401 401 401 401 401 401 401",
    "GET /webhooks/messenger": "403 403 403 403 403 403 403 403",
    "POST /webhooks/messenger": "401 401 401 401 401 401 401 401",
    "POST /webhooks/line/{account_id}": "401 401 401 401 401 401 401 401",
    "POST /webhooks/telegram/{account_id}": "401 401 401 401 401 401 401 401",
    "GET /webhooks/wechat/{account_id}": "401 401 401 401 401 401 401 401",
    "POST /webhooks/wechat/{account_id}": "401 401 401 401 401 401 401 401",
    "POST /webhooks/stripe": "401 401 401 401 401 401 401 401",
}


@pytest.fixture(scope="module")
async def office(trunkline: Trunkline) -> Office:
    return await office_of(trunkline, "crm", "desk")


@pytest.fixture(scope="module")
async def principals(office: Office) -> dict[str, Client]:
    admin, crm = office.admin, {"crm": "reply"}
    return {
        "admin": admin,
        "supervisor": await admin.user("supervisor", crm),
        "agent_reply": await admin.user("agent", crm),
        "agent_view": await admin.user("agent", {"crm": "view"}),
        "auditor": await admin.user("auditor", {}),
        "other_service": await admin.user("agent", {"desk": "reply"}),
    }


# What an operation needs to find each time it is tried, since it takes it away.


async def _a_failed_message(office: Office) -> dict[str, str]:
    return {"message_id": await office.failed_message()}


async def _a_key(office: Office) -> dict[str, str]:
    made = await office.admin.post(
        "/v1/api-keys", {"user_id": office.names["user_id"], "name": "Doomed"}, expect=201
    )
    return {"key_id": made["id"]}


async def _an_owned_chat(office: Office) -> dict[str, str]:
    body = {"user_id": office.names["user_id"], "confirm": True}
    await office.admin.post(office.path("/v1/services/{service}/chats/{chat_id}/assign"), body)
    return {}


async def _another_channel(office: Office) -> dict[str, str]:
    account = office.trunkline.account()
    await office.admin.connect("desk", account)
    return {"channel_id": (await office.admin.connect("crm", account))["id"]}


async def _a_dormant_channel(office: Office) -> dict[str, str]:
    names = await _another_channel(office)
    for service in ("crm", "desk"):
        await office.admin.post(f"/v1/channels/{names['channel_id']}/services/{service}/disable")
    return names


async def _a_canned_reply(office: Office) -> dict[str, str]:
    await office.admin.put(office.path("/v1/services/{service}/canned/doomed"), {"text": "Bye"})
    return {"shortcut": "doomed"}


async def _nothing(office: Office) -> dict[str, str]:
    return {}


PREPARATIONS: dict[str, Callable[[Office], Awaitable[dict[str, str]]]] = {
    "POST /v1/services/{service}/chats/{chat_id}/messages/{message_id}/retry": _a_failed_message,
    "POST /v1/services/{service}/chats/{chat_id}/unassign": _an_owned_chat,
    "DELETE /v1/api-keys/{key_id}": _a_key,
    "DELETE /v1/services/{service}/canned/{shortcut}": _a_canned_reply,
    "POST /v1/channels/{channel_id}/services/{service}/disable": _another_channel,
    "POST /v1/channels/{channel_id}/services/{service}/enable": _a_dormant_channel,
    "DELETE /v1/channels/{channel_id}/services/{service}": _another_channel,
    "DELETE /v1/channels/{channel_id}": _a_dormant_channel,
}


async def test_every_operation_has_a_row_and_every_row_an_operation(trunkline: Trunkline) -> None:
    """An operation without a row is one whose rights nobody has thought about."""
    known = {f"{method} {path}" for method, path in await operations(trunkline.http)}
    assert set(TABLE) == known - {"GET /openapi.json"}


@pytest.mark.parametrize("operation", TABLE)
async def test_an_operation_answers_each_principal_as_the_table_says(
    office: Office, principals: dict[str, Client], operation: str
) -> None:
    """Spec C5."""
    method, template = operation.split(" ")
    prepare = PREPARATIONS.get(operation, _nothing)
    expected = dict(zip(PRINCIPALS, map(int, TABLE[operation].split()), strict=True))
    answered = {}
    names: dict[str, str] | None = None
    async with from_elsewhere(office.trunkline) as elsewhere:
        strangers = {
            "other_org": await office.trunkline.organisation("Other"),
            "nobody": Client(elsewhere, "tk_nobody_secret"),
        }
        for principal in PRINCIPALS:
            if names is None:
                names = await prepare(office)
            path = office.path(template, **names)
            query = office.query(method, template)
            body = office.arguments(method, template, **names)
            client = (principals | strangers)[principal]
            answered[principal] = (
                await client.call(method, path, params=query, **body)
            ).status_code
            if answered[principal] < 300:
                names = None
    assert answered == expected


async def test_all_but_the_public_operations_demand_a_key() -> None:
    """/healthz, /readyz, /openapi.json and the webhooks need none."""
    keyless = {operation for operation, row in TABLE.items() if row.split()[-1] != "401"}
    public = {operation for operation in TABLE if is_public(operation.split(" ")[1])}
    # These have proofs of their own, and the same status for those who have none.
    signed = {each for each in public if each.startswith("POST /webhooks/")}
    assert keyless == public - signed - {"GET /webhooks/wechat/{account_id}"}
