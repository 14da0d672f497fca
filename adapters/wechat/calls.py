"""Requests to WeChat's API. The token stands in the address, so no log may show that."""

from collections.abc import AsyncIterator, Mapping
from urllib.parse import urlencode

import httpx

from adapters.exchange import HEADERS


def call(
    base_address: str,
    path: str,
    *,
    content: bytes | AsyncIterator[bytes],
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> httpx.Request:
    """A request as httpx logs it: without its query, which goes out all the same."""
    url = httpx.URL(f"{base_address.rstrip('/')}/cgi-bin/{path}")
    target = url.raw_path + (b"?" + urlencode(query).encode() if query else b"")
    return httpx.Request(
        "POST",
        url,
        headers={**HEADERS, "Content-Type": "application/json", **(headers or {})},
        content=content,
        extensions={"target": target},
    )
