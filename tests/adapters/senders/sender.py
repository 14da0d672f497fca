"""What the shared tests of sending need to know of a platform."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx

from adapters.exchange import TimeLimits
from adapters.fakes.behaviour import Behaviour
from adapters.fakes.fake import Fake
from domain.credentials import Credentials
from domain.dispatch_ports import Platform
from domain.inbound import Address, Content
from domain.outbound import AccountUnusable, OutboundMessage

_numbers = count(1)

# One account's client: where it calls, and how long it waits.
MakeClient = Callable[[httpx.AsyncClient, str, TimeLimits], Platform]


@dataclass(frozen=True, kw_only=True)
class Sender:
    """A platform's client, its fake, and an account that both know."""

    platform: str
    account_id: str
    credentials: Credentials
    secret: str  # The part of them that opens the account.
    dead: Credentials  # Of the right form, and not good any more.
    dead_answer: AccountUnusable
    recipient: Address
    make_client: MakeClient
    make_fake: Callable[[], Fake]
    limited: Behaviour  # "Come back in 7 seconds", as the platform says it.

    def message(self, **fields: Any) -> OutboundMessage:
        """A text to a customer; each is another message."""
        usual: dict[str, Any] = {
            "mark": f"chat.message{next(_numbers)}",
            "account_id": self.account_id,
            "recipient": (self.recipient,),
            "kind": "text",
            "content": Content(text="Hello"),
        }
        return OutboundMessage(**{**usual, **fields})
