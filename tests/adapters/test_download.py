"""Whom we ask for files: a platform's own hosts at public addresses (OWASP API7:2023)."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from adapters.download import Downloader, is_public
from adapters.exchange import TimeLimits, new_http_client
from adapters.fakes.server import Answer, FakeServer, Request
from domain.media import FILE_BYTES_MAX
from domain.media_ports import Gone, NotYet

HOSTS = ("*.fbcdn.net", "graph.facebook.com")


class Asked:
    """A server that notes what it is asked, and answers as it is told."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answer = Answer(body=b"the file")

    def handle(self, request: Request) -> Answer:
        self.requests.append(request)
        return self.answer


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
async def server(asked: Asked) -> AsyncIterator[FakeServer]:
    server = FakeServer(asked.handle)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with new_http_client() as client:
        yield client


def downloader(client: httpx.AsyncClient, base: str, **limits: float) -> Downloader:
    return Downloader(
        client,
        hosts=HOSTS,
        base_address=base,
        limits=TimeLimits(**limits),
    )


async def fetched(downloader: Downloader, address: str, **headers: str) -> bytes:
    async with downloader.open(address, headers) as download:
        return b"".join([chunk async for chunk in download.chunks])


@pytest.mark.parametrize(
    "address",
    [
        "http://cdn.fbcdn.net/a",  # In clear.
        "https://cdn.fbcdn.net:8443/a",
        "https://cdn.fbcdn.net@127.0.0.1/a",
        "https://user:word@cdn.fbcdn.net/a",
        "https://127.0.0.1/a",
        "https://127.1/a",
        "https://0/a",
        "https://2130706433/a",
        "https://0x7f000001/a",
        "https://0177.0.0.1/a",
        "https://[::1]/a",
        "https://[::ffff:127.0.0.1]/a",
        "https://169.254.169.254/latest/meta-data",
        "https://localhost/a",
        "https://fbcdn.net.evil.example/a",
        "https://evilfbcdn.net/a",
        "https://fbcdn.net/a",  # `*.` stands for something.
        "https://graph.facebook.com./a",
        "https://xn--fbcdn-6ya.net/a",
        "file:///etc/passwd",
        "gopher://cdn.fbcdn.net/a",
        "//cdn.fbcdn.net/a",
        "",
        "https://",
        "https://[/a",
        "https://cdn.fbcdn.net\x00.evil.example/a",
    ],
)
async def test_nobody_else_is_asked(
    client: httpx.AsyncClient, asked: Asked, server: FakeServer, address: str
) -> None:
    with pytest.raises(Gone, match="host_not_allowed"):
        await fetched(downloader(client, "https://graph.facebook.com"), address)
    with pytest.raises(Gone, match="host_not_allowed"):
        await fetched(downloader(client, server.base_url), address)
    assert asked.requests == []


PRIVATE = (
    "127.0.0.1",
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.168.1.1",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "::ffff:10.0.0.1",
    "fc00::1",
    "fe80::1",
    "ff02::1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "2001:0:4136:e378::1",
    "not an address",
)


def resolves_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """From now on every name has these addresses; the names that were asked for."""
    names: list[str] = []

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        names.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    return names


@pytest.mark.parametrize("address", PRIVATE)
async def test_a_known_host_with_an_address_of_ours_is_not_asked(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """Also where only one of several is: which of them is used is left to chance."""
    assert not is_public(address)
    resolves_to(monkeypatch, "8.8.8.8", address)
    with pytest.raises(Gone, match="address_not_public"):
        await fetched(downloader(client, "https://graph.facebook.com"), "https://a.fbcdn.net/b")


async def test_it_connects_to_the_address_that_was_looked_at(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second answer to the same question changes nothing (DNS rebinding)."""
    sent: list[httpx.Request] = []

    async def send(request: httpx.Request, **_: Any) -> httpx.Response:
        sent.append(request)
        raise httpx.ConnectError("No network here.")

    names = resolves_to(monkeypatch, "157.240.1.35")
    monkeypatch.setattr(client, "send", send)
    with pytest.raises(NotYet, match="connection"):
        await fetched(downloader(client, "https://graph.facebook.com"), "https://a.fbcdn.net/b?c=d")
    (request,) = sent
    assert names == ["a.fbcdn.net"]
    assert str(request.url) == "https://157.240.1.35/b?c=d"
    assert request.headers["host"] == "a.fbcdn.net"
    assert request.extensions["sni_hostname"] == "a.fbcdn.net"


async def test_the_configured_address_is_asked_wherever_it_is(
    client: httpx.AsyncClient, asked: Asked, server: FakeServer
) -> None:
    address = f"{server.base_url}/a"
    found = await fetched(downloader(client, server.base_url), address, Authorization="Bearer t")
    assert found == b"the file"
    (request,) = asked.requests
    assert (request.headers["authorization"], request.headers["accept-encoding"]) == (
        "Bearer t",
        "identity",
    )


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(
    client: httpx.AsyncClient, asked: Asked, server: FakeServer, status: int
) -> None:
    location = (("Location", f"{server.base_url}/elsewhere"),)
    asked.answer = Answer(status=status, headers=location)
    with pytest.raises(Gone, match="redirected"):
        await fetched(downloader(client, server.base_url), f"{server.base_url}/a")
    assert len(asked.requests) == 1


@pytest.mark.parametrize(
    ("answer", "error", "reason"),
    [
        (Answer(status=404), Gone, "not_found"),
        (Answer(status=410), Gone, "not_found"),
        (Answer(status=202), NotYet, "not_ready"),
        (Answer(status=401), NotYet, "credentials"),
        (Answer(status=403), NotYet, "credentials"),
        (Answer(status=429), NotYet, "rate_limited"),
        (Answer(status=500), NotYet, "unavailable"),
        (Answer(status=206), NotYet, "unavailable"),
        (Answer(drops=True), NotYet, "connection"),
        (Answer(headers=(("Content-Encoding", "gzip"),)), NotYet, "compressed"),
        (
            Answer(headers=(("Content-Length", str(FILE_BYTES_MAX + 1)),)),
            Gone,
            "too_large",
        ),
        (Answer(body=b"half", headers=(("Content-Length", "8"),)), NotYet, "connection"),
    ],
)
async def test_whatever_comes_instead_of_a_file_has_a_name(
    client: httpx.AsyncClient,
    asked: Asked,
    server: FakeServer,
    answer: Answer,
    error: type[Exception],
    reason: str,
) -> None:
    asked.answer = answer
    with pytest.raises(error, match=reason):
        await fetched(downloader(client, server.base_url), f"{server.base_url}/a")


async def test_a_file_that_drips_is_not_waited_for(
    client: httpx.AsyncClient, asked: Asked, server: FakeServer
) -> None:
    """Each byte comes within the time for reading; together they would take a minute."""
    asked.answer = Answer(body=bytes(300), drip_seconds=0.2)
    hurried = downloader(client, server.base_url, deadline_seconds=0.5)
    with pytest.raises(NotYet, match="connection"):
        await fetched(hurried, f"{server.base_url}/a")


async def test_what_does_not_say_how_large_it_is_is_counted(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, asked: Asked, server: FakeServer
) -> None:
    monkeypatch.setattr("adapters.download.FILE_BYTES_MAX", 1000)
    asked.answer = Answer(body=bytes(2000))
    with pytest.raises(Gone, match="too_large"):
        await fetched(downloader(client, server.base_url), f"{server.base_url}/a")
