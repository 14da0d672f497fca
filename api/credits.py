"""Credits: the balance, buying, and buying by itself (L2, L5)."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post, put
from litestar.params import JSONBody, QueryParameter

from api.answers import Listing, Page, answer, known_account, utc
from api.authentication import Principal, actor_of
from api.channels import AccountId
from api.commands.credits import Books, CreditAccounts
from api.parts import Part
from api.reading import Reading
from domain.ledger import AutoRecharge, Credits
from domain.organisation import require_role
from domain.pricing import free_conversations_left
from domain.purchase import CREDIT_MICRO_USD, CREDITS_PER_PURCHASE_MAX
from domain.refusal import Invalid
from projections.statements.projection import Statements
from projections.statements.queries import Purchase, PurchaseState, purchase, purchases

AnyRequest = Request[Any, Any, Any]
PROJECTION = Statements()

CreditCount = Annotated[int, msgspec.Meta(ge=1, le=CREDITS_PER_PURCHASE_MAX)]
Threshold = Annotated[int, msgspec.Meta(ge=0, le=CREDITS_PER_PURCHASE_MAX)]

# Positions have no more digits.
POSITION_DIGITS_MAX = 18


class PurchaseBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How many whole credits to buy, for whose account."""

    account_id: AccountId
    credits: CreditCount


class AutoRechargeBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is left out keeps its value. `service` must manage the account."""

    service: str
    account_id: AccountId
    enabled: bool | msgspec.UnsetType = msgspec.UNSET
    threshold_credits: Threshold | msgspec.UnsetType = msgspec.UNSET
    credits: CreditCount | msgspec.UnsetType = msgspec.UNSET


class AutoRechargeView(msgspec.Struct, kw_only=True):
    """When credits are bought by themselves."""

    enabled: bool
    threshold_credits: int
    credits: int


class FailedRechargeView(msgspec.Struct, kw_only=True):
    """Why the newest recharge failed, and when it is asked for anew, if it is."""

    purchase_id: str
    reason: str
    at: datetime
    tries: int
    retry_at: datetime | None


class CreditsView(msgspec.Struct, kw_only=True):
    """What can still be spent. `credits` is a decimal, three places, rounded down."""

    account_id: str
    business_account_id: str
    balance_micro_usd: int
    credits: str
    free_conversations_left: int | None  # None: the rule that prices it has no such allowance.
    auto_recharge: AutoRechargeView | None
    failed_recharge: FailedRechargeView | None


class PurchaseView(msgspec.Struct, kw_only=True):
    """Credits that were bought, or are to be."""

    id: str
    state: PurchaseState
    credits: int
    amount_micro_usd: int


class ListedPurchase(msgspec.Struct, kw_only=True):
    """The same with who bought them, when, and why not."""

    id: str
    state: PurchaseState
    credits: int
    amount_micro_usd: int
    business_account_id: str
    at: datetime
    provider: str
    recharge: bool
    user_id: str | None
    reason: str | None


@get("/v1/credits", opt={"refusals": (404,)})
async def get_credits(
    principal: Part[Principal],
    credit_accounts: Part[CreditAccounts],
    account_id: Annotated[str | None, QueryParameter(required=True)] = None,
    as_of: Annotated[str | None, QueryParameter()] = None,
) -> CreditsView:
    """The balance of an account, or of its business account; `as_of` a position or time."""
    require_reader(principal)
    if account_id is None:
        raise Invalid("account_id", "is needed: whose credits")
    org, known = principal.keys.org, known_account(account_id)
    moment = moment_of(as_of)
    if moment is None:
        return _credits_view(known, await credit_accounts.books(org, known))
    return _credits_view(known, await credit_accounts.books_as_of(org, known, moment))


@post("/v1/credits/purchases", status_code=201)
async def post_purchase(
    request: AnyRequest,
    data: JSONBody[PurchaseBody],
    principal: Part[Principal],
    credit_accounts: Part[CreditAccounts],
    reading: Part[Reading],
) -> Response[PurchaseView]:
    """Buy credits. With the provider `manual` an admin's purchase is the confirmation. Spec L5."""
    actor = await actor_of(request, principal, scope="billing", status=201)
    outcome = await credit_accounts.buy(actor, data.account_id, data.credits)
    org, purchase_id = actor.org.number, outcome.ids["purchase"]
    async with reading.after(org, outcome.position, PROJECTION) as connection:
        row = await purchase(connection, org=org, purchase_id=purchase_id)
    bought = PurchaseView(
        id=purchase_id,
        state=row.state if row else "pending",
        credits=data.credits,
        amount_micro_usd=data.credits * CREDIT_MICRO_USD,
    )
    return answer(bought, outcome, status=201)


@get("/v1/credits/purchases", opt={"refusals": (404,)})
async def list_purchases(
    request: AnyRequest,
    principal: Part[Principal],
    reading: Part[Reading],
    credit_accounts: Part[CreditAccounts],
    page: Part[Page],
    account_id: Annotated[str | None, QueryParameter()] = None,
) -> Listing[ListedPurchase]:
    """Purchases and recharges, newest first."""
    require_reader(principal)
    org, business_account = principal.keys.org, None
    if account_id is not None:
        books = await credit_accounts.books(org, known_account(account_id))
        business_account = books.business_account
    after = page.after(int)
    async with reading.of(request, principal, PROJECTION, scope="billing") as connection:
        rows = await purchases(
            connection,
            org=org.number,
            business_account=business_account,
            limit=page.limit + 1,
            **({"before": after[0]} if after else {}),
        )
    shown = rows[: page.limit]
    more = page.cursor_of(shown[-1].position) if len(rows) > len(shown) else None
    return Listing([_listed(row) for row in shown], more)


@put("/v1/credits/auto-recharge")
async def put_auto_recharge(
    request: AnyRequest,
    data: JSONBody[AutoRechargeBody],
    principal: Part[Principal],
    credit_accounts: Part[CreditAccounts],
) -> Response[AutoRechargeView]:
    """Buy credits whenever the balance is at or under a threshold. Spec L5, S12."""
    actor = await actor_of(request, principal, scope="billing", status=200)
    require_role(principal.organisation, principal.user_id, "admin")
    outcome = await credit_accounts.configure_auto_recharge(
        actor, data.account_id, data.service, _changes(data)
    )
    configured = msgspec.json.decode(outcome.ids["auto_recharge"], type=AutoRechargeView)
    return answer(configured, outcome)


def require_reader(principal: Principal) -> None:
    """Raises Forbidden unless the principal may read credits."""
    principal.require_scope("billing")
    require_role(principal.organisation, principal.user_id, "admin", "auditor")


def moment_of(as_of: str | None) -> int | datetime | None:
    """A position or a time. Raises Invalid."""
    if as_of is None:
        return None
    if as_of.isascii() and as_of.isdigit() and len(as_of) <= POSITION_DIGITS_MAX:
        return int(as_of)
    try:
        moment = datetime.fromisoformat(as_of)
    except ValueError as error:
        message = "must be a position or a time such as 2026-11-21T12:00:00Z"
        raise Invalid("as_of", message) from error
    return utc(moment, field="as_of")


def _changes(data: AutoRechargeBody) -> dict[str, Any]:
    return {
        name: getattr(data, name)
        for name in AutoRecharge.__struct_fields__
        if getattr(data, name) is not msgspec.UNSET
    }


def _credits_view(account_id: str, books: Books) -> CreditsView:
    used, configured = books.credits.used.get(books.month, 0), books.credits.auto_recharge
    return CreditsView(
        account_id=account_id,
        business_account_id=books.business_account,
        balance_micro_usd=books.credits.balance,
        credits=credits_of(books.credits.balance),
        free_conversations_left=free_conversations_left(books.pricing.rule, used=used),
        auto_recharge=_recharge_view(configured) if configured else None,
        failed_recharge=_failed_recharge_view(books.credits),
    )


def _failed_recharge_view(credits_: Credits) -> FailedRechargeView | None:
    """Only while the balance is low: what was bought by other means needs no recharge."""
    failed = credits_.purchases.failed_recharge
    if failed is None or not credits_.recharged:
        return None
    return FailedRechargeView(
        purchase_id=failed.purchase_id,
        reason=failed.reason,
        at=failed.at,
        tries=failed.tries,
        retry_at=failed.retry_at,
    )


def credits_of(micro_usd: int) -> str:
    """Money as credits: a decimal with three places, rounded down."""
    thousandths = micro_usd * 1_000 // CREDIT_MICRO_USD
    return f"{thousandths // 1_000}.{thousandths % 1_000:03}"


def _recharge_view(configured: AutoRecharge) -> AutoRechargeView:
    return AutoRechargeView(
        enabled=configured.enabled,
        threshold_credits=configured.threshold_credits,
        credits=configured.credits,
    )


def _listed(row: Purchase) -> ListedPurchase:
    return ListedPurchase(
        id=row.purchase_id,
        state=row.state,
        credits=row.credits,
        amount_micro_usd=row.micro_usd,
        business_account_id=row.business_account,
        at=row.at,
        provider=row.provider,
        recharge=row.recharge,
        user_id=row.user_id,
        reason=row.reason,
    )


HANDLERS = (
    get_credits,
    post_purchase,
    list_purchases,
    put_auto_recharge,
)
