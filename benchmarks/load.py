"""A load generator: keep-alive connections that each send the next request when one is answered.

Run in a process of its own: `python -m benchmarks.load HOST PORT CONNECTIONS < requests`, where
standard input holds length-prefixed HTTP requests. It prints JSON: requests, seconds, p50, p99.
"""

import asyncio
import json
import struct
import sys
import time
from collections.abc import Iterator

import uvloop

OK = b"HTTP/1.1 200"


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, requests: Iterator[bytes], latencies: list[float]) -> None:
        self._requests = requests
        self._latencies = latencies
        self.closed = asyncio.get_running_loop().create_future()
        self.refused = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._next()

    def _next(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._transport.close()
            return
        self._began = time.perf_counter()
        self._transport.write(request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        # Answers here are small: head and body come in one piece.
        self._latencies.append(time.perf_counter() - self._began)
        self.refused += not data.startswith(OK)
        self._next()

    def connection_lost(self, _: Exception | None) -> None:
        self.closed.set_result(None)


async def run(host: str, port: int, connections: int, requests: list[bytes]) -> dict[str, float]:
    """Send every request once, over so many connections, as fast as they are answered."""
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    queue = iter(requests)
    began = time.perf_counter()
    clients = []
    for _ in range(connections):
        _, client = await loop.create_connection(lambda: Connection(queue, latencies), host, port)
        clients.append(client)
    await asyncio.gather(*(client.closed for client in clients))
    seconds = time.perf_counter() - began
    latencies.sort()
    return {
        "requests": len(latencies),
        "refused": sum(client.refused for client in clients),
        "seconds": seconds,
        "p50_ms": latencies[len(latencies) // 2] * 1000,
        "p99_ms": latencies[len(latencies) * 99 // 100] * 1000,
    }


def packed(requests: list[bytes]) -> bytes:
    """Requests as `main` reads them."""
    return b"".join(struct.pack(">I", len(each)) + each for each in requests)


def main() -> None:
    host, port, connections = sys.argv[1:]
    data = sys.stdin.buffer.read()
    requests = []
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        requests.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    print(json.dumps(uvloop.run(run(host, int(port), int(connections), requests))))


if __name__ == "__main__":
    main()
