"""What a business has and sees: services on an account, their inboxes, what became of a check.

`Business` has CRM and Desk on one account of a fake platform.
"""

from dataclasses import dataclass
from typing import Any

import httpx

from adapters.fakes.fake import AcceptedSend, Fake
from api.main import Core, found
from tests.api.conftest import Client
from tests.api.deliveries import eventually


async def shared(client: Client, account_id: str, *services: str) -> str:
    """Connect the services to the account, in this order; returns the channel."""
    await client.services(*services)
    for service in services:
        channel = await client.connect(service, account_id)
    return str(channel["id"])


async def texts(client: Client, service: str, chat_id: str) -> list[Any]:
    """A timeline in short: texts, and None for what is masked."""
    messages = await client.messages(service, chat_id)
    return [None if each["masked"] else each["content"]["text"] for each in messages]


async def inbox(client: Client, service: str) -> list[list[str]]:
    """The texts of every chat of a service."""
    await client.settled()
    return [await texts(client, service, chat["id"]) for chat in await client.chats(service)]


async def verification(client: Client, channel_id: str) -> tuple[str, str | None]:
    """What became of the check of the credentials."""
    channel = await client.get(f"/v1/channels/{channel_id}")
    return channel["verification"], channel["verification_reason"]


async def connected(client: Client, account_id: str, service: str = "crm") -> str:
    """A shared channel whose credentials the platform has accepted."""
    channel_id = await shared(client, account_id, service)
    await eventually(lambda: verification(client, channel_id), ("verified", None))
    return channel_id


@dataclass
class Business:
    """Its admin, the platform, and the channel that both services share."""

    org: Client
    fake: Fake
    account_id: str
    channel_id: str = ""

    async def chat_with(self, customer: str) -> str:
        """The chat with a customer, once everything that the platform says has arrived."""
        await self.fake.settled()
        await self.org.settled()
        chats = await self.org.chats("crm", limit=200)
        found = [each for each in chats if each["customer"]["address"] == customer]
        return str(found[0]["id"])

    async def sent(self) -> list[AcceptedSend]:
        """What the platform took from this account."""
        return [each for each in self.fake.accepted if each.account_id == self.account_id]

    async def sent_texts(self, customer: str | None = None) -> list[str | None]:
        """The texts of that, to one customer or to all."""
        return [each.text for each in await self.sent() if customer in (None, each.to)]

    async def fates(self, chat_id: str, service: str = "crm") -> list[tuple[str, Any]]:
        """Status and failure of what was written in a chat."""
        await self.org.settled()
        return [
            (each["status"], each["failure"])
            for each in await self.org.messages(service, chat_id)
            if each["direction"] == "outbound"
        ]

    async def deferred(self) -> set[str]:
        """Why messages had to wait."""
        events = await self.org.events(type="chat.send_deferred")
        return {each["data"]["reason"] for each in events}

    async def health(self) -> tuple[str, str | None]:
        """The state of the account, and why it is so."""
        shown = await self.org.get(f"/v1/channels/{self.channel_id}")
        return shown["health"]["state"], shown["health"]["reason"]


async def organisation(parts: Core, http: httpx.AsyncClient, name: str = "Acme") -> Client:
    """A new organisation's admin, with CRM and Desk."""
    org, user, key = await found(parts, name)
    client = Client(http, key, org.id, user)
    await client.services("crm", "desk")
    return client


async def connect(
    business: Business, platform: str, credentials: dict[str, str], *, services: str = "crm desk"
) -> Business:
    """The same with a channel, whose credentials the platform has accepted."""
    for service in services.split():
        channel = await business.org.connect(
            service,
            business.account_id,
            platform=platform,
            business_account_id=None,
            credentials=credentials,
        )
        business.channel_id = channel["id"]
    await eventually(lambda: verification(business.org, channel["id"]), ("verified", None))
    return business
