"""Which rules hold for an account, and what a message would cost (L2, L7, N1)."""

from collections.abc import Collection, Mapping
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
from api.commands.window_rules import WindowRules
from api.credits import require_reader
from api.parts import Part
from api.rate_cards import CardName, RateBody, RateCards
from api.zones import known_zone
from domain import parent, pricing
from domain.chosen_rules import DEFAULT_PRICING, UTC_NAME, PricingChosen, WindowChosen
from domain.country import country_of
from domain.inbound import Address
from domain.organisation import require_role
from domain.ports import Clock
from domain.rate_card import RATES_MAX, RateCard, require_whole
from domain.refusal import Invalid, NotFound
from domain.rules import RULES
from domain.windows import DEFAULT_WINDOW_RULES, WINDOW_RULES

AnyRequest = Request[Any, Any, Any]
KINDS: Mapping[str, Collection[str]] = {**RULES, "window": WINDOW_RULES}
DEFAULT_RULES = {"parent": parent.DEFAULT_RULE, "pricing": pricing.DEFAULT_RULE}

ZoneName = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
PhoneNumber = Annotated[str, msgspec.Meta(max_length=40, pattern=rf"^\+?[0-9]{{1,20}}{END}")]
Country = Annotated[str, msgspec.Meta(pattern=rf"^[A-Z]{{2}}{END}")]


class RuleBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A choice of a rule. `card`, `rates` and `time_zone` belong to a pricing.

    `rates` make `card` a card of your own; without them it is one that ships.
    """

    rule: str
    card: CardName | None = None
    rates: Annotated[list[RateBody], msgspec.Meta(max_length=RATES_MAX)] | None = None
    time_zone: ZoneName | None = None
    account_id: AccountId | None = None
    effective_from: datetime | None = None


class ChoiceView(msgspec.Struct, kw_only=True):
    """A choice; without an account it is for all that have none of their own.

    A pricing has a card and a time zone and is of a business account, a window of an account.
    """

    rule: str
    effective_from: datetime
    card: str | None = None
    time_zone: str | None = None
    business_account_id: str | None = None
    account_id: str | None = None


class RulesView(msgspec.Struct, kw_only=True):
    """The rules of a kind, the cards they may use, and what was chosen.

    `default` holds without a choice; of windows there is one for each platform.
    """

    kind: str
    default: str | None
    defaults: dict[str, str]
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
    in_entry_point: bool = False

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
            in_entry_point=self.in_entry_point,
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
    chosen = await credit_accounts.chosen(principal.keys.org)
    choices = {
        "pricing": [_choice_view(each) for each in chosen.pricing],
        "window": [_window_view(each) for each in chosen.windows],
    }
    return RulesView(
        kind=kind,
        default=DEFAULT_RULES.get(kind),
        defaults=dict(DEFAULT_WINDOW_RULES) if kind == "window" else {},
        rules=sorted(KINDS[kind]),
        cards=sorted(rate_cards) if kind == "pricing" else [],
        chosen=choices.get(kind, []),
    )


@put("/v1/rules/{kind:str}")
async def put_rules(
    request: AnyRequest,
    kind: FromPath[str],
    data: JSONBody[RuleBody],
    principal: Part[Principal],
    credit_accounts: Part[CreditAccounts],
    window_rules: Part[WindowRules],
    rate_cards: Part[RateCards],
    clock: Part[Clock],
) -> Response[ChoiceView]:
    """Let a rule hold from a time on: what was charged or sent stays as it is. Spec L7, N1."""
    scope = "manage" if kind == "window" else "billing"
    actor = await actor_of(request, principal, scope=scope, status=200)
    require_role(principal.organisation, principal.user_id, "admin")
    _require_known(kind)
    given = data.effective_from
    from_when = utc(given, field="effective_from") if given else clock.now()
    match kind:
        case "pricing":
            pricing_chosen = _pricing_of(data, rate_cards, from_when)
            outcome = await credit_accounts.choose_pricing(actor, data.account_id, pricing_chosen)
            view = _choice_view(pricing_chosen)
            view.business_account_id = outcome.ids["business_account"] or None
        case "window":
            window_chosen = _window_of(data, from_when)
            outcome = await window_rules.choose(actor, window_chosen)
            view = _window_view(window_chosen)
        case _:
            raise Invalid("kind", "only pricing and window can be chosen")
    view.effective_from = datetime.fromisoformat(outcome.ids["effective_from"])
    return answer(view, outcome)


def _pricing_of(data: RuleBody, rate_cards: RateCards, from_when: datetime) -> PricingChosen:
    return PricingChosen(
        rule=known_rule(data.rule, field="rule"),
        card=card_of(data.card or DEFAULT_PRICING.card.name, data.rates, rate_cards),
        time_zone=known_zone(data.time_zone or UTC_NAME),
        effective_from=from_when,
    )


def _window_of(data: RuleBody, from_when: datetime) -> WindowChosen:
    for field in ("card", "rates", "time_zone"):
        if getattr(data, field) is not None:
            raise Invalid(field, "does not belong to a window")
    if data.rule not in WINDOW_RULES:
        raise Invalid("rule", f"must be one of {', '.join(sorted(WINDOW_RULES))}")
    return WindowChosen(
        platform=WINDOW_RULES[data.rule].platform,
        rule=data.rule,
        effective_from=from_when,
        account_id=data.account_id,
    )


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
    if kind not in KINDS:
        raise NotFound(f"There are no rules of kind {kind!r}.")


def _choice_view(chosen: PricingChosen) -> ChoiceView:
    return ChoiceView(
        rule=chosen.rule,
        card=chosen.card.name,
        time_zone=chosen.time_zone,
        business_account_id=chosen.business_account,
        effective_from=chosen.effective_from,
    )


def _window_view(chosen: WindowChosen) -> ChoiceView:
    return ChoiceView(
        rule=chosen.rule, effective_from=chosen.effective_from, account_id=chosen.account_id
    )


HANDLERS = (
    get_rules,
    put_rules,
    post_quote,
)
