"""WhatsApp as the composition root plugs it in: the webhook with this installation's secrets."""

from collections.abc import Mapping, Sequence

from adapters.whatsapp import webhook
from domain.inbound import AnyOccurrence


class WhatsApp:
    """What the HTTP side needs of WhatsApp."""

    platform = "whatsapp"

    def __init__(self, *, app_secrets: Sequence[str], verify_token: str | None) -> None:
        """Without a secret nothing is authentic; without a verify token no handshake succeeds."""
        self._secrets = [secret.encode() for secret in app_secrets]
        self._verify_token = verify_token or ""

    def verify(self, body: bytes, signatures: Sequence[bytes]) -> bool:
        """Whether the body was signed with one of our app secrets."""
        return webhook.verify(body, signatures, app_secrets=self._secrets)

    def handshake(self, query: Mapping[str, str]) -> str | None:
        """What to answer when the webhook is set up; None to refuse."""
        return webhook.handshake(query, verify_token=self._verify_token)

    def parse(self, body: bytes) -> list[AnyOccurrence]:
        """Everything the body says."""
        return webhook.parse(body)
