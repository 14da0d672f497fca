"""What operators read: one line for each thing that happened, with its facts."""

import json
import logging
from time import monotonic

# Of one kind of warning, one is shown so often where every request or connection has it.
QUIET_SECONDS = 60.0
# While the database is away, whoever asks for it and the driver itself say so each time.
REPETITIVE = ("api.problems", "psycopg", "psycopg.pool")

_OF_EVERY_RECORD = {*vars(logging.makeLogRecord({})), "message", "asctime"}


def log_to_stderr() -> None:
    """Show warnings and worse, as `serve` does."""
    handler = logging.StreamHandler()
    handler.setFormatter(Line("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    for name in REPETITIVE:
        logging.getLogger(name).addFilter(Seldom())


class Line(logging.Formatter):
    """The sentence, then the facts that were given with it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name.
        """Without a traceback, which the formatter puts behind."""
        given = {name: vars(record)[name] for name in vars(record).keys() - _OF_EVERY_RECORD}
        facts = [f"{name}={_written(given[name])}" for name in sorted(given)]
        return " ".join([super().formatMessage(record), *facts])


class Seldom(logging.Filter):
    """Leaves out a warning of a kind that was shown a moment ago; errors are all shown."""

    def __init__(self) -> None:
        super().__init__()
        self._shown_at: dict[object, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Its kind is its text before anything is filled in."""
        if record.levelno > logging.WARNING:
            return True
        now = monotonic()
        if now - self._shown_at.get(record.msg, -QUIET_SECONDS) < QUIET_SECONDS:
            return False
        self._shown_at[record.msg] = now
        return True


def _written(fact: object) -> str:
    return json.dumps(fact, ensure_ascii=False, default=str)
