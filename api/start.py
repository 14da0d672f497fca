"""Where the program begins: before the rest is imported, which takes half a second."""

import sys
from io import TextIOWrapper


def main() -> None:
    """Run the command line; Ctrl-C says no more while it is loaded than it does later."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # Names come from everywhere, terminals do not.
            stream.reconfigure(errors="backslashreplace")
    try:
        from api.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit("\nAborted!")
