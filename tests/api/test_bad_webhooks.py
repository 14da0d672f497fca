"""What is not authentic leaves no trace; what is authentic is kept, however strange (P2, P3)."""

import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.api.conftest import APP_SECRET, VERIFY_TOKEN, WABA, Trunkline, signed, text_webhook
from tests.api.deliveries import now
from tests.api.operations import NOBODYS_ACCOUNT, Office, office_of, positions
from tests.api.problems import assert_problem

PATH = "/webhooks/whatsapp"
META_BODY_BYTES_MAX = 4 * 1024 * 1024


@pytest.fixture(scope="module")
async def office(trunkline: Trunkline) -> Office:
    return await office_of(trunkline)


def good_webhook(office: Office) -> bytes:
    """One that would be written down, if it were signed."""
    payload = text_webhook(
        "forged", wamid="wamid.forged", timestamp=now(), account_id=office.names["account_id"]
    )
    return json.dumps(payload).encode()


def digest(body: bytes, secret: str = APP_SECRET) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


Headers = list[tuple[bytes, bytes]]


def forgeries(body: bytes) -> dict[str, Headers]:
    """Headers that must not open the door to this body."""
    name, good = b"X-Hub-Signature-256", f"sha256={digest(body)}"
    return {
        "none": [],
        "another secret": [(name, f"sha256={digest(body, 'guessed')}".encode())],
        "the empty secret": [(name, f"sha256={digest(body, '')}".encode())],
        "another body": [(name, f"sha256={digest(body + b' ')}".encode())],
        "an empty one": [(name, b"")],
        "no digest": [(name, b"sha256=")],
        "no prefix": [(name, digest(body).encode())],
        "another prefix": [(name, f"sha1={digest(body)}".encode())],
        "the old header": [
            (b"X-Hub-Signature", b"sha1=" + hmac.new(b"x", body, hashlib.sha1).hexdigest().encode())
        ],
        "upper case": [(name, good.upper().encode())],
        "an upper-case digest": [(name, f"sha256={digest(body).upper()}".encode())],
        "truncated": [(name, good[:-1].encode())],
        "longer": [(name, f"{good}0".encode())],
        "doubled": [(name, good.encode()), (name, good.encode())],
        "a bad one first": [(name, b"sha256=00"), (name, good.encode())],
        "a bad one last": [(name, good.encode()), (name, b"sha256=00")],
        "a list": [(name, f"{good}, {good}".encode())],
        "quoted": [(name, f'"{good}"'.encode())],
        "not ASCII": [(name, "sha256=é".encode("latin-1") + b"0" * 63)],
        "not UTF-8": [(name, b"sha256=" + b"\xff" * 64)],
        "64 KiB": [(name, b"sha256=" + b"0" * 64 * 1024)],
    }


async def test_what_is_not_signed_is_refused_in_the_same_words_and_leaves_no_trace(
    office: Office,
) -> None:
    """Spec P2: 401 webhook_refused, by the same path, whatever is wrong."""
    trunkline, body = office.trunkline, good_webhook(office)
    before = await positions(trunkline)
    answers = set()
    for headers in forgeries(body).values():
        response = await trunkline.http.post(PATH, content=body, headers=headers)
        assert_problem(response, 401, "webhook_refused")
        answers.add((response.content, tuple(sorted(set(response.headers) - {"date"}))))
    flipped = bytes([body[0] ^ 1]) + body[1:]
    response = await trunkline.http.post(PATH, content=flipped, headers=signed(body))
    assert_problem(response, 401, "webhook_refused")
    answers.add((response.content, tuple(sorted(set(response.headers) - {"date"}))))
    assert len(answers) == 1
    assert await positions(trunkline) == before


async def test_refusals_are_counted(office: Office) -> None:
    """Spec P2: nothing but a counter."""

    async def counted() -> int:
        text = (await office.trunkline.http.get("/metrics")).text
        name = 'trunkline_webhooks_refused_total{platform="whatsapp"} '
        counted = next((line for line in text.splitlines() if name in line), "0").split()[-1]
        return int(float(counted))

    before = await counted()
    await office.trunkline.http.post(PATH, content=b"{}")
    assert await counted() == before + 1


async def test_a_forged_delivery_is_refused_as_long_as_ever_and_nobody_is_shut_out(
    office: Office,
) -> None:
    """Authentic webhooks are never answered 429, whatever came from the same address."""
    forged = [await office.trunkline.http.post(PATH, content=b"{}") for _ in range(50)]
    assert {response.status_code for response in forged} == {401}
    await office.trunkline.says("still heard", account_id=office.names["account_id"])


def change(value: Any, field: str = "messages") -> dict[str, Any]:
    return {"object": "whatsapp_business_account", "entry": [_entry(value, field)]}


def _entry(value: Any, field: str) -> dict[str, Any]:
    return {"id": WABA, "changes": [{"field": field, "value": value}]}


def strange_bodies(office: Office) -> dict[str, bytes]:
    """Signed, and not what Meta's pages describe."""
    account = office.names["account_id"]
    good = text_webhook("x", wamid="wamid.strange", timestamp=now(), account_id=account)

    def text(wamid: str, literal: str = '"x"') -> str:
        """A webhook with one text message, whose text is any JSON at all."""
        return json.dumps(good).replace("wamid.strange", wamid).replace('"x"', literal)

    metadata = {"phone_number_id": account}
    objects: dict[str, Any] = {
        "an array": [],
        "an array of webhooks": [good, good],
        "a string": "text",
        "a number": 5,
        "null": None,
        "an empty object": {},
        "no entries": {"object": "whatsapp_business_account"},
        "entries of another type": {"entry": {"changes": []}},
        "an entry of another type": {"entry": ["entry", 5, None, []]},
        "changes of another type": {"entry": [{"id": 5, "changes": "x"}]},
        "a change of another type": {"entry": [{"id": WABA, "changes": [5, None, "x"]}]},
        "a value of another type": change("value"),
        "metadata of another type": change({"metadata": 5, "messages": [{}]}),
        "messages of another type": change({"metadata": metadata, "messages": {"id": "x"}}),
        "a message of another type": change({"metadata": metadata, "messages": [5, "x", None]}),
        "an empty message": change({"metadata": metadata, "messages": [{}]}),
        "statuses of another type": change({"metadata": metadata, "statuses": [{"id": 5}, 5]}),
        "an unknown field": change({"metadata": metadata, "x": 1}, "no_such_field"),
        "a field of another type": {"entry": [{"changes": [{"field": 5, "value": {}}]}]},
        "an account with a NUL": change({"metadata": {"phone_number_id": "1\0"}, "messages": [{}]}),
        "a very long account": change(
            {"metadata": {"phone_number_id": "1" * 100_000}, "messages": [{"id": "long"}]}
        ),
        "a very long business account": {
            "entry": [{"id": "9" * 100_000, "changes": [{"field": "account_alerts", "value": {}}]}]
        },
        "an unknown account": text_webhook(
            "x", wamid="wamid.unknown", timestamp=now(), account_id=NOBODYS_ACCOUNT
        ),
        "a time of another type": text_webhook(
            "x", wamid="wamid.time", timestamp=now(), account_id=account
        )
        | change(
            {
                "metadata": metadata,
                "messages": [{"from": "1", "id": "wamid.t", "timestamp": [], "type": "text"}],
            }
        ),
    }
    return {
        **{name: json.dumps(value).encode() for name, value in objects.items()},
        "empty": b"",
        "not JSON": b"<xml/>",
        "not UTF-8": b'{"entry": "\xff\xfe"}',
        "UTF-16": text("utf-16").encode("utf-16"),
        "a byte order mark": text("bom").encode("utf-8-sig"),
        "NaN": b'{"entry": NaN}',
        "1e400": b'{"entry": [{"id": 1e400, "time": 1e400, "changes": [1e400]}]}',
        "5,000 digits": b'{"entry": [{"id": ' + b"9" * 5_000 + b', "changes": [77]}]}',
        "half a surrogate": text("half", '"\\ud800"').encode(),
        "a NUL": text("nul", '"\\u0000"').encode(),
        "doubled keys": text("doubled").replace('"object"', '"entry": [], "object"').encode(),
        "100,000 open arrays": b"[" * 100_000,
        "100,000 nested arrays": b"[" * 100_000 + b"]" * 100_000,
        "100,000 nested in a text": text("deep", "[" * 100_000 + "]" * 100_000).encode(),
        "half a body": text("cut")[:200].encode(),
    }


async def kept(trunkline: Trunkline) -> int:
    """How many events all organisations have."""
    *heads, _ = await positions(trunkline)
    return sum(position for _, position in heads)


async def test_what_is_authentic_is_acknowledged_and_kept_however_strange(office: Office) -> None:
    """Spec P2: 200, and an event; again the same, and none."""
    for name, body in strange_bodies(office).items():
        before = await kept(office.trunkline)
        started = time.monotonic()
        await office.trunkline.deliver(body)
        assert time.monotonic() - started < 2, name
        after = await kept(office.trunkline)
        assert after > before, name
        await office.trunkline.deliver(body)
        assert await kept(office.trunkline) == after, name


async def test_a_strange_text_is_shown_as_far_as_it_can_be(office: Office) -> None:
    """Spec P2: a customer's message is never refused; what cannot be kept is replaced."""
    account = office.names["account_id"]
    texts = {
        "a\0b": "a\ufffdb",
        "\u202eright to left": "\u202eright to left",
        "\U0001f469\u200d\U0001f469\u200d\U0001f467" * 100: (
            "\U0001f469\u200d\U0001f469\u200d\U0001f467" * 100
        ),
        "e" + "\u0301" * 1_000: "e" + "\u0301" * 1_000,
        "<script>alert(1)</script>\r\nX: 1": "<script>alert(1)</script>\r\nX: 1",
        "../../etc/passwd": "../../etc/passwd",
        "x" * 100_000: "x" * 100_000,
    }
    for text, shown in texts.items():
        await office.trunkline.says(text, account_id=account)
        await office.admin.settled()
        newest = (await office.admin.messages("crm", office.names["chat_id"]))[-1]
        assert newest["content"]["text"] == shown


async def test_a_wrong_message_does_not_lose_those_beside_it(office: Office) -> None:
    """Spec P3."""
    account = office.names["account_id"]
    payload = text_webhook("beside", wamid="wamid.beside", timestamp=now(), account_id=account)
    messages = payload["entry"][0]["changes"][0]["value"]["messages"]
    messages[:0] = [5, {"id": "\0", "type": 7}, {"from": [], "id": {}, "text": 5}]
    payload["entry"] += ["strange", {"changes": 5}]
    await office.trunkline.deliver(payload)
    await office.admin.settled()
    newest = (await office.admin.messages("crm", office.names["chat_id"]))[-1]
    assert newest["content"]["text"] == "beside"


async def test_a_body_of_more_than_four_mebibytes_is_refused(office: Office) -> None:
    """Spec P2: 413, whether its length is declared or it comes in chunks."""
    body = b" " * (META_BODY_BYTES_MAX + 1)
    before = await positions(office.trunkline)
    response = await office.trunkline.http.post(PATH, content=body, headers=signed(body))
    assert_problem(response, 413, "too_large")

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 64 * 1024):
            yield body[start : start + 64 * 1024]

    response = await office.trunkline.http.post(PATH, content=chunks(), headers=signed(body))
    assert_problem(response, 413, "too_large")
    assert await positions(office.trunkline) == before


async def test_a_body_of_four_mebibytes_is_taken(office: Office) -> None:
    body = good_webhook(office).replace(b"forged", b"large").ljust(META_BODY_BYTES_MAX)
    await office.trunkline.deliver(body)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "HEAD"])
async def test_an_unknown_method_is_405(trunkline: Trunkline, method: str) -> None:
    response = await trunkline.http.request(method, PATH)
    assert response.status_code == 405
    assert {"GET", "POST"} <= set(response.headers["allow"].split(", "))
    if method != "HEAD":
        assert_problem(response, 405, "method_not_allowed")


@pytest.mark.parametrize(
    "path", ["/webhooks", "/webhooks/", "/webhooks/viber", "/webhooks/whatsapp/1", "/nowhere", "/"]
)
async def test_an_unknown_path_is_404(trunkline: Trunkline, path: str) -> None:
    for method in ("GET", "POST"):
        assert_problem(await trunkline.http.request(method, path), 404, "not_found")


GOOD_HANDSHAKE = {
    "hub.mode": "subscribe",
    "hub.verify_token": VERIFY_TOKEN,
    "hub.challenge": "1158201444",
}


async def test_the_handshake_gives_the_challenge_back(trunkline: Trunkline) -> None:
    """Spec P1."""
    response = await trunkline.http.get(PATH, params=GOOD_HANDSHAKE)
    assert (response.status_code, response.text) == (200, "1158201444")
    assert response.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    "change",
    [
        {"hub.verify_token": "guessed"},
        {"hub.verify_token": ""},
        {"hub.verify_token": f"{VERIFY_TOKEN}\0"},
        {"hub.verify_token": VERIFY_TOKEN.upper()},
        {"hub.verify_token": "é"},
        {"hub.verify_token": "x" * 10_000},
        {"hub.mode": "unsubscribe"},
    ],
)
async def test_a_handshake_without_the_token_is_refused(
    trunkline: Trunkline, change: dict[str, str]
) -> None:
    response = await trunkline.http.get(PATH, params=GOOD_HANDSHAKE | change)
    assert_problem(response, 403, "forbidden")
    assert "1158201444" not in response.text
