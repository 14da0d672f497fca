"""A server that dies where its plan says: python -m tests.failures.child PLAN

It is the real one in every part; only what the plan names is wrapped.
"""

import asyncio
import sys
from datetime import UTC, datetime, timedelta

import msgspec
import uvloop

from api.main import Database, core, found
from api.server import serve
from api.settings import Settings, load
from api.system import SystemClock
from tests.failures.points import WITHOUT, die_at


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is special about a process."""

    dies_at: str | None = None
    passing: int = 1
    without: str | None = None
    ahead_seconds: float = 0.0  # Its clock.
    founds: str | None = None  # Instead of serving: the name of a new organisation.


async def run(plan: Plan, settings: Settings, where: Database) -> None:
    if plan.founds is not None:
        async with core(settings, where) as parts:
            if plan.dies_at is not None:
                die_at(plan.dies_at, passing=plan.passing)  # The installation's own is made.
            _, _, key = await found(parts, plan.founds)
            print(key, flush=True)
        return
    if plan.dies_at is not None:
        die_at(plan.dies_at, passing=plan.passing)

    def ready(address: str | None) -> None:
        print(address, flush=True)

    await serve(settings, where, host="127.0.0.1", port=0, role="all", ready=ready)


def main(plan: Plan) -> None:
    if plan.without is not None:
        WITHOUT[plan.without]()
    if plan.ahead_seconds:
        ahead = timedelta(seconds=plan.ahead_seconds)

        def now(self: SystemClock) -> datetime:
            return datetime.now(UTC) + ahead

        SystemClock.now = now  # type: ignore[method-assign]
    settings = load()
    assert settings.database_url is not None
    where = Database(settings.database_url, settings.database_url, None, False)
    runner = asyncio.run if plan.founds else uvloop.run
    runner(run(plan, settings, where))


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=Plan))
