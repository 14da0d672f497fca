"""Whom messages are sent to, and who gives files out: one line for each platform."""

from collections.abc import Callable, Mapping

import httpx

from adapters.line.client import MessagingApi
from adapters.line.media import LineMedia
from adapters.messenger.client import SendApi
from adapters.messenger.media import MessengerMedia
from adapters.telegram.client import BotApi
from adapters.telegram.media import TelegramMedia
from adapters.wechat.client import WeChatApi
from adapters.wechat.media import WeChatMedia
from adapters.whatsapp.client import CloudApi
from adapters.whatsapp.media import WhatsAppMedia
from domain.access_token import AccessTokens
from domain.dispatch_ports import Platform
from domain.media_ports import MediaSource

# Makes a platform's client; the text is the address of its API.
CLIENTS: Mapping[str, Callable[[httpx.AsyncClient, str, AccessTokens], Platform]] = {
    "whatsapp": lambda client, base, _: CloudApi(client, base_address=base),
    "messenger": lambda client, base, _: SendApi(client, base_address=base),
    "line": lambda client, base, _: MessagingApi(client, base_address=base),
    "telegram": lambda client, base, _: BotApi(client, base_address=base),
    "wechat": lambda client, base, tokens: WeChatApi(client, tokens, base_address=base),
}

# Makes what gives out a platform's files; the text is the address it is asked at.
MEDIA: Mapping[str, Callable[[httpx.AsyncClient, str, AccessTokens], MediaSource]] = {
    "whatsapp": lambda client, base, _: WhatsAppMedia(client, base_address=base),
    "messenger": lambda client, base, _: MessengerMedia(client, base_address=base),
    "line": lambda client, base, _: LineMedia(client, base_address=base),
    "telegram": lambda client, base, _: TelegramMedia(client, base_address=base),
    "wechat": lambda client, base, tokens: WeChatMedia(client, tokens, base_address=base),
}


def senders(
    client: httpx.AsyncClient, api_bases: Mapping[str, str], tokens: AccessTokens
) -> dict[str, Platform]:
    """The clients of all platforms, over one pool of connections."""
    return {
        platform: make(client, api_bases[platform], tokens) for platform, make in CLIENTS.items()
    }


def media_sources(
    client: httpx.AsyncClient, media_bases: Mapping[str, str], tokens: AccessTokens
) -> dict[str, MediaSource]:
    """What gives out the files of each platform, over one pool of connections."""
    return {
        platform: make(client, media_bases[platform], tokens) for platform, make in MEDIA.items()
    }
