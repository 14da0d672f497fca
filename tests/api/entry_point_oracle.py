"""Free entry points word by word (L1), with no bound on what is remembered."""

from datetime import datetime, timedelta

from domain.chat_events import MessageFailed, MessageReceived, ReceiptReceived, ReplyRequested
from domain.event import Recorded

DAY = timedelta(hours=24)
THREE_DAYS = timedelta(hours=72)


class EntryPointOracle:
    """Everything that happened in a chat."""

    def __init__(self) -> None:
        self._came: list[tuple[int, datetime]] = []  # Position and platform's time.
        self._wrote: dict[str, tuple[int, datetime]] = {}
        self._ended: set[str] = set()
        self._refused: set[str] = set()

    def look(self, recorded: Recorded) -> None:
        """Take up what is new."""
        match recorded.event:
            case MessageReceived(referred=True) as heard:
                self._came.append((recorded.position, heard.at))
            case ReplyRequested() as wrote:
                self._wrote[wrote.message_id] = (recorded.position, wrote.at)
            case MessageFailed() as failed:
                self._end(failed.message_id, is_refused=failed.reason != "discarded")
            case ReceiptReceived(status="failed", message_id=str() as message_id):
                self._end(message_id, is_refused=True)

    def _end(self, message_id: str, *, is_refused: bool) -> None:
        """C15: what was discarded is refused no more."""
        if is_refused and message_id not in self._ended:
            self._refused.add(message_id)
        self._ended.add(message_id)

    def is_free(self, at: datetime) -> bool:
        """Whether what is written now is free, for all that is known now."""
        return any(self._frees(known_since, came, at) for known_since, came in self._came)

    def _frees(self, known_since: int, came: datetime, at: datetime) -> bool:
        answers = [
            wrote
            for message_id, (position, wrote) in self._wrote.items()
            if message_id not in self._refused
            and (wrote >= came or position > known_since)
            and wrote < came + DAY
        ]
        return at < (min(answers) + THREE_DAYS if answers else came + DAY)
