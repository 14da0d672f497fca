"""What platforms send: verify the raw bytes, parse, write down, acknowledge (P1, P2)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, Protocol

from litestar import Request, Response, get, post
from litestar.params import FromPath
from litestar.response.base import ASGIResponse

from api.commands.credentials import AccountCredentials, Live
from api.commands.inbound import Inbound
from api.commands.payments import Payments
from api.parts import Part
from api.problems import TooLarge, WebhookRefused
from domain.inbound import AnyOccurrence, NotUnderstood
from domain.payment import PaymentNotice
from domain.ports import Clock
from domain.refusal import Forbidden
from domain.webhook import Delivery

WEBHOOK_BODY_BYTES_MAX = 4 * 1024 * 1024  # Meta's and Stripe's; the other platforms' are smaller.

AnyRequest = Request[Any, Any, Any]


class MetaWebhook(Protocol):
    """A platform of Meta's, as its adapter reads it."""

    platform: str

    def verify(self, body: bytes, signatures: Sequence[bytes]) -> bool:
        """Whether the body was signed with our app secret."""

    def handshake(self, query: Mapping[str, str]) -> str | None:
        """What to answer when the webhook is set up; None to refuse."""

    def parse(self, body: bytes) -> list[AnyOccurrence]:
        """Everything the body says."""


class AccountWebhook(Protocol):
    """A platform whose accounts have secrets of their own, as its adapter reads it."""

    platform: str
    body_bytes_max: int
    acknowledgement: str

    def read(self, delivery: Delivery) -> list[AnyOccurrence] | None:
        """Everything a delivery says; None if it is not authentic."""


class ShakesHands(AccountWebhook, Protocol):
    """One that looks at our address before it sends anything there."""

    def handshake(self, delivery: Delivery) -> str | None:
        """What to answer; None if it is not authentic."""


class PaymentWebhook(Protocol):
    """A payment provider's, as its adapter reads it."""

    provider: str

    def verify(self, body: bytes, signatures: Sequence[bytes], *, now: datetime) -> bool:
        """Whether the body was signed with our secret, not long ago."""

    def parse(self, body: bytes) -> PaymentNotice | NotUnderstood:
        """What it says of a purchase, or that it says nothing of one."""

    def not_understood(self, body: bytes) -> NotUnderstood:
        """The body as one that says nothing of ours."""


@dataclass(kw_only=True)
class Webhooks:
    """All that these handlers need, in one part: several are resolved by a task group each time,
    which took a quarter of the time of a delivery."""

    whatsapp: MetaWebhook
    messenger: MetaWebhook
    line: AccountWebhook
    telegram: AccountWebhook
    wechat: ShakesHands
    stripe: PaymentWebhook
    credentials: AccountCredentials
    inbound: Inbound
    payments: Payments
    clock: Clock
    accepted: Counter[str] = field(default_factory=Counter)  # By platform.
    refused: Counter[str] = field(default_factory=Counter)  # All that refusals leave.

    def refuse(self, platform: str) -> WebhookRefused:
        """What to raise: one more was not authentic, and nothing says why."""
        self.refused[platform] += 1
        return WebhookRefused()

    def acknowledge(self, platform: str, text: str = "") -> Response[str]:
        """What to answer: one more is durable."""
        self.accepted[platform] += 1
        return _acknowledgement(text)


class _Prepared(Response[str]):
    """An answer that is always the same: to make one takes 5 µs, a twentieth of a reception."""

    def __init__(self, text: str) -> None:
        super().__init__(text, media_type="text/plain")
        self._prepared = ASGIResponse(body=text, media_type="text/plain")

    def to_asgi_response(self, *_: Any, **__: Any) -> ASGIResponse:
        """The same for every request: nothing in it changes by being sent."""
        return self._prepared


_acknowledgement = cache(_Prepared)  # Each platform has one text.

_HANDSHAKE: dict[str, Any] = {
    "opt": {"raw_body": True, "refusals": (403,)},
    "media_type": "text/plain",
}
_DELIVERY: dict[str, Any] = {
    "opt": {"raw_body": True, "refusals": (401, 413, 503)},
    "status_code": 200,
    "media_type": "text/plain",
}

# Meta's platforms: one address and one app secret for all accounts.


@get("/webhooks/whatsapp", **_HANDSHAKE)
async def verify_whatsapp(request: AnyRequest, webhooks: Part[Webhooks]) -> str:
    """Meta's handshake: the challenge goes back word by word."""
    return _challenge(webhooks.whatsapp, request)


@post("/webhooks/whatsapp", **_DELIVERY)
async def receive_whatsapp(request: AnyRequest, webhooks: Part[Webhooks]) -> Response[str]:
    """A delivery: acknowledged only when everything in it is durable."""
    return await _receive_from_meta(webhooks, webhooks.whatsapp, request)


@get("/webhooks/messenger", **_HANDSHAKE)
async def verify_messenger(request: AnyRequest, webhooks: Part[Webhooks]) -> str:
    """Meta's handshake: the challenge goes back word by word."""
    return _challenge(webhooks.messenger, request)


@post("/webhooks/messenger", **_DELIVERY)
async def receive_messenger(request: AnyRequest, webhooks: Part[Webhooks]) -> Response[str]:
    """A delivery: acknowledged only when everything in it is durable."""
    return await _receive_from_meta(webhooks, webhooks.messenger, request)


def _challenge(platform: MetaWebhook, request: AnyRequest) -> str:
    challenge = platform.handshake(dict(request.query_params))
    if challenge is None:
        raise Forbidden("The verify token is not the one of this installation.")
    return challenge


async def _receive_from_meta(
    webhooks: Webhooks, platform: MetaWebhook, request: AnyRequest
) -> Response[str]:
    body = await _body(request, WEBHOOK_BODY_BYTES_MAX)
    signatures = [
        value for name, value in request.scope["headers"] if name == b"x-hub-signature-256"
    ]
    if not platform.verify(body, signatures):
        raise webhooks.refuse(platform.platform)
    await webhooks.inbound.receive(platform.platform, platform.parse(body))
    return webhooks.acknowledge(platform.platform)


# Platforms whose accounts have addresses and secrets of their own.


@post("/webhooks/line/{account_id:str}", **_DELIVERY)
async def receive_line(
    request: AnyRequest, account_id: FromPath[str], webhooks: Part[Webhooks]
) -> Response[str]:
    """A delivery for one LINE channel, by its bot's user id."""
    return await _receive(webhooks, webhooks.line, account_id, request)


@post("/webhooks/telegram/{account_id:str}", **_DELIVERY)
async def receive_telegram(
    request: AnyRequest, account_id: FromPath[str], webhooks: Part[Webhooks]
) -> Response[str]:
    """A delivery for one bot, by its id."""
    return await _receive(webhooks, webhooks.telegram, account_id, request)


@get("/webhooks/wechat/{account_id:str}", **_DELIVERY)
async def verify_wechat(
    request: AnyRequest, account_id: FromPath[str], webhooks: Part[Webhooks]
) -> Response[str]:
    """WeChat's handshake: `echostr` goes back word by word."""
    live = await webhooks.credentials.live("wechat", account_id)
    answer = webhooks.wechat.handshake(_delivery(webhooks, account_id, request, b"", live))
    if answer is None:
        raise webhooks.refuse("wechat")
    return Response(answer, media_type="text/plain")


@post("/webhooks/wechat/{account_id:str}", **_DELIVERY)
async def receive_wechat(
    request: AnyRequest, account_id: FromPath[str], webhooks: Part[Webhooks]
) -> Response[str]:
    """A delivery for one official account, by its original id."""
    return await _receive(webhooks, webhooks.wechat, account_id, request)


async def _receive(
    webhooks: Webhooks, platform: AccountWebhook, account_id: str, request: AnyRequest
) -> Response[str]:
    """Acknowledged only when everything in it is durable."""
    body = await _body(request, platform.body_bytes_max)
    live = await webhooks.credentials.live(platform.platform, account_id)
    occurrences = platform.read(_delivery(webhooks, account_id, request, body, live))
    if occurrences is None:
        raise webhooks.refuse(platform.platform)
    # Whose secret it was signed with, theirs it is, whatever was believed of the account before.
    await webhooks.inbound.receive(platform.platform, occurrences, holder=live.org)
    return webhooks.acknowledge(platform.platform, platform.acknowledgement)


def _delivery(
    webhooks: Webhooks, account_id: str, request: AnyRequest, body: bytes, live: Live
) -> Delivery:
    return Delivery(
        account_id=account_id,
        body=body,
        headers=list(request.scope["headers"]),
        query=list(request.query_params.multi_items()),
        credentials=live.credentials,
        now=webhooks.clock.now(),
    )


# A payment provider.


@post("/webhooks/stripe", **_DELIVERY)
async def receive_stripe(request: AnyRequest, webhooks: Part[Webhooks]) -> Response[str]:
    """What became of a payment: acknowledged only when it is durable. Spec L5.

    What is authentic and concerns no purchase of ours is acknowledged too, and kept.
    """
    stripe = webhooks.stripe
    body = await _body(request, WEBHOOK_BODY_BYTES_MAX)
    signatures = [value for name, value in request.scope["headers"] if name == b"stripe-signature"]
    if not stripe.verify(body, signatures, now=webhooks.clock.now()):
        raise webhooks.refuse(stripe.provider)
    said = stripe.parse(body)
    if isinstance(said, PaymentNotice):
        if await webhooks.payments.notice(said):
            return webhooks.acknowledge(stripe.provider)
        said = stripe.not_understood(body)
    await webhooks.inbound.receive(stripe.provider, [said])
    return webhooks.acknowledge(stripe.provider)


async def _body(request: AnyRequest, bytes_max: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > bytes_max:
            raise TooLarge
        chunks.append(chunk)
    return b"".join(chunks)


HANDLERS = (
    verify_whatsapp,
    receive_whatsapp,
    verify_messenger,
    receive_messenger,
    receive_line,
    receive_telegram,
    verify_wechat,
    receive_wechat,
    receive_stripe,
)
