"""What platforms send: verify the raw bytes, parse, write down, acknowledge (P1, P2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from litestar import Request, Response, get, post

from api.commands.inbound import Inbound
from api.parts import Part
from api.problems import TooLarge, WebhookRefused
from domain.inbound import AnyOccurrence
from domain.refusal import Forbidden

META_BODY_BYTES_MAX = 4 * 1024 * 1024


class MetaWebhook(Protocol):
    """A platform of Meta's, as its adapter reads it."""

    platform: str

    def verify(self, body: bytes, signatures: Sequence[bytes]) -> bool:
        """Whether the body was signed with our app secret."""

    def handshake(self, query: Mapping[str, str]) -> str | None:
        """What to answer when the webhook is set up; None to refuse."""

    def parse(self, body: bytes) -> list[AnyOccurrence]:
        """Everything the body says."""


@dataclass
class Webhooks:
    """All that these handlers need, in one part: several are resolved by a task group each time,
    which took a quarter of the time of a delivery."""

    whatsapp: MetaWebhook
    inbound: Inbound
    refused: dict[str, int] = field(default_factory=dict)  # By platform: all that refusals leave.

    def count_refusal(self, platform: str) -> None:
        """One more."""
        self.refused[platform] = self.refused.get(platform, 0) + 1


@get("/webhooks/whatsapp", opt={"raw_body": True}, media_type="text/plain")
async def verify_whatsapp(request: Request[Any, Any, Any], webhooks: Part[Webhooks]) -> str:
    """Meta's handshake: the challenge goes back word by word."""
    challenge = webhooks.whatsapp.handshake(dict(request.query_params))
    if challenge is None:
        raise Forbidden("The verify token is not the one of this installation.")
    return challenge


@post("/webhooks/whatsapp", opt={"raw_body": True}, status_code=200, media_type="text/plain")
async def receive_whatsapp(
    request: Request[Any, Any, Any], webhooks: Part[Webhooks]
) -> Response[str]:
    """A delivery: acknowledged only when everything in it is durable."""
    whatsapp = webhooks.whatsapp
    body = await _body(request)
    signatures = [
        value for name, value in request.scope["headers"] if name == b"x-hub-signature-256"
    ]
    if not whatsapp.verify(body, signatures):
        webhooks.count_refusal(whatsapp.platform)
        raise WebhookRefused
    await webhooks.inbound.receive(whatsapp.platform, whatsapp.parse(body))
    return Response("", media_type="text/plain")


async def _body(request: Request[Any, Any, Any]) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > META_BODY_BYTES_MAX:
            raise TooLarge
        chunks.append(chunk)
    return b"".join(chunks)


HANDLERS = (verify_whatsapp, receive_whatsapp)
