"""Buying credits, and choosing how answers are priced (L2, L5, L7)."""

from datetime import datetime
from typing import Any

import msgspec

from api.commands.billing import business_account_of, credits_of, month_at, pricing_of
from api.commands.context import (
    Actor,
    Context,
    accounts_named,
    require_manages,
    the_organisation,
)
from api.commands.execute import Outcome
from api.commands.unit import Unit
from api.zones import zone_of
from domain import chosen_rules, ledger
from domain.aggregates import aggregate_of
from domain.chosen_rules import ChosenRules, PricingChosen
from domain.event import Recorded
from domain.ledger import AutoRecharge, Credits
from domain.organisation import require_role, require_view
from domain.ports import Org
from domain.pricing import month_of
from domain.refusal import Invalid, NotFound


class Books(msgspec.Struct, frozen=True, kw_only=True):
    """A business account's ledger, and what prices its answers now."""

    business_account: str
    credits: Credits
    pricing: PricingChosen
    month: str


class CreditAccounts:
    """Commands about credits and their rules."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def books(self, org: Org, account_id: str) -> Books:
        """The ledger behind an account, or a business account. Raises NotFound."""
        now = self._context.clock.now()

        def look(unit: Unit) -> Books:
            business_account = the_business_account(unit, account_id)
            pricing = pricing_of(unit, business_account, at=now)
            return Books(
                business_account=business_account,
                credits=credits_of(unit, business_account),
                pricing=pricing,
                month=month_of(now, zone_of(pricing.time_zone)),
            )

        return await self._context.executor.look(org, look)

    async def books_as_of(self, org: Org, account_id: str, as_of: int | datetime) -> Books:
        """The same as it was at a position or time, in the month of then. Spec E2."""
        present = await self.books(org, account_id)
        moment = await self._moment(org, as_of)

        async def then(stream: str) -> Any:
            state, evolve = aggregate_of(stream)
            for each in await self._context.log.read_stream(org, stream):
                if _is_of(each, as_of):
                    state = evolve(state, each.event)
            return state

        chosen = await then(chosen_rules.STREAM)
        pricing = chosen_rules.pricing_for(chosen, present.business_account, at=moment)
        return Books(
            business_account=present.business_account,
            credits=await then(ledger.stream_of(present.business_account)),
            pricing=pricing,
            month=month_of(moment, zone_of(pricing.time_zone)),
        )

    async def _moment(self, org: Org, as_of: int | datetime) -> datetime:
        """When that was; at the newest event and behind it, now."""
        now = self._context.clock.now()
        if isinstance(as_of, datetime):
            return min(as_of, now)
        if as_of >= await self._context.log.position(org):
            return now
        return await self._context.log.recorded_at(org, position=max(as_of, 1)) or now

    async def buy(self, actor: Actor, account_id: str, credits_bought: int) -> Outcome[None]:
        """Buy credits; `ids["purchase"]` of the outcome is the purchase. Spec L5."""
        provider = self._context.billing.provider

        def decide(unit: Unit) -> None:
            require_role(the_organisation(unit), actor.user_id, "admin")
            business_account = the_business_account(unit, account_id)
            now = self._context.clock.now()
            purchase_id = unit.ids["purchase"] = self._context.new_id()
            bought = ledger.request_purchase(
                credits_of(unit, business_account),
                purchase_id=purchase_id,
                credits_bought=credits_bought,
                provider=provider,
                at=now,
                month=month_at(unit, business_account, now),
                user_id=actor.user_id,
            )
            unit.record(ledger.stream_of(business_account), bought)

        return await self._context.executor.execute(actor.org, decide, request=actor.request)

    async def configure_auto_recharge(
        self, actor: Actor, account_id: str, service: str, changes: dict[str, Any]
    ) -> Outcome[None]:
        """Say when credits are bought by themselves; the account's manager alone. Spec S2, S12.

        Changes are made to what holds when it is decided, so that none of two at once is lost;
        `ids["auto_recharge"]` of the outcome is what holds then, as JSON.
        """

        def decide(unit: Unit) -> None:
            require_role(the_organisation(unit), actor.user_id, "admin")
            business_account = the_business_account(unit, account_id)
            require_view(the_organisation(unit), actor.user_id, service)
            require_manages(unit, platform_of(unit, account_id), account_id, service)
            present = credits_of(unit, business_account)
            wanted = _changed(present.auto_recharge, changes)
            configured = ledger.configure_auto_recharge(
                present, wanted, service=service, user_id=actor.user_id
            )
            unit.record(ledger.stream_of(business_account), configured)
            self._context.billing.recharge(unit, business_account, at=self._context.clock.now())
            unit.ids["auto_recharge"] = msgspec.json.encode(wanted).decode()

        return await self._context.executor.execute(actor.org, decide, request=actor.request)

    async def adjust(
        self, org: Org, account_id: str, *, micro_usd: int, reason: str
    ) -> Outcome[None]:
        """The operator corrects a balance; it never goes below zero. Spec L3."""

        def decide(unit: Unit) -> None:
            business_account = the_business_account(unit, account_id)
            now = self._context.clock.now()
            adjusted = ledger.adjust(
                credits_of(unit, business_account),
                micro_usd=micro_usd,
                reason=reason,
                at=now,
                month=month_at(unit, business_account, now),
                user_id=None,
            )
            unit.record(ledger.stream_of(business_account), adjusted)
            self._context.billing.recharge(unit, business_account, at=now)

        return await self._context.executor.execute(org, decide)

    async def chosen(self, org: Org) -> ChosenRules:
        """Every choice of a rule."""
        return await self._context.executor.look(
            org, lambda unit: unit.state(chosen_rules.STREAM, ChosenRules)
        )

    async def choose_pricing(
        self, actor: Actor, account_id: str | None, wanted: PricingChosen
    ) -> Outcome[None]:
        """Let a rule and a card hold from a time on, for an account or for all. Spec L7.

        `ids` of the outcome say for whom, and from when.
        """

        def decide(unit: Unit) -> None:
            require_role(the_organisation(unit), actor.user_id, "admin")
            whose = the_business_account(unit, account_id) if account_id is not None else None
            chosen = msgspec.structs.replace(wanted, business_account=whose, user_id=actor.user_id)
            unit.ids["business_account"] = whose or ""
            unit.ids["effective_from"] = chosen.effective_from.isoformat()
            present = unit.state(chosen_rules.STREAM, ChosenRules)
            unit.record(chosen_rules.STREAM, chosen_rules.choose_pricing(present, chosen))

        return await self._context.executor.execute(actor.org, decide, request=actor.request)


def _is_of(recorded: Recorded, as_of: int | datetime) -> bool:
    """Whether an event had been written by a position or time."""
    if isinstance(as_of, int):
        return recorded.position <= as_of
    return recorded.recorded_at <= as_of


def the_business_account(unit: Unit, account_id: str) -> str:
    """Whom the platform bills for an account of this org. Raises NotFound.

    The id of a business account itself is taken too, once it has a ledger.
    """
    for _, account in accounts_named(unit, account_id):
        return business_account_of(account, account_id)
    if credits_of(unit, account_id) == Credits():
        raise NotFound("There is no such account in this organisation.")
    return account_id


def platform_of(unit: Unit, account_id: str) -> str:
    """The platform of an account of this org; of a business account, the one that is billed. L2."""
    return next((platform for platform, _ in accounts_named(unit, account_id)), "whatsapp")


def _changed(present: AutoRecharge | None, changes: dict[str, Any]) -> AutoRecharge:
    if present is not None:
        return msgspec.structs.replace(present, **changes)
    for name in AutoRecharge.__struct_fields__:
        if name not in changes:
            raise Invalid(name, "is needed the first time")
    return AutoRecharge(**changes)
