"""Answers and their fates on a log in memory: what is decided is the real thing."""

from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from adapters.manual import MANUAL
from api.commands.billing import Billing, settle
from api.commands.states import Entry
from api.commands.unit import Unit
from domain import account, chat, chat_events, contact, sending
from domain import ledger as ledgers
from domain.aggregates import aggregate_of
from domain.chat import Chat
from domain.chat_events import ReceiptReceived
from domain.conversation import ConversationStarted
from domain.event import Event, Recorded, Sealed
from domain.ledger import Charged, ChargeRefunded, Credits
from domain.outbound import Accepted, Rejected, Unsettled
from domain.ports import Org
from domain.recount import Billable

ORG = Org(1, "acme")
WABA = "102290129340398"
ACCOUNT = "527719004413008"
SECOND_ACCOUNT = "527719004413009"  # Of the same business account.
LEDGER = ledgers.stream_of(WABA)
CONTENT = Sealed("contact:kim", bytes(16), b"what is written")
COUNTRIES = ("JP", "US", None)


class World:
    """One org's log and the states it leaves; `billing` decides on them as in a server."""

    def __init__(self, chats: int = 3) -> None:
        self.now = datetime(2026, 10, 30, 12, tzinfo=UTC)
        self.log: list[Recorded] = []
        self.entries: dict[str, Entry] = {}
        self._of_kind: defaultdict[type[Event], list[Any]] = defaultdict(list)
        self.ids = map(str, count(1))
        self.billing = Billing(lambda: f"p{next(self.ids)}", enabled=True, provider=MANUAL)
        for account_id in (ACCOUNT, SECOND_ACCOUNT):
            claimed = account.AccountClaimed(
                platform="whatsapp", account_id=account_id, business_account_id=WABA
            )
            self.record(account.stream_of("whatsapp", account_id), claimed)
        for number in range(chats):
            self.meet(f"c{number}", COUNTRIES[number % len(COUNTRIES)])

    def meet(self, chat_id: str, country: str | None = None, account_id: str = ACCOUNT) -> None:
        self.record(
            contact.stream_of(f"of-{chat_id}"),
            contact.ContactCreated(contact_id=f"of-{chat_id}"),
            contact.AddressAdded(kind="phone", key=b"1", address=CONTENT, country=country),
        )
        started = chat_events.ChatStarted(
            chat_id=chat_id, platform="whatsapp", account_id=account_id, contact_id=f"of-{chat_id}"
        )
        self.record(chat.stream_of(chat_id), started)

    # What a unit of work asks for.

    def get(self, _: Org, stream: str) -> Entry:
        """As `States` has it."""
        if stream not in self.entries:
            self.entries[stream] = Entry(aggregate_of(stream)[0], 0)
        return self.entries[stream]

    def unit(self) -> Unit:
        return Unit(ORG, self, {})  # type: ignore[arg-type]

    def commit(self, unit: Unit) -> bool:
        """Append, unless something that was read has changed since."""
        for stream, version in unit.read:
            if self.get(ORG, stream).version != version:
                return False
        for new in unit.events:
            self._append(new.stream, new.version, new.event)
        return True

    def _append(self, stream: str, version: int, event: Event) -> None:
        entry = self.get(ORG, stream)
        assert version == entry.version + 1
        self.log.append(Recorded(len(self.log) + 1, stream, version, self.now, event))
        evolve = aggregate_of(stream)[1]
        self.entries[stream] = Entry(evolve(entry.state, event), version)
        self._of_kind[type(event)].append(event)

    def record(self, stream: str, *events: Event) -> None:
        for event in events:
            self._append(stream, self.get(ORG, stream).version + 1, event)

    def run(self, *decisions: Callable[[Unit], Any]) -> None:
        """Decide all of them on the same states; whoever loses is decided again."""
        units = [(decide, self.unit()) for decide in decisions]
        refused = []
        for decide, unit in units:
            try:
                decide(unit)
            except ledgers.InsufficientCredits as refusal:
                refused.append((decide, unit, refusal))
        for decide, unit in units:
            if any(unit is each for _, each, _ in refused):
                continue
            if not self.commit(unit):
                self.run(decide)
        for _, _, lost in refused:
            raise lost

    # What happens.

    def hears(self, chat_id: str, *, late: timedelta = timedelta(), referred: bool = False) -> None:
        """A customer's message, told so late; `referred` if they came by an ad."""
        heard = chat_events.MessageReceived(
            message_id=next(self.ids),
            kind="text",
            at=self.now - late,
            content=CONTENT,
            key=b"k",
            referred=referred,
        )
        self.record(chat.stream_of(chat_id), heard)

    def answer(self, chat_id: str, category: str | None) -> Callable[[Unit], None]:
        """An answer with a template of this category, or with None a text."""
        message_id = next(self.ids)

        def decide(unit: Unit) -> None:
            stream = chat.stream_of(chat_id)
            requested = chat_events.ReplyRequested(
                message_id=message_id,
                channel_id="shared",
                service="crm",
                user_id="ann",
                kind="template" if category else "text",
                at=self.now,
                content=CONTENT,
                template="t/en" if category else None,
                category=category,
            )
            state = unit.state(stream, Chat)
            unit.record(stream, self.billing.answer(unit, state, requested))

        return decide

    def fate(self, chat_id: str, message_id: str, what: str) -> None:
        """What becomes of a message: accepted, refused, uncertain, discarded, or a late failure."""
        stream = chat.stream_of(chat_id)

        def decide(unit: Unit) -> None:
            state = unit.state(stream, Chat)
            unit.record(stream, _events_of(state, message_id, what, self.now))
            settle(unit, chat_id, at=self.now)

        self.run(decide)

    # What is so.

    @property
    def ledger(self) -> Credits:
        state = self.get(ORG, LEDGER).state
        assert isinstance(state, Credits)
        return state

    def messages(self) -> dict[str, str]:
        """Every message that can still have a fate, with its chat."""
        return {
            message_id: stream.partition(":")[2]
            for stream, entry in self.entries.items()
            if stream.startswith("chat:")
            for message_id in entry.state.outbound
        }

    def of(self, kind: type[Event]) -> list[Any]:
        return self._of_kind[kind]

    def billable(self) -> list[Billable]:
        """The answers as the projection has them, worked out from the whole log at once."""
        voids: dict[str, int] = {}
        for each in self.log:
            if isinstance(each.event, ChargeRefunded):
                voids[each.event.charge_id] = each.position
        started = {
            each.event.conversation_id: each.event
            for each in self.log
            if isinstance(each.event, ConversationStarted)
        }
        return [
            Billable(
                position=each.position,
                message_id=each.event.message_id,
                conversation_id=each.event.conversation or "",
                at=each.event.at,
                platform="whatsapp",
                account_id=ACCOUNT,
                country=started[each.event.conversation or ""].country,
                category=each.event.category or "service",
                is_template=each.event.template is not None,
                in_window=each.event.in_window is True,
                in_entry_point=each.event.in_entry_point,
                message_void=voids.get(each.event.message_id),
                conversation_void=self._conversation_void(each.event, voids),
            )
            for each in self.log
            if isinstance(each.event, chat_events.ReplyRequested)
        ]

    def _conversation_void(
        self, opening: chat_events.ReplyRequested, voids: dict[str, int]
    ) -> int | None:
        """Where all messages of the conversation that this answer opens had been refused."""
        if opening.message_id != opening.conversation:
            return None
        units = {
            each.price.unit
            for each in self.of(Charged)
            if each.conversation_id == opening.conversation
        }
        if units == {"conversation"}:
            return voids.get(opening.message_id)
        members = [
            each.message_id
            for each in self.of(chat_events.ReplyRequested)
            if each.conversation == opening.conversation
        ]
        return max(voids[each] for each in members) if set(members) <= set(voids) else None


def _events_of(state: Chat, message_id: str, what: str, now: datetime) -> list[Event]:
    key = message_id.encode()
    match what:
        case "accepted":
            return sending.record_answer(
                state, message_id, Accepted(platform_id="w"), key=key, platform=None, now=now
            )
        case "refused":
            refused = Rejected(reason="undeliverable", code=131026, detail="")
            return sending.record_answer(
                state, message_id, refused, key=None, platform=None, now=now
            )
        case "uncertain":
            lost = Unsettled(reason="timeout")
            return sending.record_answer(state, message_id, lost, key=None, platform=None, now=now)
        case "discarded":
            if state.outbound[message_id].status != "uncertain":
                return []
            return [
                chat_events.MessageFailed(message_id=message_id, reason="discarded", user_id="ann")
            ]
        case _:
            failed = ReceiptReceived(key=key, status="failed", at=now, message_id=message_id)
            return sending.record_receipt(state, failed)
