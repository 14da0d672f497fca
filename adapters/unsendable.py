"""A message that no platform is asked to send, because it would refuse it."""

from domain.outbound import Rejected


class Unsendable(ValueError):
    """The platform would not take this message, so it is not asked."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason

    @property
    def answer(self) -> Rejected:
        """The same answer as the platform's own."""
        return Rejected(reason=self.reason, code=None, detail=str(self))
