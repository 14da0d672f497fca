"""Who may call Stripe's webhook, and what a call says (L5)."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from adapters.stripe.webhook import parse, sign, verify
from domain.inbound import NotUnderstood
from domain.payment import PaymentNotice, PaymentRefused, PaymentTaken

BODY = b'{"id": "evt_1"}'
SECRET, OLD = b"whsec_new", b"whsec_old"
AT = 1_795_000_000
NOW = datetime.fromtimestamp(AT, UTC)
GOOD = sign(BODY, secret=SECRET, at=AT)


def is_good(*headers: str, body: bytes = BODY, secrets: tuple[bytes, ...] = (SECRET, OLD)) -> bool:
    return verify(body, [each.encode() for each in headers], secrets=secrets, now=NOW)


@pytest.mark.parametrize(
    "header",
    [
        f"t={AT},v1={GOOD}",
        f"t={AT}, v1={GOOD}, v0=old",
        f"v1={'0' * 64},v1={GOOD},t={AT}",
        f"t={AT},v1={sign(BODY, secret=OLD, at=AT)}",
        *(f"t={AT + skew},v1={sign(BODY, secret=SECRET, at=AT + skew)}" for skew in (-300, 300)),
    ],
)
def test_what_was_signed_not_long_ago_is_authentic(header: str) -> None:
    assert is_good(header)


@pytest.mark.parametrize(
    "header",
    [
        "",
        GOOD,
        f"t={AT}",
        f"v1={GOOD}",
        f"t={AT},v0={GOOD}",
        f"t={AT + 1},v1={GOOD}",
        f"t={AT},t={AT},v1={GOOD}",
        f"t=+{AT},v1={GOOD}",
        f"t={AT},v1={GOOD[:-1]}",
        f"t={AT},v1={GOOD.upper()}",
        f"t={AT},v1=" + "ü" * 32,
        f"t={AT}," + ",".join(["v1=0"] * 16) + f",v1={GOOD}",
        f"t={AT},v1={GOOD}" + "," * 5_000,
        *(
            f"t={AT + skew},v1={sign(BODY, secret=SECRET, at=AT + skew)}"
            for skew in (-301, 301, -(10**8))
        ),
    ],
)
def test_anything_else_is_not(header: str) -> None:
    assert not is_good(header)


def test_nothing_is_authentic_without_a_secret_or_with_two_headers_or_another_body() -> None:
    header = f"t={AT},v1={GOOD}"
    assert not is_good(header, secrets=())
    assert not is_good(header, header)
    assert not is_good()
    assert not is_good(header, body=BODY + b" ")


def event(kind: str, **intent: Any) -> bytes:
    metadata = {"purchase_id": "p", "organisation_id": "o", "business_account": "b"}
    usual = {"id": "pi_1", "status": "any", "currency": "usd", "metadata": metadata, "else": [1]}
    return json.dumps({"type": kind, "data": {"object": {**usual, **intent}}}).encode()


DECLINE = {"code": "card_declined", "decline_code": "insufficient_funds", "type": "card_error"}


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (
            event("payment_intent.succeeded", amount_received=400),
            PaymentTaken(micro_usd=4_000_000),
        ),
        (
            event("payment_intent.succeeded", amount_received=400, currency="eur"),
            PaymentTaken(micro_usd=0),
        ),
        (
            event("payment_intent.payment_failed", last_payment_error=DECLINE),
            PaymentRefused(reason="insufficient_funds", may_ask_anew=True),
        ),
        (
            event("payment_intent.payment_failed", last_payment_error={"code": "expired_card"}),
            PaymentRefused(reason="expired_card"),
        ),
        (event("payment_intent.canceled"), PaymentRefused(reason="canceled")),
    ],
)
def test_what_a_call_says_of_a_purchase(body: bytes, answer: PaymentTaken | PaymentRefused) -> None:
    assert parse(body) == PaymentNotice(
        organisation_id="o", business_account="b", purchase_id="p", answer=answer
    )


@pytest.mark.parametrize(
    "body",
    [
        event("payment_intent.created"),
        event("payment_intent.succeeded", metadata={}),
        event("payment_intent.succeeded", metadata={"purchase_id": 5}),
        event("payment_intent.succeeded", amount_received="400"),
        b"",
        b"null",
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_what_says_nothing_of_a_purchase_is_kept_raw(body: bytes) -> None:
    assert isinstance(parse(body), NotUnderstood)
