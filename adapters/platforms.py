"""Whom messages are sent to: one line for each platform."""

from collections.abc import Callable, Mapping

import httpx

from adapters.line.client import MessagingApi
from adapters.messenger.client import SendApi
from adapters.telegram.client import BotApi
from adapters.whatsapp.client import CloudApi
from domain.ports import Platform

# Makes a platform's client; the text is the address of its API.
CLIENTS: Mapping[str, Callable[[httpx.AsyncClient, str], Platform]] = {
    "whatsapp": lambda client, base: CloudApi(client, base_address=base),
    "line": lambda client, base: MessagingApi(client, base_address=base),
    "telegram": lambda client, base: BotApi(client, base_address=base),
    "messenger": lambda client, base: SendApi(client, base_address=base),
}


def senders(client: httpx.AsyncClient, api_bases: Mapping[str, str]) -> dict[str, Platform]:
    """The clients of all platforms, over one pool of connections."""
    return {platform: make(client, api_bases[platform]) for platform, make in CLIENTS.items()}
