"""What goes wrong, told to whoever can mend it."""

import re
import sys
from typing import Any

import click
import psycopg
from psycopg import errors as postgres
from rich.console import Console
from rich.text import Text

from api.main import OPERATOR_ERRORS
from domain.event import UnknownEventType
from domain.ports import Unavailable

console = Console(stderr=True, highlight=False, soft_wrap=True)

# What a server refuses for what it is, or for who asks; another refusal is a fault of our SQL,
# and whoever looks for that needs its traceback.
_REFUSALS = (
    psycopg.OperationalError,
    postgres.ReadOnlySqlTransaction,
    postgres.InsufficientPrivilege,
    postgres.DataCorrupted,
    postgres.IndexCorrupted,
)
# Of a connection that did not come about, libpq knows no code, only what the server said.
_IS_FULL = re.compile(
    "too many clients|too many connections|connection slots are reserved|no more connections"
)
# The connection broke (class 08), or the server is ending or not there yet (class 57P).
_AWAY = ("08", "57P")


class Clearly(click.Group):
    """Errors that an operator can mend are told in a sentence, with exit code 1.

    It stands around all commands, so that none can forget it.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except OPERATOR_ERRORS as error:
            _say(str(error))
        except UnknownEventType as error:
            _say(f"The log holds {error}, which this version does not know: use a newer one.")
        except (*_REFUSALS, Unavailable) as error:
            _say_of_database(error)
        except BrokenPipeError:
            raise  # Whoever read us has read enough: click ends without a word.
        except OSError as error:
            _say(str(error))
        sys.exit(1)


def _say(text: str) -> None:
    console.print("[red]trunkline:[/red]", Text(text))


def _say_of_database(error: psycopg.Error | Unavailable) -> None:
    code = None if isinstance(error, Unavailable) else error.sqlstate
    if _IS_FULL.search(str(error)):
        _say(f"All connections of the database are taken: {error}")
        _say("Raise its max_connections, or its user's limit: README.md says how many we open.")
    elif code is None or code.startswith(_AWAY):
        _say(f"The database cannot be reached: {error}")
        _say("Look at TRUNKLINE_DATABASE_URL (trunkline config lists everything).")
    else:
        _say(f"The database refuses: {error}")
        if isinstance(error, postgres.ReadOnlySqlTransaction):
            _say("It may only be read: a standby, or default_transaction_read_only is on.")
