"""Files from platforms: of known hosts only, at public addresses, no redirects, no more than so
much, in no more than so long. Nothing that a customer writes may make us ask anybody
else (OWASP API7:2023).
"""

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import httpx

from adapters.exchange import TimeLimits
from domain.media import FILE_BYTES_MAX
from domain.media_ports import Download, Gone, NotYet

LIMITS = TimeLimits(deadline_seconds=180.0)

# These lead on to other addresses, which may be anybody's: NAT64, 6to4, Teredo.
_TUNNELS = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "2002::/16", "2001::/32")))

_GONE = {404: "not_found", 410: "not_found"}
_NOT_YET = {202: "not_ready", 401: "credentials", 403: "credentials", 429: "rate_limited"}


class Downloader:
    """Downloads from the hosts of one platform."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        hosts: Sequence[str],
        base_address: str,
        limits: TimeLimits = LIMITS,
    ) -> None:
        """`hosts` may begin with `*.`. A base address that is not one of them was configured by
        whoever runs this, and is asked wherever it is."""
        self._client = client
        self._hosts = tuple(hosts)
        self._base = httpx.URL(base_address)
        self._limits = limits

    @asynccontextmanager
    async def open(
        self, address: str, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[Download]:
        """Begin to read what is at an address. Raises NotYet, Gone; so does reading on."""
        async with asyncio.timeout(self._limits.connect_seconds * 2):
            request = await self._request(address, headers or {})
        try:
            async with asyncio.timeout(self._limits.deadline_seconds):
                response = await self._client.send(request, stream=True, follow_redirects=False)
                try:
                    yield _download(response)
                finally:
                    await response.aclose()
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:  # A time-out is one, too.
            raise NotYet("connection") from error

    async def _request(self, address: str, headers: Mapping[str, str]) -> httpx.Request:
        try:
            url = httpx.URL(address)
        except (httpx.InvalidURL, TypeError) as error:
            raise Gone("host_not_allowed") from error
        extensions: dict[str, object] = {"timeout": self._limits.timeouts}
        host = url.host
        if not self._is_configured(url):
            self._require_known(url)
            extensions["sni_hostname"] = host
            url = url.copy_with(host=await _public_address(host))
        asked = {
            "Host": host if "sni_hostname" in extensions else url.netloc.decode(),
            "Accept-Encoding": "identity",
            "User-Agent": "trunkline",
            **headers,
        }
        return httpx.Request("GET", url, headers=asked, extensions=extensions)

    def _is_configured(self, url: httpx.URL) -> bool:
        """Whether it is at an address that is not the platform's own, but stands in for it."""
        same = (url.scheme, url.host, url.port) == (
            self._base.scheme,
            self._base.host,
            self._base.port,
        )
        return same and not self._is_known(url.host) and not url.userinfo

    def _is_known(self, host: str) -> bool:
        return any(
            host == each or (each.startswith("*.") and host.endswith(each[1:]))
            for each in self._hosts
        )

    def _require_known(self, url: httpx.URL) -> None:
        is_plain = url.scheme == "https" and url.port is None and not url.userinfo
        if not is_plain or not self._is_known(url.host):
            raise Gone("host_not_allowed")


async def _public_address(host: str) -> str:
    """An address of the host that is not one of ours; all of its addresses are looked at.

    It is connected to that very address, so a second answer to the same question changes nothing.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, 443, type=socket.SOCK_STREAM)
    except OSError as error:
        raise NotYet("host_not_found") from error
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses or not all(map(is_public, addresses)):
        raise Gone("address_not_public")
    return addresses[0]


def is_public(address: str) -> bool:
    """Whether an address is out there, and not of this machine or network."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if ip.version == 6 and any(ip in tunnel for tunnel in _TUNNELS):
        return False
    return ip.is_global and not ip.is_multicast


def _download(response: httpx.Response) -> Download:
    """Raises NotYet, Gone for anything but a file."""
    status = response.status_code
    if status in _GONE:
        raise Gone(_GONE[status])
    if 300 <= status < 400:
        raise Gone("redirected")
    if status != 200:
        raise NotYet(_NOT_YET.get(status, "unavailable"))
    if response.headers.get("content-encoding", "identity") != "identity":
        raise NotYet("compressed")  # We asked for none: a few bytes could become gigabytes.
    announced = response.headers.get("content-length", "")
    byte_count = int(announced) if announced.isascii() and announced.isdigit() else None
    if byte_count is not None and byte_count > FILE_BYTES_MAX:
        raise Gone("too_large")
    return Download(
        chunks=_chunks(response),
        mime_type=response.headers.get("content-type"),
        byte_count=byte_count,
    )


async def _chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    byte_count = 0
    async for chunk in response.aiter_raw():
        byte_count += len(chunk)
        if byte_count > FILE_BYTES_MAX:
            raise Gone("too_large")
        yield chunk
