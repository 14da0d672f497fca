"""The conversation: what a business pays for, and nothing else (L0, L1, L4).

A chat knows whether a conversation is open, so that an answer inside one touches no ledger; and
which of its charges may still have to be given back.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Protocol

import msgspec
from msgspec.structs import replace

from domain import entry_point
from domain.entry_point import EntryPoint, EntryPoints
from domain.event import Event, stored_as
from domain.ledger import Charge
from domain.outgoing import Outbound
from domain.pricing import CONVERSATION_LENGTH

# So many are kept whatever became of their messages; of older ones those whose fate is open.
CHARGES_REMEMBERED_MAX = 100


@stored_as("chat.conversation_started")
class ConversationStarted(Event, frozen=True, kw_only=True):
    """The business answered, and no conversation was open: 24 hours begin (L1).

    Named after the message that is the answer. Without a charge its messages are priced each.
    """

    conversation_id: str
    business_account: str
    platform: str
    account_id: str
    at: datetime
    category: str
    country: str | None = None
    charge: Charge | None = None


@stored_as("chat.message_charged")
class MessageCharged(Event, frozen=True, kw_only=True):
    """This message has a price of its own."""

    message_id: str
    charge: Charge


@stored_as("chat.charge_voided")
class ChargeVoided(Event, frozen=True, kw_only=True):
    """The platform refused all that was charged for; a conversation so charged never was (L4)."""

    charge_id: str


class Heard(Protocol):
    """A customer's message, as far as bills look at it."""

    @property
    def at(self) -> datetime:
        """The platform's time."""

    @property
    def referred(self) -> bool:
        """Whether it came by an ad or a Page's button."""


class Answer(Protocol):
    """A message to the customer, as far as bills look at it."""

    @property
    def message_id(self) -> str:
        """Our id."""

    @property
    def at(self) -> datetime:
        """When it was asked for."""


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """The newest conversation of a chat."""

    conversation_id: str
    ends_at: datetime
    is_charged: bool


class OpenCharge(msgspec.Struct, frozen=True, kw_only=True):
    """A charge, and what became of the messages it is for."""

    charge: Charge
    messages: int = 0
    refused: int = 0


class Billing(msgspec.Struct, frozen=True, kw_only=True):
    """What a chat knows of its bill. Bounded by the messages that the chat knows."""

    conversation: Conversation | None = None
    charges: dict[str, OpenCharge] = {}  # By the message that caused each, oldest first.
    entry_points: EntryPoints = ()

    def at(self, moment: datetime) -> Conversation | None:
        """The conversation that is open at a moment; at exactly its end it is not. Spec C0, L1."""
        current = self.conversation
        return current if current is not None and moment < current.ends_at else None

    @property
    def void(self) -> list[str]:
        """The charges of which the platform is known to have refused every message. Spec L4."""
        return [
            charge_id
            for charge_id, each in self.charges.items()
            if each.messages and each.refused == each.messages
        ]


def evolve(billing: Billing, event: Event) -> Billing:
    """The bill after one more fact."""
    match event:
        case ConversationStarted():
            started = Conversation(
                conversation_id=event.conversation_id,
                ends_at=event.at + CONVERSATION_LENGTH,
                is_charged=event.charge is not None,
            )
            with_charge = _with_charge(billing, event.conversation_id, event.charge)
            return replace(with_charge, conversation=started)
        case MessageCharged():
            return _with_charge(billing, event.message_id, event.charge)
        case ChargeVoided():
            rest = {key: each for key, each in billing.charges.items() if key != event.charge_id}
            current = billing.conversation
            # The next answer starts another one.
            if current and current.is_charged and current.conversation_id == event.charge_id:
                current = None
            return replace(billing, conversation=current, charges=rest)
        case _:
            return billing


def _with_charge(billing: Billing, charge_id: str, charge: Charge | None) -> Billing:
    if charge is None:
        return billing
    charges = {**billing.charges, charge_id: OpenCharge(charge=charge)}
    return replace(billing, charges=charges)


def forget_oldest(billing: Billing, *, known: Iterable[str | None]) -> Billing:
    """Forget the oldest charges, where there are too many.

    `known` are the charges of the messages that the chat knows: one of those may still be refused,
    and then its charge is to be given back (L4). So is the one of the newest conversation.
    """
    surplus = len(billing.charges) - CHARGES_REMEMBERED_MAX
    if surplus <= 0:
        return billing
    needed = {*known, billing.conversation.conversation_id if billing.conversation else None}
    forgotten = [charge_id for charge_id in billing.charges if charge_id not in needed][:surplus]
    rest = {key: each for key, each in billing.charges.items() if key not in forgotten}
    return replace(billing, charges=rest)


def charge_for(billing: Billing, *, message_id: str, conversation_id: str | None) -> str | None:
    """Which charge a message falls under: its own, or its conversation's."""
    if message_id in billing.charges:
        return message_id
    return conversation_id if conversation_id in billing.charges else None


def after_customer(
    billing: Billing, heard: Heard, outbound: Mapping[str, Outbound], version: int
) -> Billing:
    """The customer wrote; that alone costs nothing, but may make free what follows."""
    if not heard.referred:
        return billing
    came = EntryPoint(came_at=heard.at, known_since=version)
    points = entry_point.after_customer(billing.entry_points, came, outbound=outbound)
    return replace(billing, entry_points=points)


def with_message(billing: Billing, charge_id: str | None, answer: Answer) -> Billing:
    """One more message, under this charge."""
    points = entry_point.with_answer(billing.entry_points, answer.message_id, at=answer.at)
    return _counted(replace(billing, entry_points=points), charge_id, messages=1)


def with_refusal(billing: Billing, message_id: str, outbound: Mapping[str, Outbound]) -> Billing:
    """The platform refused one of the messages, which falls under a charge or none."""
    points = entry_point.without_answer(billing.entry_points, message_id, outbound=outbound)
    return _counted(replace(billing, entry_points=points), outbound[message_id].charge, refused=1)


def _counted(
    billing: Billing, charge_id: str | None, *, messages: int = 0, refused: int = 0
) -> Billing:
    known = billing.charges.get(charge_id) if charge_id else None
    if known is None or charge_id is None:
        return billing
    changed = replace(known, messages=known.messages + messages, refused=known.refused + refused)
    return replace(billing, charges={**billing.charges, charge_id: changed})
