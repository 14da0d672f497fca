"""Requests to the Bot API. The address of each holds the bot's token, which nobody may see (P4).

So the address that a request shows to logs and errors is that of the server alone, and the path
travels beside it.
"""

import re
from collections.abc import AsyncIterator, Mapping

import httpx

from adapters.exchange import HEADERS

# As BotFather gives it: the bot's own id, and its secret. It may not lead to another path.
TOKEN = re.compile(r"[0-9]{1,20}:[A-Za-z0-9_-]{1,256}", re.ASCII)


def is_token(bot_token: str) -> bool:
    """Whether it can stand in an address."""
    return TOKEN.fullmatch(bot_token) is not None


def call(
    base_address: str,
    bot_token: str,
    method: str,
    *,
    content: bytes | AsyncIterator[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
) -> httpx.Request:
    """A request for one method of the Bot API; `is_token` has said yes to the token."""
    return hidden("POST", base_address, f"bot{bot_token}/{method}", content, headers)


def hidden(
    verb: str,
    base_address: str,
    path: str,
    content: bytes | AsyncIterator[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
) -> httpx.Request:
    """A request whose path is seen by nobody but the server."""
    root = httpx.URL(f"{base_address.rstrip('/')}/")
    request = httpx.Request(verb, root, headers={**HEADERS, **(headers or {})}, content=content)
    request.extensions = {"target": root.raw_path + path.encode()}
    return request
