"""What the fakes of Meta's platforms share: Graph's errors, signatures, the handshake."""

import hmac
import json
from typing import Any

from adapters.fakes.server import Answer, json_answer

JsonObject = dict[str, Any]

CHALLENGE = "1158201444"
TRACE_ID = "AbCdEfGhIjKlMnOpQrStUv1"


class MetaRefusal(Exception):
    """An answer in Graph's form for a request that is not taken."""

    def __init__(
        self, code: int, title: str, *, status: int = 400, subcode: int | None = None
    ) -> None:
        super().__init__(title)
        self.code = code
        self.title = title
        self.status = status
        self.subcode = subcode

    def body(self, trace_id: str) -> JsonObject:
        """What Graph answers."""
        error: JsonObject = {
            "message": f"(#{self.code}) {self.title}",
            "type": "OAuthException",
            "code": self.code,
            "fbtrace_id": trace_id,
        }
        if self.subcode is not None:
            error["error_subcode"] = self.subcode
        return {"error": error}


def refusal_answer(refusal: MetaRefusal, *, retry_after_seconds: int | None = None) -> Answer:
    """An error in Graph's form."""
    headers = {} if retry_after_seconds is None else {"Retry-After": str(retry_after_seconds)}
    return json_answer(refusal.body(TRACE_ID), status=refusal.status, headers=headers)


def handshake_query(verify_token: str) -> dict[str, str]:
    """What Meta asks an address before it uses it; the answer is to be the challenge."""
    return {
        "hub.mode": "subscribe",
        "hub.challenge": CHALLENGE,
        "hub.verify_token": verify_token,
    }


def signed(body: bytes, app_secret: bytes) -> dict[str, str]:
    """The headers of a delivery."""
    return {
        "Content-Type": "application/json",
        "User-Agent": "facebookexternalua",
        "X-Hub-Signature-256": f"sha256={hmac.digest(app_secret, body, 'sha256').hex()}",
    }


def as_meta_writes(document: JsonObject) -> bytes:
    """Meta escapes everything beyond ASCII, and slashes too."""
    written = json.dumps(document, separators=(",", ":"))
    return written.replace("/", "\\/").encode()
