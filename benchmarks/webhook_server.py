"""The API alone, as `trunkline serve --role api` runs it; with `cut`, nothing behind the parser.

Run as `python -m benchmarks.webhook_server DATABASE_URL SECRET [cut]`; prints its port when ready.
"""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import uvloop

from api.main import Database, core
from api.server import collect_seldom, serve_http
from api.settings import Settings
from domain.inbound import AnyOccurrence


class Cut:
    """Takes what was verified and parsed, and lets it go."""

    async def receive(self, platform: str, occurrences: Sequence[AnyOccurrence]) -> None:
        """Nothing is decided and nothing is written."""


async def run(url: str, secret: str, *, cut: bool) -> None:
    """Serve until the process is ended."""
    settings = Settings(
        home=Path("."), database_url=url, master_key=bytes(32), meta_app_secrets=(secret,)
    )
    collect_seldom()
    async with core(settings, Database(url, url, None, False)) as parts:
        served = replace(parts, inbound=Cut()) if cut else parts  # type: ignore[arg-type]
        await serve_http(
            served, "127.0.0.1", 0, asyncio.Event(), lambda address: print(address, flush=True)
        )


if __name__ == "__main__":
    uvloop.run(run(sys.argv[1], sys.argv[2], cut="cut" in sys.argv[3:]))
