"""Canned replies over HTTP: kept by service, sent as a text (C8, S4)."""

from typing import Any
from urllib.parse import quote

from tests.api.businesses import shared
from tests.api.conftest import Client, Trunkline
from tests.api.deliveries import eventually
from tests.api.problems import assert_problem
from tests.api.test_sending import ready, sent_texts

CANNED = "/v1/services/crm/canned"
GREETING = "Hello {{customer.name}}, your order {{ number }} is on its way."


async def listed(org: Client, service: str = "crm", **query: Any) -> list[tuple[str, str]]:
    page = await org.get(f"/v1/services/{service}/canned", params=query)
    return [(each["shortcut"], each["text"]) for each in page["items"]]


async def test_the_text_that_was_sent_is_the_fact(trunkline: Trunkline) -> None:
    """Spec C8: who edits a canned reply afterwards changes nothing that was sent."""
    inbox = await ready(trunkline)
    org, path = inbox.org, f"/v1/services/crm/chats/{inbox.chats['A']}/messages"
    await org.put(f"{CANNED}/shipped", {"text": GREETING})
    body = {"kind": "canned", "shortcut": "#shipped", "fields": {"number": "A-7"}}
    reply = await org.post(path, body, expect=202)
    text = "Hello A, your order A-7 is on its way."
    assert (reply["kind"], reply["content"]) == ("text", {"text": text})
    await eventually(lambda: sent_texts(inbox), [text])
    await org.put(f"{CANNED}/shipped", {"text": "Gone."})
    assert (await org.messages("crm", inbox.chats["A"]))[-1]["content"] == {"text": text}
    # And without its sign.
    await org.post(path, {"kind": "canned", "shortcut": "shipped"}, expect=202)
    await eventually(lambda: sent_texts(inbox), [text, "Gone."])


async def test_a_canned_reply_that_cannot_be_sent_names_what_is_wrong(trunkline: Trunkline) -> None:
    """Spec C8, N1: as for every text, and nothing is queued."""
    inbox = await ready(trunkline)
    await inbox.hear("B", hours_ago=25)
    org = inbox.org
    await org.put(f"{CANNED}/shipped", {"text": GREETING})
    await org.put(f"{CANNED}/hi", {"text": "Hi"})
    await org.put(f"{CANNED}/long", {"text": "x" * 4_090 + "{{number}}"})

    async def refused(customer: str, status: int, code: str, **body: Any) -> Any:
        path = f"/v1/services/crm/chats/{inbox.chats[customer]}/messages"
        answer = await org.call("POST", path, json={"kind": "canned", **body})
        return assert_problem(answer, status, code)

    before = await org.events()
    missing = await refused("A", 422, "parameter_missing", shortcut="shipped")
    assert missing["errors"] == [{"field": "fields.number", "message": "is missing"}]
    await refused("A", 404, "not_found", shortcut="unknown")
    await refused("B", 409, "window_closed", shortcut="hi")
    long = await refused("A", 400, "invalid", shortcut="long", fields={"number": "1234567"})
    assert long["errors"][0]["field"] == "text"
    for body, field in (
        ({}, "shortcut"),
        ({"shortcut": "a b"}, "shortcut"),
        ({"shortcut": "hi", "text": "hi"}, "text"),
        ({"shortcut": "hi", "name": "hi"}, "name"),
        ({"shortcut": "hi", "fields": {"number": 7}}, "fields.number"),
    ):
        assert (await refused("A", 400, "invalid", **body))["errors"][0]["field"] == field
    assert await org.events() == before


async def test_a_service_sees_and_sends_its_own_only(trunkline: Trunkline) -> None:
    """Spec S4."""
    org, account = await trunkline.organisation(), trunkline.account()
    await shared(org, account, "crm", "desk")
    await org.put(f"{CANNED}/hi", {"text": "CRM says hi"})
    await org.put("/v1/services/desk/canned/bye", {"text": "Desk says bye"})
    assert await listed(org) == [("hi", "CRM says hi")]
    assert await listed(org, "desk") == [("bye", "Desk says bye")]
    await org.get("/v1/services/desk/canned/hi", expect=404)
    agent = await org.user("agent", {"desk": "reply"})
    await agent.get(f"{CANNED}/hi", expect=403)
    await trunkline.says("hello", account_id=account)
    await org.settled()
    (chat,) = await org.chats("desk")
    path = f"/v1/services/desk/chats/{chat['id']}/messages"
    await agent.post(path, {"kind": "canned", "shortcut": "hi"}, expect=404)


async def test_canned_replies_are_listed_page_by_page_and_removed(trunkline: Trunkline) -> None:
    org = await trunkline.organisation()
    await org.services("crm")
    names = ["a", "b", "ご挨拶", "c"]
    for name in names:
        put = await org.put(f"{CANNED}/{quote('#' + name)}", {"text": name})
        assert put == {"shortcut": name, "text": name}
    first = await org.get(CANNED, params={"limit": 3})
    rest = await org.get(CANNED, params={"limit": 3, "cursor": first["next_cursor"]})
    found = [each["shortcut"] for each in first["items"] + rest["items"]]
    assert (found, rest["next_cursor"]) == (sorted(names), None)
    assert await org.get(f"{CANNED}/{quote('ご挨拶')}") == {"shortcut": "ご挨拶", "text": "ご挨拶"}
    await org.delete(f"{CANNED}/b")
    await org.delete(f"{CANNED}/b", expect=404)
    assert [name for name, _ in await listed(org)] == ["a", "c", "ご挨拶"]
    for path, body in ((f"{CANNED}/a%20b", {"text": "x"}), (f"{CANNED}/a", {"text": " "})):
        await org.put(path, body, expect=400)


async def test_what_stands_already_is_no_event(trunkline: Trunkline) -> None:
    org = await trunkline.organisation()
    await org.services("crm")
    for _ in range(2):
        await org.put(f"{CANNED}/a", {"text": "A"})
    assert len(await org.events(stream="canned:crm")) == 1
