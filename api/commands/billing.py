"""What an answer costs, booked in the same append as the answer; and given back (L1–L5)."""

from datetime import datetime

import msgspec

from api.commands.unit import Unit
from api.zones import zone_of
from domain import account as accounts
from domain import chat as chats
from domain import chosen_rules, entry_point, ledger, pricing
from domain import contact as contacts
from domain.account import Account
from domain.chat import Chat
from domain.chat_events import ReplyRequested
from domain.chosen_rules import ChosenRules, PricingChosen
from domain.contact import Contact
from domain.conversation import ChargeVoided, Conversation, ConversationStarted, MessageCharged
from domain.event import Event
from domain.identifiers import NewId
from domain.ledger import Charged, Credits, InsufficientCredits
from domain.pricing import Inputs
from domain.purchase import ProviderTerms
from domain.rate_card import bills, rate_for
from domain.rules import RULES
from domain.windows import is_open, window_rule


def pricing_of(unit: Unit, business_account: str, *, at: datetime) -> PricingChosen:
    """The rule and the card that price a business account at a moment. Spec L7."""
    chosen = unit.state(chosen_rules.STREAM, ChosenRules)
    return chosen_rules.pricing_for(chosen, business_account, at=at)


def month_at(unit: Unit, business_account: str, at: datetime) -> str:
    """The month of a business account's books that a moment falls into. Spec L7."""
    return pricing.month_of(at, zone_of(pricing_of(unit, business_account, at=at).time_zone))


def credits_of(unit: Unit, business_account: str) -> Credits:
    """A business account's ledger as it stands."""
    return unit.state(ledger.stream_of(business_account), Credits)


def inputs_of(
    unit: Unit,
    business_account: str,
    chosen: PricingChosen,
    *,
    platform: str,
    account_id: str,
    country: str | None,
    category: str,
    is_template: bool,
    in_window: bool,
    in_entry_point: bool,
    opens: bool,
    at: datetime,
    month: str,
) -> Inputs:
    """All that a pricing rule may look at, for one message."""
    rate = rate_for(
        chosen.card,
        platform=platform,
        country=country,
        category=category,
        on=at.astimezone(zone_of(chosen.time_zone)).date(),
    )
    by_business, by_account = ledger.used(
        credits_of(unit, business_account), month=month, account_id=account_id
    )
    return Inputs(
        category=category,
        is_template=is_template,
        in_window=in_window,
        opens_conversation=opens,
        rate_micro_usd=rate.micro_usd,
        used_by_business=by_business,
        used_by_account=by_account,
        in_entry_point=in_entry_point,
    )


class Billing:
    """Prices answers. With `enabled` off nothing is priced (TRUNKLINE_BILLING)."""

    def __init__(self, new_id: NewId, *, enabled: bool, provider: ProviderTerms) -> None:
        self._new_id = new_id
        self._enabled = enabled
        self.provider = provider

    def answer(self, unit: Unit, chat: Chat, requested: ReplyRequested) -> list[Event]:
        """The answer with what it begins and costs; what it costs is booked in the ledger.

        Inside a conversation that is charged it reads nothing but the chat: a busy account's
        ledger holds nobody up. Raises InsufficientCredits. Spec L1, L4.
        """
        current = chat.billing.at(requested.at)
        if current is not None and current.is_charged:
            return [_billed(chat, requested, current.conversation_id)]
        business_account = the_payer(unit, chat)
        chosen = pricing_of(unit, business_account, at=requested.at)
        if not self.prices(current, chosen, chat.platform):
            return [requested]
        opening = requested.message_id if current is None else current.conversation_id
        answered = _billed(chat, requested, opening)
        priced = _Priced(unit, chat, answered, chosen, business_account)
        charged = priced.charged(opens=current is None)
        if charged is not None:
            self._charge(unit, business_account, charged)
        return [*priced.begun(charged, opens=current is None), answered]

    def prices(self, current: Conversation | None, chosen: PricingChosen, platform: str) -> bool:
        """Whether an answer is priced at all; inside a conversation that is charged it is not."""
        is_paid_for = current is not None and current.is_charged
        return self._enabled and not is_paid_for and bills(chosen.card, platform)

    def _charge(self, unit: Unit, business_account: str, charged: Charged) -> None:
        """Book a charge, and what has to be bought before it and after it. Spec L4, L5."""
        needed = charged.price.micro_usd
        self.recharge(unit, business_account, at=charged.at, needed_micro_usd=needed)
        try:
            booked = ledger.charge(credits_of(unit, business_account), charged)
        except InsufficientCredits as refusal:
            refusal.business_account = business_account
            raise
        unit.record(ledger.stream_of(business_account), booked)
        self.recharge(unit, business_account, at=charged.at)

    def recharge_after(self, unit: Unit, refusal: InsufficientCredits, *, at: datetime) -> None:
        """Buy credits by itself after an answer was refused for its price. Spec L5.

        The refusal has undone its own append; a provider that is yet to have the money is asked
        here, so that a later answer is covered.
        """
        if refusal.business_account is not None:
            needed = refusal.facts["needed_micro_usd"]
            self.recharge(unit, refusal.business_account, at=at, needed_micro_usd=needed)

    def recharge(
        self, unit: Unit, business_account: str, *, at: datetime, needed_micro_usd: int = 0
    ) -> None:
        """Buy credits by itself where the balance has fallen so low. Spec L5."""
        bought = ledger.recharge(
            credits_of(unit, business_account),
            purchase_id=self._new_id(),
            provider=self.provider,
            at=at,
            month=month_at(unit, business_account, at),
            needed_micro_usd=needed_micro_usd,
        )
        unit.record(ledger.stream_of(business_account), bought)


def settle(unit: Unit, chat_id: str, *, at: datetime) -> None:
    """Give back what was charged for messages that the platform refused, all of them. Spec L4.

    In the append that says so; also while billing is off, for what was charged while it was on.
    """
    stream = chats.stream_of(chat_id)
    billing = unit.state(stream, Chat).billing
    for charge_id in billing.void:
        charge = billing.charges[charge_id].charge
        unit.record(stream, [ChargeVoided(charge_id=charge_id)])
        refunded = ledger.refund(
            charge,
            charge_id=charge_id,
            chat_id=chat_id,
            at=at,
            month=month_at(unit, charge.business_account, at),
        )
        unit.record(ledger.stream_of(charge.business_account), refunded)


def business_account_of(account: Account, account_id: str) -> str:
    """Whom the platform bills: the business account where it was given, else the account."""
    return account.business_account_id or account_id


def _billed(chat: Chat, requested: ReplyRequested, conversation: str) -> ReplyRequested:
    """The answer with what any pricing rule, also a later one, may ask of it."""
    rule = window_rule(chat.platform)
    return msgspec.structs.replace(
        requested,
        conversation=conversation,
        in_window=is_open(rule, chat.last_customer_message_at, now=requested.at),
        in_entry_point=entry_point.is_free(chat.billing.entry_points, requested.at),
    )


def the_payer(unit: Unit, chat: Chat) -> str:
    """Whom the platform bills for a chat."""
    stream = accounts.stream_of(chat.platform, chat.account_id)
    return business_account_of(unit.state(stream, Account), chat.account_id)


class _Priced:
    """One answer, with what its price depends on."""

    def __init__(
        self,
        unit: Unit,
        chat: Chat,
        answer: ReplyRequested,
        chosen: PricingChosen,
        business_account: str,
    ) -> None:
        self._unit = unit
        self._chat = chat
        self._answer = answer
        self._chosen = chosen
        self._business_account = business_account
        self._category = answer.category or "service"
        self._country = unit.state(contacts.stream_of(chat.contact_id), Contact).country

    def charged(self, *, opens: bool) -> Charged | None:
        """What the rule says, with all that it looked at; None where there is nothing to book."""
        answer, chat = self._answer, self._chat
        month = pricing.month_of(answer.at, zone_of(self._chosen.time_zone))
        inputs = inputs_of(
            self._unit,
            self._business_account,
            self._chosen,
            platform=chat.platform,
            account_id=chat.account_id,
            country=self._country,
            category=self._category,
            is_template=answer.template is not None,
            in_window=answer.in_window is True,
            in_entry_point=answer.in_entry_point,
            opens=opens,
            at=answer.at,
            month=month,
        )
        price = RULES["pricing"][self._chosen.rule](inputs)
        if price is None:
            return None
        return Charged(
            charge_id=answer.message_id,
            chat_id=chat.chat_id or "",
            conversation_id=answer.conversation or answer.message_id,
            platform=chat.platform,
            account_id=chat.account_id,
            service=answer.service,
            user_id=answer.user_id,
            country=self._country,
            at=answer.at,
            month=month,
            kind="pricing",
            rule=self._chosen.rule,
            card=self._chosen.card.name,
            inputs=inputs,
            price=price,
        )

    def begun(self, charged: Charged | None, *, opens: bool) -> list[Event]:
        """What the chat has to know of it."""
        charge = None
        if charged is not None:
            charge = ledger.charge_of(charged, business_account=self._business_account)
        is_whole = charged is not None and charged.price.unit == "conversation"
        begun: list[Event] = []
        if opens:
            started = ConversationStarted(
                conversation_id=self._answer.message_id,
                business_account=self._business_account,
                platform=self._chat.platform,
                account_id=self._chat.account_id,
                at=self._answer.at,
                category=self._category,
                country=self._country,
                charge=charge if is_whole else None,
            )
            begun.append(started)
        if charge is not None and not is_whole:
            begun.append(MessageCharged(message_id=self._answer.message_id, charge=charge))
        return begun
