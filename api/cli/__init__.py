"""The command line: `trunkline …`."""

from api.cli.commands import main

__all__ = ["main"]
