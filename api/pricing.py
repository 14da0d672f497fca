"""Which rules price an account, and what a message would cost (L2, L7)."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get, post, put
from litestar.params import FromPath, JSONBody

from api.answers import answer, utc
from api.authentication import Principal, actor_of
from api.bodies import END
from api.channels import AccountId
from api.commands.credits import CreditAccounts
from api.commands.quotes import Question, Quote, Quotes
from api.credits import require_reader
from api.parts import Part
from api.rate_cards import CardName, RateBody, RateCards
from api.zones import known_zone
from domain import parent, pricing
from domain.chosen_rules import DEFAULT_PRICING, UTC_NAME, PricingChosen
from domain.country import country_of
from domain.inbound import Address
from domain.organisation import require_role
from domain.ports import Clock
from domain.rate_card import RATES_MAX, RateCard, require_whole
from domain.refusal import Invalid, NotFound
from domain.rules import RULES

AnyRequest = Request[Any, Any, Any]
DEFAULT_RULES = {"parent": parent.DEFAULT_RULE, "pricing": pricing.DEFAULT_RULE}

ZoneName = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
PhoneNumber = Annotated[str, msgspec.Meta(max_length=40, pattern=rf"^\+?[0-9]{{1,20}}{END}")]
Country = Annotated[str, msgspec.Meta(pattern=rf"^[A-Z]{{2}}{END}")]


class PricingBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A pricing. `rates` make `card` a card of your own; without them it is one that ships."""

    rule: str
    card: CardName = DEFAULT_PRICING.card.name
    rates: Annotated[list[RateBody], msgspec.Meta(max_length=RATES_MAX)] | None = None
    time_zone: ZoneName = UTC_NAME
    account_id: AccountId | None = None
    effective_from: datetime | None = None


class ChoiceView(msgspec.Struct, kw_only=True):
    """A choice; without an account it is for all that have none of their own."""

    rule: str
    card: str
    time_zone: str
    business_account_id: str | None
    effective_from: datetime


class RulesView(msgspec.Struct, kw_only=True):
    """The rules of a kind, the cards they may use, and what was chosen."""

    kind: str
    default: str
    rules: list[str]
    cards: list[str]
    chosen: list[ChoiceView]


class QuoteBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A message that is not sent. What a chat knows better counts from the chat: the one of
    `chat_id`, or the one with `address` where there is one."""

    account_id: AccountId
    kind: Literal["text", "template"] = "text"
    category: Literal["marketing", "utility", "authentication", "service"] = "service"
    chat_id: Annotated[str, msgspec.Meta(max_length=40)] | None = None
    address: PhoneNumber | None = None
    country: Country | None = None
    in_conversation: bool = False
    in_window: bool = True

    def question(self) -> Question:
        """As it is answered. Raises Invalid."""
        if self.kind == "text" and self.category != "service":
            raise Invalid("category", "what is no template is of category service")
        phone = self.address.removeprefix("+") if self.address is not None else None
        country = self.country
        if country is None and phone is not None:
            country = country_of(Address("phone", phone))
        return Question(
            account_id=self.account_id,
            chat_id=self.chat_id,
            phone=phone,
            is_template=self.kind == "template",
            category=self.category,
            country=country,
            in_conversation=self.in_conversation,
            in_window=self.in_window,
        )


@get("/v1/rules/{kind:str}")
async def get_rules(
    kind: FromPath[str],
    principal: Part[Principal],
    credit_accounts: Part[CreditAccounts],
    rate_cards: Part[RateCards],
) -> RulesView:
    """The rules of a kind, and what this organisation has chosen. Spec L7, S9."""
    require_reader(principal)
    _require_known(kind)
    chosen = (await credit_accounts.chosen(principal.keys.org)).pricing
    is_pricing = kind == "pricing"
    return RulesView(
        kind=kind,
        default=DEFAULT_RULES[kind],
        rules=sorted(RULES[kind]),
        cards=sorted(rate_cards) if is_pricing else [],
        chosen=[_choice_view(each) for each in chosen] if is_pricing else [],
    )


@put("/v1/rules/{kind:str}")
async def put_rules(
    request: AnyRequest,
    kind: FromPath[str],
    data: JSONBody[PricingBody],
    principal: Part[Principal],
    credit_accounts: Part[CreditAccounts],
    rate_cards: Part[RateCards],
    clock: Part[Clock],
) -> Response[ChoiceView]:
    """Let a pricing rule and a card hold from a time on; old charges stay as they are. Spec L7."""
    actor = await actor_of(request, principal, scope="billing", status=200)
    require_role(principal.organisation, principal.user_id, "admin")
    _require_known(kind)
    if kind != "pricing":
        raise Invalid("kind", "only pricing can be chosen")
    from_when = data.effective_from
    wanted = PricingChosen(
        rule=known_rule(data.rule, field="rule"),
        card=card_of(data.card, data.rates, rate_cards),
        time_zone=known_zone(data.time_zone),
        effective_from=utc(from_when, field="effective_from") if from_when else clock.now(),
    )
    outcome = await credit_accounts.choose_pricing(actor, data.account_id, wanted)
    chosen = msgspec.structs.replace(
        wanted,
        business_account=outcome.ids["business_account"] or None,
        effective_from=datetime.fromisoformat(outcome.ids["effective_from"]),
    )
    return answer(_choice_view(chosen), outcome)


@post("/v1/quotes", status_code=200, opt={"only_reads": True})
async def post_quote(
    data: JSONBody[QuoteBody],
    principal: Part[Principal],
    quotes: Part[Quotes],
) -> Quote:
    """What a message would cost now. Nothing is written. Spec L2, L7."""
    principal.require_scope("billing")
    require_role(principal.organisation, principal.user_id, "admin", "supervisor", "auditor")
    return await quotes.quote(principal.keys, data.question())


def known_rule(name: str, *, field: str) -> str:
    """A pricing rule. Raises Invalid."""
    if name not in RULES["pricing"]:
        raise Invalid(field, f"must be one of {', '.join(sorted(RULES['pricing']))}")
    return name


def card_of(name: str, rates: list[RateBody] | None, rate_cards: RateCards) -> RateCard:
    """A card that ships, or one's own with these rates. Raises Invalid."""
    if rates is None:
        if name not in rate_cards:
            raise Invalid("card", f"must be one of {', '.join(sorted(rate_cards))}, or have rates")
        return rate_cards[name]
    if name in rate_cards:
        raise Invalid("card", f"{name} ships with other rates; give your own another name")
    card = RateCard(name=name, rates=tuple(each.rate() for each in rates))
    require_whole(card)
    return card


def _require_known(kind: str) -> None:
    if kind not in RULES:
        raise NotFound(f"There are no rules of kind {kind!r}.")


def _choice_view(chosen: PricingChosen) -> ChoiceView:
    return ChoiceView(
        rule=chosen.rule,
        card=chosen.card.name,
        time_zone=chosen.time_zone,
        business_account_id=chosen.business_account,
        effective_from=chosen.effective_from,
    )


HANDLERS = (
    get_rules,
    put_rules,
    post_quote,
)
