"""Telegram as the composition root plugs it in."""

from adapters.telegram import webhook
from adapters.tolerant import Malformed
from domain.inbound import AnyOccurrence
from domain.webhook import Delivery


class Telegram:
    """What the HTTP side needs of Telegram."""

    platform = "telegram"
    body_bytes_max = 1024 * 1024
    # An answer with a body could be a call of a method.
    acknowledgement = ""

    def read(self, delivery: Delivery) -> list[AnyOccurrence] | None:
        """Everything a delivery says; None if it is not authentic."""
        token = delivery.header(b"x-telegram-bot-api-secret-token")
        if not webhook.verify(token, secret_tokens=delivery.secrets("secret_token")):
            return None
        try:
            return webhook.parse(delivery.body, account_id=delivery.account_id)
        except Malformed:
            return None
