"""What a message would cost now; asking writes nothing (L2, L7)."""

from collections.abc import Callable
from datetime import datetime
from typing import Literal

import msgspec

from api.commands.billing import Billing, credits_of, inputs_of, pricing_of, the_payer
from api.commands.context import Context, the_chat
from api.commands.credits import platform_of, the_business_account
from api.commands.unit import Unit
from api.zones import zone_of
from domain import contact as contacts
from domain.contact import Contact
from domain.conversation import Conversation
from domain.entry_point import is_free
from domain.inbound import Address
from domain.ports import Keys
from domain.pricing import FreeBecause, Inputs, Price, free_because, month_of
from domain.refusal import NotFound
from domain.rules import RULES
from domain.windows import is_open, window_rule


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A message that nobody sends. What a chat knows better counts from the chat."""

    account_id: str
    chat_id: str | None
    phone: str | None = None  # Digits; where the customer has a chat there, it is that one.
    is_template: bool
    category: str
    country: str | None
    in_conversation: bool
    in_window: bool
    in_entry_point: bool


Reason = FreeBecause | Literal["conversation", "rule", "not_billed"]


class Quote(msgspec.Struct, kw_only=True):
    """The price, what it comes from, and whether the balance covers it."""

    micro_usd: int
    free: bool
    reason: Reason | None  # Why there is nothing to pay; None where the card decides.
    unit: Literal["conversation", "message"] | None  # None: nothing is charged for it.
    rule: str
    card: str
    rate_micro_usd: int
    country: str | None
    opens_conversation: bool
    balance_micro_usd: int
    covered: bool


class Quotes:
    """Prices messages that are not sent."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def quote(self, keys: Keys, question: Question) -> Quote:
        """Raises NotFound for an account or chat of nobody here, or a chat of another account."""
        now, billing = self._context.clock.now(), self._context.billing

        def look(unit: Unit) -> Quote:
            asked = question
            if asked.chat_id is None and asked.phone is not None:
                chat_id = self._chat_with(unit, keys, asked.account_id, asked.phone)
                asked = msgspec.structs.replace(asked, chat_id=chat_id)
            return _quote(unit, asked, billing, now)

        return await self._context.executor.look(keys.org, look)

    def _chat_with(self, unit: Unit, keys: Keys, account_id: str, phone: str) -> str | None:
        """The chat of whoever has this number, if there is one on the account."""
        contact_id = self._context.people.find(unit, keys, [Address("phone", phone)])
        if contact_id is None:
            return None
        account = f"{platform_of(unit, account_id)}:{account_id}"
        return unit.state(contacts.stream_of(contact_id), Contact).chats.get(account)


def _quote(unit: Unit, question: Question, billing: Billing, now: datetime) -> Quote:
    business_account = the_business_account(unit, question.account_id)
    asked, platform, current = _as_the_chat_is(unit, question, now)
    chosen = pricing_of(unit, business_account, at=now)
    month = month_of(now, zone_of(chosen.time_zone))
    balance = credits_of(unit, business_account).balance
    price: Price | None = None
    is_paid_for = current is not None and current.is_charged
    reason: Reason | None = "conversation" if is_paid_for else "not_billed"
    rate = 0
    is_priced = billing.prices(current, chosen, platform)
    if is_priced:
        inputs = inputs_of(
            unit,
            business_account,
            chosen,
            platform=platform,
            account_id=asked.account_id,
            country=asked.country,
            category=asked.category,
            is_template=asked.is_template,
            in_window=asked.in_window,
            in_entry_point=asked.in_entry_point,
            opens=not asked.in_conversation,
            at=now,
            month=month,
        )
        rate = inputs.rate_micro_usd
        rule = RULES["pricing"][chosen.rule]
        price = rule(inputs)
        reason = free_because(inputs, price) if price else _left_out(rule, inputs)
    micro_usd = price.micro_usd if price else 0
    return Quote(
        micro_usd=micro_usd,
        free=price is not None and reason is not None,
        reason=reason,
        unit=price.unit if price else None,
        rule=chosen.rule,
        card=chosen.card.name,
        rate_micro_usd=rate,
        country=asked.country,
        opens_conversation=is_priced and not asked.in_conversation,
        balance_micro_usd=balance,
        covered=micro_usd <= balance,
    )


def _left_out(rule: Callable[[Inputs], Price | None], inputs: Inputs) -> Reason:
    """Why the rule charges nothing: for such messages it never does, or one is inside already."""
    opening = msgspec.structs.replace(inputs, opens_conversation=True)
    return "rule" if rule(opening) is None else "conversation"


def _as_the_chat_is(
    unit: Unit, question: Question, now: datetime
) -> tuple[Question, str, Conversation | None]:
    """The question, its platform, and the conversation that is open."""
    if question.chat_id is None:
        return question, platform_of(unit, question.account_id), None
    chat = the_chat(unit, question.chat_id)
    if question.account_id not in (chat.account_id, the_payer(unit, chat)):
        raise NotFound("There is no such chat.")
    known = unit.state(contacts.stream_of(chat.contact_id), Contact).country
    window, current = window_rule(chat.platform), chat.billing.at(now)
    asked = msgspec.structs.replace(
        question,
        account_id=chat.account_id,
        country=known,
        in_conversation=current is not None,
        in_window=is_open(window, chat.last_customer_message_at, now=now),
        in_entry_point=is_free(chat.billing.entry_points, now),
    )
    return asked, chat.platform, current
