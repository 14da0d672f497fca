"""What if: a month under another pricing. Nothing is written (L7)."""

from datetime import UTC, datetime, tzinfo
from typing import Annotated, Any

import msgspec
from litestar import Request, post
from litestar.params import FromPath, JSONBody

from api.authentication import Principal
from api.commands.credits import CreditAccounts
from api.parts import Part
from api.pricing import ZoneName, card_of, known_rule
from api.rate_cards import CardName, RateBody, RateCards
from api.statements import Bills
from api.zones import known_zone, zone_of
from domain.rate_card import RATES_MAX
from domain.recount import Recount
from projections.statements.queries import Charge, charges

AnyRequest = Request[Any, Any, Any]
LINES_SHOWN_MAX = 1_000


class ReplayBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is left out is as the account has it now: rule, card, time zone of its months."""

    pricing: str | None = None
    card: CardName | None = None
    rates: Annotated[list[RateBody], msgspec.Meta(max_length=RATES_MAX)] | None = None
    time_zone: ZoneName | None = None


class DifferingLine(msgspec.Struct, kw_only=True):
    """An answer that would have cost something else. Amounts are after refunds."""

    position: int
    message_id: str
    conversation_id: str
    chat_id: str
    at: datetime
    service: str
    category: str
    country: str | None
    recorded_micro_usd: int
    replayed_micro_usd: int


class ReplayView(msgspec.Struct, kw_only=True):
    """The totals under both, and the first lines that differ."""

    month: str
    pricing: str
    card: str
    time_zone: str
    answers: int
    recorded_micro_usd: int
    replayed_micro_usd: int
    difference_micro_usd: int
    differing: int
    lines: list[DifferingLine]


@post(
    "/v1/statements/{account_id:str}/{month:str}/replay",
    status_code=200,
    opt={"only_reads": True},
)
async def replay_statement(
    account_id: FromPath[str],
    month: FromPath[str],
    data: JSONBody[ReplayBody],
    principal: Part[Principal],
    bills: Part[Bills],
    credit_accounts: Part[CreditAccounts],
    rate_cards: Part[RateCards],
) -> ReplayView:
    """Price a month's answers again, by another rule or card. Spec L7."""
    async with bills.opened(principal, account_id, month) as (connection, bill):
        present = (await credit_accounts.books(principal.keys.org, account_id)).pricing
        rule = known_rule(data.pricing or present.rule, field="pricing")
        card = present.card
        if data.card is not None or data.rates is not None:
            card = card_of(data.card or card.name, data.rates, rate_cards)
        time_zone = known_zone(data.time_zone) if data.time_zone else present.time_zone
        zone = zone_of(time_zone)
        view = ReplayView(
            month=bill.month,
            pricing=rule,
            card=card.name,
            time_zone=time_zone,
            answers=0,
            recorded_micro_usd=0,
            replayed_micro_usd=0,
            difference_micro_usd=0,
            differing=0,
            lines=[],
        )
        start, end = month_bounds(bill.month, zone)
        recount = Recount(rule, card, zone)
        async for charge in charges(
            connection,
            org=bill.org,
            business_account=bill.business_account,
            start=start,
            end=end,
        ):
            _add(view, charge, recount.price(charge.answer).micro_usd)
    view.difference_micro_usd = view.replayed_micro_usd - view.recorded_micro_usd
    return view


def month_bounds(month: str, zone: tzinfo) -> tuple[datetime, datetime]:
    """The first moment of a month and of the next, in a time zone."""
    year, number = map(int, month.split("-"))
    months = year * 12 + number - 1

    def first(count: int) -> datetime:
        moment = datetime(count // 12, count % 12 + 1, 1, tzinfo=zone)
        return moment.astimezone(UTC)

    return first(months), first(months + 1)


def _add(view: ReplayView, charge: Charge, replayed: int) -> None:
    view.answers += 1
    view.recorded_micro_usd += charge.charged_micro_usd
    view.replayed_micro_usd += replayed
    if replayed == charge.charged_micro_usd:
        return
    view.differing += 1
    if len(view.lines) < LINES_SHOWN_MAX:
        answer = charge.answer
        view.lines.append(
            DifferingLine(
                position=answer.position,
                message_id=answer.message_id,
                conversation_id=answer.conversation_id,
                chat_id=charge.chat_id,
                at=answer.at,
                service=charge.service,
                category=answer.category,
                country=answer.country,
                recorded_micro_usd=charge.charged_micro_usd,
                replayed_micro_usd=replayed,
            )
        )


HANDLERS = (replay_statement,)
