"""What sending and verifying need from outside, as protocols with more than one maker."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from domain.account import Impairment
from domain.credentials import Credentials
from domain.outbound import OutboundMessage, SendAnswer, VerificationAnswer


class DueMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message whose turn has come."""

    org: int
    platform: str
    account_id: str
    chat_id: str
    message_id: str
    attempt: int = 0  # How often it had been tried when it was seen: what is seen may be old.
    is_group: bool = False


class PassedOver(msgspec.Struct, frozen=True, kw_only=True):
    """Whose messages cannot be sent at this moment."""

    accounts: Sequence[tuple[int, str, str]] = ()  # Org, platform, account id.
    chats: Sequence[tuple[int, str]] = ()  # Org, chat id.


class WaitingAccount(msgspec.Struct, frozen=True, kw_only=True):
    """An account whose credentials have not been checked yet."""

    org: int
    platform: str
    account_id: str
    position: int  # Of the event that asks for the check: newer credentials, newer question.


class Outbox(Protocol):
    """What waits to be sent or checked, over all organisations."""

    async def due(self, now: datetime, passed_over: PassedOver) -> list[DueMessage]:
        """The next message of each chat that has one, as many as can be sent at once.

        Every account that has one comes before the second of any.
        """

    async def orphans(self, claimed_before: datetime) -> list[DueMessage]:
        """Messages that a dispatcher took long ago and never settled."""

    async def waiting(self, *, after: tuple[int, str]) -> list[DueMessage]:
        """The next message of each chat, whatever it waits for: a page, by org and chat."""

    async def next_due(self) -> datetime | None:
        """When the next message that waits for a time is due."""

    async def open(self, due: DueMessage) -> OutboundMessage | None:
        """The message in clear; None if what it says or whom it goes to was erased."""

    async def unverified(
        self, platforms: Collection[str], left_alone: Collection[WaitingAccount]
    ) -> list[WaitingAccount]:
        """Accounts whose credentials have not been checked yet, some of each of these platforms."""

    async def credentials(self, org: int, platform: str, account_id: str) -> Credentials:
        """What the account's messages are sent with, as it is now; empty for no such account."""


class DispatchCommands(Protocol):
    """What a dispatcher writes down."""

    async def start_sending(self, due: DueMessage, *, dispatcher: str) -> bool:
        """Take a message; False if it is not its turn or its time is over."""

    async def end_if_over(self, due: DueMessage) -> None:
        """End the messages of this one's chat whose time is over."""

    async def record_answer(self, due: DueMessage, answer: SendAnswer) -> None:
        """Write down what the platform answered."""

    async def note_trouble(self, due: DueMessage, *, state: Impairment, reason: str) -> None:
        """The account's messages are deferred again and again: say so, if it is news."""

    async def give_up_claim(self, due: DueMessage) -> None:
        """The dispatcher that had the message is gone."""


class VerifyCommands(Protocol):
    """What a verifier writes down."""

    async def record_verification(
        self, account: WaitingAccount, answer: VerificationAnswer
    ) -> None:
        """Write down whether the credentials hold."""


class Platform(Protocol):
    """A platform's API."""

    async def send(self, message: OutboundMessage, credentials: Credentials) -> SendAnswer:
        """Send one message, once. Whatever happens is an answer."""

    async def verify(self, account_id: str, credentials: Credentials) -> VerificationAnswer:
        """Whether these are good for this account."""
