"""What the machine gives: time and chance."""

import secrets
from datetime import UTC, datetime

from domain.identifiers import identifier


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The time, in UTC."""
        return datetime.now(UTC)


def new_id() -> str:
    """A random identifier."""
    return identifier(secrets.token_bytes(16))
