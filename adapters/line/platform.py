"""LINE as the composition root plugs it in."""

from adapters.line import webhook
from domain.inbound import AnyOccurrence
from domain.webhook import Delivery


class Line:
    """What the HTTP side needs of LINE."""

    platform = "line"
    body_bytes_max = 1024 * 1024
    acknowledgement = ""

    def read(self, delivery: Delivery) -> list[AnyOccurrence] | None:
        """Everything a delivery says; None if it is not authentic."""
        secrets = delivery.secrets("channel_secret")
        signature = delivery.header(b"x-line-signature")
        if not webhook.verify(delivery.body, signature, channel_secrets=secrets):
            return None
        try:
            return webhook.parse(delivery.body, account_id=delivery.account_id)
        except webhook.Misdirected:
            return None
