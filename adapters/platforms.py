"""Whom messages are sent to: one line for each platform."""

from collections.abc import Callable, Mapping

import httpx

from adapters.line.client import MessagingApi
from adapters.messenger.client import SendApi
from adapters.telegram.client import BotApi
from adapters.wechat.client import WeChatApi
from adapters.whatsapp.client import CloudApi
from domain.access_token import AccessTokens
from domain.ports import Platform

# Makes a platform's client; the text is the address of its API.
CLIENTS: Mapping[str, Callable[[httpx.AsyncClient, str, AccessTokens], Platform]] = {
    "whatsapp": lambda client, base, _: CloudApi(client, base_address=base),
    "messenger": lambda client, base, _: SendApi(client, base_address=base),
    "line": lambda client, base, _: MessagingApi(client, base_address=base),
    "telegram": lambda client, base, _: BotApi(client, base_address=base),
    "wechat": lambda client, base, tokens: WeChatApi(client, tokens, base_address=base),
}


def senders(
    client: httpx.AsyncClient, api_bases: Mapping[str, str], tokens: AccessTokens
) -> dict[str, Platform]:
    """The clients of all platforms, over one pool of connections."""
    return {
        platform: make(client, api_bases[platform], tokens) for platform, make in CLIENTS.items()
    }
