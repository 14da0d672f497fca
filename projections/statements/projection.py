"""Bills: every movement of a ledger, and the answers that could be billed otherwise (L6, L7)."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from domain import ledger
from domain.chat_events import MessageFailed, ReceiptReceived, ReplyRequested
from domain.conversation import ChargeVoided, ConversationStarted
from domain.event import Event, Recorded
from domain.ledger import BalanceAdjusted, Charged, ChargeRefunded
from domain.pricing import FreeBecause, Inputs, Price, free_because
from domain.purchase import (
    CreditsPurchased,
    PurchaseDeferred,
    PurchaseFailed,
    PurchaseRequested,
)
from projections.engine import named_sql
from projections.engine.bulk import arrays
from projections.engine.projection import Connection

SQL = named_sql.load(__file__)

_PURCHASES = (PurchaseRequested, PurchaseDeferred, CreditsPurchased, PurchaseFailed)
_FOLDED = (
    Charged,
    ChargeRefunded,
    BalanceAdjusted,
    *_PURCHASES,
    ConversationStarted,
    ReplyRequested,
    MessageFailed,
    ReceiptReceived,
    ChargeVoided,
)


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What a charge was decided from, and what came out: enough to decide it again (L6)."""

    kind: str
    rule: str
    card: str
    inputs: Inputs
    price: Price


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    """A row, its fields in the order of the statement that writes it."""

    business_account: str
    position: int
    month: str
    kind: str
    at: datetime
    recorded_at: datetime
    micro_usd: int
    subject: str
    user_id: str | None = None
    note: str | None = None
    chat_id: str | None = None
    conversation_id: str | None = None
    platform: str | None = None
    account_id: str | None = None
    unit: str | None = None
    category: str | None = None
    country: str | None = None
    service: str | None = None
    free: bool = False
    free_because: FreeBecause | None = None
    proof: bytes | None = None


class _Changes:
    """What a batch changes."""

    def __init__(self) -> None:
        self.lines: list[_Line] = []
        self.refunds: list[tuple[str, int]] = []
        self.purchases: list[tuple[str, dict[str, Any]]] = []
        self.conversations: list[tuple[Any, ...]] = []
        self.messages: list[tuple[Any, ...]] = []
        self.discards: list[str] = []
        self.refusals: dict[str, int] = {}
        self.voids: list[tuple[str, int]] = []

    @property
    def months(self) -> dict[tuple[str, str], int]:
        """What the lines move, by business account and month."""
        moved: dict[tuple[str, str], int] = defaultdict(int)
        for line in self.lines:
            moved[line.business_account, line.month] += line.micro_usd
        return moved

    def fold(self, recorded: Recorded) -> None:
        """Take up one event."""
        _, _, owner = recorded.stream.partition(":")
        position = recorded.position
        match recorded.event:
            case Charged() | ChargeRefunded() | BalanceAdjusted() | CreditsPurchased() as moving:
                self.lines.append(_line(recorded, owner, moving))
                if isinstance(moving, ChargeRefunded):
                    self.refunds.append((moving.charge_id, position))
            case ConversationStarted() as started:
                self.conversations.append(
                    (
                        started.conversation_id,
                        started.business_account,
                        started.platform,
                        started.account_id,
                        started.country,
                    )
                )
            case ReplyRequested(conversation=str()) as requested:
                self.messages.append(_message(position, owner, requested))
            case MessageFailed(reason="discarded") as failed:
                self.discards.append(failed.message_id)
            case MessageFailed() as failed:
                self.refusals.setdefault(failed.message_id, position)
            case ReceiptReceived(status="failed", message_id=str() as message_id):
                self.refusals.setdefault(message_id, position)
            case ChargeVoided(charge_id=charge_id):
                self.voids.append((charge_id, position))
                self.refusals.setdefault(charge_id, position)
        if isinstance(recorded.event, _PURCHASES):
            self.purchases.append(_purchase(recorded, owner))


def _line(
    recorded: Recorded,
    business_account: str,
    event: Charged | ChargeRefunded | BalanceAdjusted | CreditsPurchased,
) -> _Line:
    line = _Line(
        business_account=business_account,
        position=recorded.position,
        month=event.month,
        kind="charge",
        at=event.at,
        recorded_at=recorded.recorded_at,
        micro_usd=dict(ledger.postings(event))["balance"],
        subject="",
    )
    with_parts = msgspec.structs.replace
    match event:
        case Charged():
            return with_parts(line, subject=event.charge_id, **_parts_of(event))
        case ChargeRefunded():
            of_charge = {"subject": event.charge_id, "chat_id": event.chat_id}
            return with_parts(line, kind="refund", free=event.allowance is not None, **of_charge)
        case BalanceAdjusted():
            why = {"note": event.reason, "user_id": event.user_id}
            return with_parts(line, kind="adjustment", **why)
        case CreditsPurchased():
            kind = "recharge" if event.recharge else "purchase"
            who = {"user_id": event.user_id, "note": event.provider}
            return with_parts(line, kind=kind, subject=event.purchase_id, **who)


def _parts_of(event: Charged) -> dict[str, Any]:
    because = free_because(event.inputs, event.price)
    proof = Proof(
        kind=event.kind,
        rule=event.rule,
        card=event.card,
        inputs=event.inputs,
        price=event.price,
    )
    return {
        "user_id": event.user_id,
        "chat_id": event.chat_id,
        "conversation_id": event.conversation_id,
        "platform": event.platform,
        "account_id": event.account_id,
        "unit": event.price.unit,
        "category": event.inputs.category,
        "country": event.country or "unknown",
        "service": event.service,
        "free": because is not None,
        "free_because": because,
        "proof": msgspec.json.encode(proof),
    }


def _message(position: int, chat_id: str, event: ReplyRequested) -> tuple[Any, ...]:
    return (
        event.message_id,
        event.at,
        position,
        event.conversation,
        chat_id,
        event.service,
        event.user_id,
        event.category or "service",
        event.template is not None,
        event.in_window is True,
        event.in_entry_point,
    )


def _purchase(recorded: Recorded, business_account: str) -> tuple[str, dict[str, Any]]:
    """The name of the statement that notes it, and its parameters."""
    event: Event = recorded.event
    if isinstance(event, PurchaseFailed | PurchaseDeferred):
        state = "failed" if isinstance(event, PurchaseFailed) else "pending"
        told = {"purchase_id": event.purchase_id, "state": state, "reason": event.reason}
        return "note_unpaid_purchase", told
    assert isinstance(event, PurchaseRequested | CreditsPurchased)
    return "note_purchase", {
        "business_account": business_account,
        "purchase_id": event.purchase_id,
        "position": recorded.position,
        "at": event.at,
        "state": "pending" if isinstance(event, PurchaseRequested) else "paid",
        "credits": event.credits,
        "micro_usd": event.micro_usd,
        "provider": event.provider,
        "recharge": event.recharge,
        "user_id": event.user_id,
    }


class Statements:
    """The projection."""

    name = "statements"
    version = 2
    is_watched = False
    tables = SQL["tables"]

    async def apply(self, connection: Connection, org: int, batch: Sequence[Recorded]) -> None:
        """Fold a batch: first what is new, then what became of it."""
        changes = _Changes()
        for recorded in batch:
            if isinstance(recorded.event, _FOLDED):
                changes.fold(recorded)

        async def write(name: str, rows: Sequence[Sequence[Any]]) -> None:
            if rows:
                await connection.execute(SQL[name], arrays(SQL[name], rows) | {"org": org})

        await write("add_lines", [msgspec.structs.astuple(line) for line in changes.lines])
        await write("add_to_months", [(*key, moved) for key, moved in changes.months.items()])
        await write("note_refunds", changes.refunds)
        for name, parameters in changes.purchases:
            await connection.execute(SQL[name], parameters | {"org": org})
        await write("add_conversations", changes.conversations)
        await write("add_messages", changes.messages)
        await write("note_discards", [(each,) for each in changes.discards])
        await write("note_refusals", list(changes.refusals.items()))
        await write("note_voids", changes.voids)
