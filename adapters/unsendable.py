"""A message that no platform is asked to send: it would refuse it, or has not got the file."""

from domain.outbound import AccountUnusable, Deferred, Rejected, Unsettled

# Every answer but `Accepted`.
NotAccepted = Rejected | Deferred | AccountUnusable | Unsettled


class Unsendable(ValueError):
    """The platform would not take this message, so it is not asked."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason

    @property
    def answer(self) -> Rejected:
        """The same answer as the platform's own."""
        return Rejected(reason=self.reason, code=None, detail=str(self))


class NotAsked(Exception):
    """A step before the message failed, so the platform was not asked to send it."""

    def __init__(self, answer: NotAccepted) -> None:
        """`answer` is the one to that step; whatever became of it, no message was sent."""
        super().__init__(answer)
        is_open = isinstance(answer, Unsettled)
        self.answer = Deferred(reason=answer.reason) if is_open else answer
