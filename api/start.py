"""Where the program begins: before the rest is imported, which takes half a second."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C says no more while it is loaded than it does later."""
    try:
        from api.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit("\nAborted!")
