"""A process that appends until it is killed; prints what it was told is written.

Arguments: the database's address, an organisation's number and id, a name for its own streams.
"""

import asyncio
import sys

from domain.ports import Org
from tests.adapters.log_scenario import Process, process


async def write_for_ever(one: Process, org: Org, stream: str, name: str) -> None:
    count = 0
    while True:
        count += 1
        text = f"{name}-{stream}-{count}"
        streams = (stream, "shared") if count % 5 == 0 else (stream,)
        appended = await one.write(org, *streams, text=text)
        print(text, appended.first, appended.last, flush=True)


async def main(url: str, number: str, org_id: str, name: str) -> None:
    async with process(url) as one:
        org = Org(int(number), org_id)
        streams = [f"{name}:{n}" for n in range(12)]
        await asyncio.gather(*(write_for_ever(one, org, stream, name) for stream in streams))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
