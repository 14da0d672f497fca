"""WhatsApp as the composition root plugs it in."""

from adapters.meta import MetaPlatform
from adapters.whatsapp import webhook
from domain.inbound import AnyOccurrence


class WhatsApp(MetaPlatform):
    """What the HTTP side needs of WhatsApp."""

    platform = "whatsapp"

    def parse(self, body: bytes) -> list[AnyOccurrence]:
        """Everything the body says."""
        return webhook.parse(body)
