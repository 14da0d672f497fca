"""Telegram's webhook: who may call it, and what a call says. Bytes in, occurrences out, no I/O.

The body is not signed: whoever knows the secret token of the webhook may say anything, so what
no program of Telegram's would write is refused (P2). What is written well and not understood is
kept as it came.
"""

import hmac
from collections.abc import Sequence

from adapters import tolerant
from adapters.readers import is_number
from adapters.telegram.updates import read_update
from domain.inbound import AnyOccurrence


def verify(token: bytes, *, secret_tokens: Sequence[bytes]) -> bool:
    """Whether the caller knows one of the webhook's live secret tokens."""
    genuine = False
    for secret in secret_tokens:
        # An empty one stands for an account that has none.
        genuine |= hmac.compare_digest(secret, token) and bool(secret)
    return genuine


def parse(body: bytes, *, account_id: str) -> list[AnyOccurrence]:
    """Everything that an update tells. Raises Malformed."""
    update = tolerant.decode_strictly(body)
    if not isinstance(update, dict):
        raise tolerant.Malformed
    update_id = update.get("update_id")
    if not is_number(update_id) or not isinstance(update_id, int) or update_id < 0:
        raise tolerant.Malformed
    return read_update(account_id, update)
