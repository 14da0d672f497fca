"""What Meta's webhooks have in common: one app secret and one verify token for all accounts."""

import hmac
from collections.abc import Mapping, Sequence

from domain.inbound import AnyOccurrence


class MetaPlatform:
    """A platform of Meta's as the composition root plugs it in; it knows its name and `parse`."""

    platform: str

    def __init__(self, *, app_secrets: Sequence[str], verify_token: str | None) -> None:
        """Without a secret nothing is authentic; without a verify token no handshake succeeds."""
        self._secrets = [secret.encode() for secret in app_secrets]
        self._verify_token = verify_token or ""

    def verify(self, body: bytes, signatures: Sequence[bytes]) -> bool:
        """Whether the body was signed with one of our app secrets."""
        return verify(body, signatures, app_secrets=self._secrets)

    def handshake(self, query: Mapping[str, str]) -> str | None:
        """What to answer when the webhook is set up; None to refuse."""
        return handshake(query, verify_token=self._verify_token)

    def parse(self, body: bytes) -> list[AnyOccurrence]:
        """Everything the body says."""
        raise NotImplementedError


def verify(
    body: bytes, signature_headers: Sequence[bytes], *, app_secrets: Sequence[bytes]
) -> bool:
    """Whether Meta signed exactly these bytes, with one of the secrets that are live.

    `signature_headers` are all values of X-Hub-Signature-256: two are as good as none, because
    a proxy and we might look at different ones. Every refusal takes the same path.
    """
    given = signature_headers[0] if len(signature_headers) == 1 else b""
    genuine = False
    for secret in app_secrets:
        expected = b"sha256=" + signature(secret, body)
        # Anybody can sign with an empty secret: it stands for one that was not configured.
        genuine |= hmac.compare_digest(expected, given) and bool(secret)
    return genuine


def signature(app_secret: bytes, body: bytes) -> bytes:
    """What Meta writes behind `sha256=`, as hexadecimal digits."""
    return hmac.digest(app_secret, body, "sha256").hex().encode()


def handshake(query: Mapping[str, str], *, verify_token: str) -> str | None:
    """The challenge to answer with when Meta registers our address, or None to refuse it."""
    given = query.get("hub.verify_token", "").encode("utf-8", "surrogatepass")
    expected = verify_token.encode("utf-8", "surrogatepass")
    if not hmac.compare_digest(expected, given) or not expected:
        return None
    return query.get("hub.challenge") if query.get("hub.mode") == "subscribe" else None
