"""What loops say of a database that is away: each of them once, and once more when it is back."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import InterfaceError, OperationalError

from domain.ports import Unavailable

# A connection or the server, and not what was asked of it. The pool's time-out is one of these.
AWAY = (OperationalError, InterfaceError, Unavailable)

PAUSE_FIRST_SECONDS = 0.5
PAUSE_MAX_SECONDS = 5.0

logger = logging.getLogger(__name__)


class Outages:
    """Those of the database that one loop meets. It survives them, and whatever else goes wrong."""

    def __init__(self, work: str) -> None:
        """`work`: what the loop cannot do meanwhile, as a log says it ("Looking for messages")."""
        self._work = work
        self.pause_seconds = 0.0  # Until the next round; none while the database is there.

    @property
    def is_on(self) -> bool:
        """Whether the database was away when it was last asked."""
        return self.pause_seconds > 0

    @contextmanager
    def survived(self) -> Iterator[None]:
        """One round of the loop."""
        try:
            yield
        except AWAY as error:
            if not self.is_on:
                logger.warning("%s waits for the database: %s", self._work, _reason(error))
            longer = max(self.pause_seconds * 2, PAUSE_FIRST_SECONDS)
            self.pause_seconds = min(longer, PAUSE_MAX_SECONDS)
        except Exception:
            logger.exception("%s failed", self._work)
        else:
            if self.is_on:
                logger.warning("%s goes on: the database is back", self._work)
            self.pause_seconds = 0.0

    async def pause(self) -> None:
        """Leave it in peace: from one round to the next for longer."""
        await asyncio.sleep(self.pause_seconds)


def report(error: Exception, text: str, **facts: str) -> None:
    """Say that a piece of work failed; where the database is away, in a line."""
    if isinstance(error, AWAY):
        logger.warning("%s: %s", text, _reason(error), extra=facts)
    else:
        logger.error(text, exc_info=error, extra=facts)


def _reason(error: Exception) -> str:
    """The server's own words without their hints."""
    return str(error).partition("\n")[0] or type(error).__name__
