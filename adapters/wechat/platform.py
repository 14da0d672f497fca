"""WeChat as the composition root plugs it in."""

from datetime import timedelta

from adapters.wechat import webhook
from adapters.wechat.crypto import NotAuthentic
from domain.inbound import AnyOccurrence
from domain.webhook import Delivery


class WeChat:
    """What the HTTP side needs of WeChat."""

    platform = "wechat"
    body_bytes_max = 64 * 1024
    # Anything else makes WeChat tell the customer that the account is out of order.
    acknowledgement = "success"

    def __init__(self, *, clock_tolerance_seconds: int) -> None:
        """How old or new a signature may be; 0 for any age, to read recorded deliveries."""
        seconds = clock_tolerance_seconds
        self._tolerance = timedelta(seconds=seconds) if seconds else None

    def handshake(self, delivery: Delivery) -> str | None:
        """What to answer when the address is set up; None if it is not authentic."""
        return webhook.handshake(delivery, tolerance=self._tolerance)

    def read(self, delivery: Delivery) -> list[AnyOccurrence] | None:
        """Everything a delivery says; None if it is not authentic."""
        try:
            return webhook.read(delivery, tolerance=self._tolerance)
        except NotAuthentic:
            return None
