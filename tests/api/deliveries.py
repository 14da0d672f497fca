"""Webhooks as Meta writes them, and a way to wait for what they lead to."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Any

from tests.api.conftest import ACCOUNT, WABA

Item = dict[str, Any]

# Long enough for a busy machine; nothing waits for as long unless it is broken.
DEADLINE_SECONDS = 20.0
PAUSE_SECONDS = 0.02

_numbers = itertools.count(1)


async def eventually(question: Callable[[], Awaitable[Any]], expected: Any) -> None:
    """Ask until the answer is the expected one; a test that fails shows the last answer."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    answer = await question()
    while answer != expected and time.monotonic() < deadline:
        await asyncio.sleep(PAUSE_SECONDS)
        answer = await question()
    assert answer == expected


def new_wamid(purpose: str = "test") -> str:
    """An id that no other message has."""
    return f"wamid.{purpose}{next(_numbers)}"


def now() -> int:
    """Seconds as WhatsApp counts them."""
    return int(time.time())


def delivery(
    *,
    account_id: str = ACCOUNT,
    business_account_id: str = WABA,
    field: str = "messages",
    **value: Any,
) -> Item:
    """A webhook with one change: `messages`, `statuses`, `message_echoes` and so on."""
    return {
        "object": "whatsapp_business_account",
        "entry": [
            {
                "id": business_account_id,
                "changes": [
                    {
                        "field": field,
                        "value": {
                            "messaging_product": "whatsapp",
                            "metadata": {
                                "display_phone_number": "15550783881",
                                "phone_number_id": account_id,
                            },
                            **value,
                        },
                    }
                ],
            }
        ],
    }


def text_item(text: str, *, wamid: str, phone: str, timestamp: int, **more: Any) -> Item:
    """A customer's text, for `messages`."""
    return {
        "from": phone,
        "id": wamid,
        "timestamp": str(timestamp),
        "type": "text",
        "text": {"body": text},
        **more,
    }


def reaction_item(
    emoji: str | None, *, target: str, wamid: str, phone: str, timestamp: int
) -> Item:
    """A customer's reaction, for `messages`; without an emoji it is taken back."""
    reaction = {"message_id": target} | ({} if emoji is None else {"emoji": emoji})
    return {
        "from": phone,
        "id": wamid,
        "timestamp": str(timestamp),
        "type": "reaction",
        "reaction": reaction,
    }


def edit_item(text: str, *, target: str, wamid: str, phone: str, timestamp: int) -> Item:
    """A customer changes what an earlier message says, for `messages`."""
    message = {"type": "text", "text": {"body": text}}
    return {
        "from": phone,
        "id": wamid,
        "timestamp": str(timestamp),
        "type": "edit",
        "edit": {"original_message_id": target, "message": message},
    }


def unsend_item(*, target: str, wamid: str, phone: str, timestamp: int) -> Item:
    """A customer takes an earlier message back, for `messages`."""
    return {
        "from": phone,
        "id": wamid,
        "timestamp": str(timestamp),
        "type": "revoke",
        "revoke": {"original_message_id": target},
    }


def echo_delivery(
    text: str, *, wamid: str, phone: str, timestamp: int, account_id: str, **more: Any
) -> Item:
    """What the business wrote on its phone, as Meta tells of it."""
    echo = {
        "from": "15550783881",
        "to": phone,
        "id": wamid,
        "timestamp": str(timestamp),
        "type": "text",
        "text": {"body": text},
        **more,
    }
    return delivery(account_id=account_id, field="smb_message_echoes", message_echoes=[echo])


def status_delivery(
    status: str, *, wamid: str, phone: str, timestamp: int, account_id: str, **more: Any
) -> Item:
    """What became of a message, as Meta tells of it."""
    item = {
        "id": wamid,
        "status": status,
        "timestamp": str(timestamp),
        "recipient_id": phone,
        **more,
    }
    return delivery(account_id=account_id, statuses=[item])


def without_fetching(events: list[Any]) -> list[Any]:
    """The log without what became of files, which are asked for at some time after a message."""
    return [each for each in events if not each["type"].startswith("chat.media_")]


def words_of(message: Item) -> Item:
    """What a message says, without our ids, and wherever the asking for its file has come to."""
    ours = ("id", "reply_to", "author")
    said = {name: value for name, value in message.items() if name not in ours}
    said["content"] = _without_state(said["content"])
    if said["member"]:
        said["member"] = said["member"]["name"]
    return said


def _without_state(content: Item) -> Item:
    if "media" not in content:
        return content
    media = content["media"]
    kept = {name: value for name, value in media.items() if name not in ("state", "reason")}
    return content | {"media": kept}
