"""Messenger as the composition root plugs it in."""

from adapters.messenger import webhook
from adapters.meta import MetaPlatform
from domain.inbound import AnyOccurrence


class Messenger(MetaPlatform):
    """What the HTTP side needs of Messenger."""

    platform = "messenger"

    def parse(self, body: bytes) -> list[AnyOccurrence]:
        """Everything the body says."""
        return webhook.parse(body)
