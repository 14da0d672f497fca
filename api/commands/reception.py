"""What each kind of occurrence becomes in the log of the org that holds its account."""

from datetime import datetime, timedelta

import msgspec

from api.commands.billing import settle
from api.commands.conditions import note_condition
from api.commands.lessons import heed_refusal, heed_template_word
from api.commands.marks import message_key, message_of
from api.commands.people import People
from api.commands.unit import Unit
from api.commands.watermarks import PLATFORMS as WATERMARK_PLATFORMS
from api.commands.watermarks import date_message, raise_watermark
from api.commands.window_rules import note_opened
from domain import account as accounts
from domain import chat as chats
from domain import contact as contacts
from domain import sending, unrouted, watermark
from domain.account import NoticeReceived, StrayReceiptReceived
from domain.chat import Chat
from domain.chat_events import (
    ChatStarted,
    EchoReceived,
    EditReceived,
    MessageReceived,
    ReactionReceived,
    ReceiptReceived,
    UnsendReceived,
)
from domain.contact import (
    ActivityReceived,
    Contact,
    ContactChatStarted,
    FollowChanged,
    MarketingPreferenceChanged,
)
from domain.event import Event, Sealed
from domain.identifiers import NewId
from domain.inbound import (
    AccountNoticed,
    ActivityOccurred,
    Address,
    AddressesChanged,
    AnyOccurrence,
    FollowOccurred,
    MessageChanged,
    MessageOccurred,
    NotUnderstood,
    Person,
    PreferenceChanged,
    ReceiptOccurred,
    WatermarkOccurred,
    files_of,
    is_about_somebody,
)
from domain.ports import Keys
from domain.unrouted import DeliveryKept
from domain.windows import believed_time

# Raw deliveries without a known sender can be read for so long (E4).
UNATTRIBUTED_KEPT = timedelta(days=30)

# One that comes later may speak of trouble with the account that is mended by now.
RECEIPT_IS_NEWS = timedelta(minutes=10)

# A telephone number is somebody else's one day; an id that a platform made never is.
HANDED_ON = frozenset({"phone"})


class Reception:
    """One occurrence on its way into one org: what it becomes there."""

    def __init__(
        self,
        people: People,
        new_id: NewId,
        keys: Keys,
        platform: str,
        account: str,
        occurrence: AnyOccurrence,
        received_at: datetime,
        *,
        is_unclaimed: bool,
    ) -> None:
        """`is_unclaimed`: nobody holds the account, so it waits in the installation's own org."""
        self._people = people
        self._new_id = new_id
        self._is_unclaimed = is_unclaimed
        self._keys = keys
        self._platform = platform
        self._account = account
        self._occurrence = occurrence
        self._received_at = received_at
        self._at = believed_time(occurrence.at, received_at=received_at)

    def decide(self, unit: Unit) -> None:
        """Record what happened. Raises Missing."""
        if self._is_unclaimed:
            self._keep_for_later(unit)
            return
        match self._occurrence:
            case (
                MessageOccurred()
                | MessageChanged()
                | FollowOccurred()
                | ActivityOccurred()
                | WatermarkOccurred() as nameless
            ) if not is_about_somebody(nameless):
                self.keep_raw(unit)
            case MessageOccurred(echo=False) as message:
                self._message(unit, message)
            case MessageOccurred() as message:
                self._echo(unit, message)
            case MessageChanged() as change:
                self._change(unit, change)
            case ReceiptOccurred() as receipt:
                self._receipt(unit, receipt)
            case AddressesChanged() as change:
                self._addresses(unit, change)
            case PreferenceChanged() as preference:
                self._preference(unit, preference)
            case WatermarkOccurred() as reached:
                self._watermark(unit, reached)
            case FollowOccurred() as follow:
                self._follow(unit, follow)
            case ActivityOccurred() as activity:
                self._activity(unit, activity)
            case AccountNoticed() as notice:
                self._notice(unit, notice)
            case NotUnderstood():
                self.keep_raw(unit)

    def _notice(self, unit: Unit, notice: AccountNoticed) -> None:
        if notice.raw is not None:
            self.keep_raw(unit)
        note_condition(unit, self._platform, self._account, notice, now=self._received_at)
        if notice.template is not None and notice.account_id is not None:
            heed_template_word(unit, self._platform, self._account, notice.template, at=self._at)

    # Messages.

    def _message(self, unit: Unit, message: MessageOccurred) -> None:
        chat_id, author = self._meet(unit, message.person, message.group, message.group_name)
        stream = chats.stream_of(chat_id)
        received = MessageReceived(
            message_id=self._new_id(),
            kind=message.kind.partition(".")[2],
            at=self._at,
            content=self._seal(unit, author, message.content, stream, MessageReceived),
            key=self._key(message.platform_id),
            quotes=self._key(message.quotes) if message.quotes else None,
            member=_member(message, author),
            files=len(files_of(message.content)),
            referred=message.referred,
        )
        unit.record(stream, [received])

    def _echo(self, unit: Unit, message: MessageOccurred) -> None:
        chat_id, _ = self._meet(unit, message.person, message.group, message.group_name)
        key = self._key(message.platform_id)
        self._record_echo(unit, message, chat_id, key)
        if self._platform in WATERMARK_PLATFORMS and message.at is not None:
            date_message(unit, chat_id, key=key, at=self._at)

    def _record_echo(self, unit: Unit, message: MessageOccurred, chat_id: str, key: bytes) -> None:
        stream = chats.stream_of(chat_id)
        chat = unit.state(stream, Chat)
        own = chats.find_outbound(chat, key=key, mark=message_of(message.sent_by_us))
        if own is not None:
            unit.record(stream, sending.confirm_sent(chat, own, key=key))
            settle(unit, chat_id, at=self._received_at)
            return
        echo = EchoReceived(
            message_id=self._new_id(),
            kind=message.kind.removeprefix("echo."),
            at=self._at,
            content=self._seal(unit, chat.contact_id, message.content, stream, EchoReceived),
            key=key,
            quotes=self._key(message.quotes) if message.quotes else None,
            files=len(files_of(message.content)),
        )
        unit.record(stream, [echo])

    def _change(self, unit: Unit, change: MessageChanged) -> None:
        chat_id, author = self._meet(unit, change.person, change.group)
        stream = chats.stream_of(chat_id)
        target = self._key(change.target)
        event: Event
        match change.kind.rpartition(".")[2], change.content:
            case "reaction", content:
                reaction: Sealed | None = None
                if content is not None:
                    reaction = self._seal(unit, author, content, stream, ReactionReceived)
                event = ReactionReceived(
                    target=target,
                    at=self._at,
                    content=reaction,
                    member=_member(change, author),
                    echo=change.echo,
                )
            case _, None:
                event = UnsendReceived(target=target, at=self._at, echo=change.echo)
            case _, content:
                sealed = self._seal(unit, author, content, stream, EditReceived)
                event = EditReceived(target=target, at=self._at, content=sealed, echo=change.echo)
        unit.record(stream, [event])
        if change.content is not None:
            note_opened(unit, self._platform, chat_id, change.kind, at=self._at)

    def _receipt(self, unit: Unit, receipt: ReceiptOccurred) -> None:
        chat_id = self._chat_of(unit, receipt)
        if chat_id is None:
            self._keep_stray_receipt(unit, receipt)
            return
        stream = chats.stream_of(chat_id)
        chat = unit.state(stream, Chat)
        detail = None
        if receipt.detail is not None:
            data = msgspec.json.encode(receipt.detail)
            detail = self._people.seal(
                unit, self._keys, chat.contact_id, data, stream, ReceiptReceived
            )
        participant = receipt.person.addresses[:1] if receipt.group else ()
        received = ReceiptReceived(
            key=self._key(receipt.platform_id),
            status=receipt.status,
            at=self._at,
            message_id=message_of(receipt.sent_by_us),
            participant=self._address(participant[0]) if participant else None,
            error_code=receipt.error_code,
            detail=detail,
            reason=receipt.reason,
        )
        unit.record(stream, sending.record_receipt(chat, received))
        now = self._received_at
        settle(unit, chat_id, at=now)
        if not receipt.group:
            message_id = chats.find_outbound(chat, key=received.key, mark=received.message_id)
            heed_refusal(unit, chat_id, message_id, reason=receipt.reason, at=self._at, now=now)
        if now - self._at < RECEIPT_IS_NEWS:
            note_condition(unit, self._platform, self._account, receipt, now=now)

    def _watermark(self, unit: Unit, reached: WatermarkOccurred) -> None:
        chat_id, _ = self._meet(unit, reached.person, None)
        keys = [self._key(each) for each in reached.platform_ids]
        raise_watermark(unit, chat_id, status=reached.status, up_to=self._at, keys=keys)

    def _chat_of(self, unit: Unit, receipt: ReceiptOccurred) -> str | None:
        """The chat a receipt belongs to: by our mark, else by whom the message went to."""
        marked = (receipt.sent_by_us or "").partition(".")[0]
        if marked and unit.state(chats.stream_of(marked), Chat).chat_id == marked:
            return marked
        addresses = (receipt.group,) if receipt.group else receipt.person.addresses
        contact_id = self._people.find(unit, self._keys, addresses)
        if contact_id is None:
            return None
        contact = unit.state(contacts.stream_of(contact_id), Contact)
        return contact.chats.get(self._account_key)

    # People.

    def _meet(
        self, unit: Unit, person: Person, group: Address | None, group_name: str | None = None
    ) -> tuple[str, str]:
        """The chat with this customer, begun if need be, and who wrote. Spec C19."""
        customer, author = self._meet_people(unit, person, group, group_name)
        stream = contacts.stream_of(customer)
        chat_id = unit.state(stream, Contact).chats.get(self._account_key)
        if chat_id is None:
            chat_id = self._new_id()
            unit.record(stream, [ContactChatStarted(account=self._account_key, chat_id=chat_id)])
            started = ChatStarted(
                chat_id=chat_id,
                platform=self._platform,
                account_id=self._account,
                contact_id=customer,
                group=group is not None,
            )
            unit.begin(chats.stream_of(chat_id))
            unit.begin(watermark.stream_of(chat_id))
            unit.record(chats.stream_of(chat_id), [started])
        return chat_id, author

    def _meet_people(
        self, unit: Unit, person: Person, group: Address | None, group_name: str | None = None
    ) -> tuple[str, str]:
        """The customer, who may be a group, and who of them it is about. Spec C19."""
        customer = author = ""
        if group is not None:
            as_person = Person(addresses=(group,), name=group_name)
            customer = self._people.find_or_make(unit, self._keys, as_person, group=True)
        if person.addresses:
            author = self._people.find_or_make(unit, self._keys, person)
        return customer or author, author or customer

    def _follow(self, unit: Unit, follow: FollowOccurred) -> None:
        customer, author = self._meet_people(unit, follow.person, follow.group)
        stream = contacts.stream_of(customer)
        changed = FollowChanged(
            account=self._account_key,
            follows=follow.follows,
            at=self._at,
            details=self._seal(unit, author, follow, stream, FollowChanged),
        )
        unit.record(stream, [changed])

    def _activity(self, unit: Unit, activity: ActivityOccurred) -> None:
        customer, author = self._meet_people(unit, activity.person, activity.group)
        stream = contacts.stream_of(author)
        received = ActivityReceived(
            account=self._account_key,
            kind=activity.kind,
            at=self._at,
            details=self._seal(unit, author, activity, stream, ActivityReceived),
            group=customer if activity.group else None,
        )
        unit.record(stream, [received])
        chat_id = unit.state(stream, Contact).chats.get(self._account_key)
        if chat_id is not None:
            note_opened(unit, self._platform, chat_id, activity.kind, at=self._at)

    def _addresses(self, unit: Unit, change: AddressesChanged) -> None:
        contact_id = self._people.find(unit, self._keys, change.person.addresses)
        if contact_id is None:
            # Nobody we know yet, but whoever writes under either address will be the same (P5).
            stay = [each for each in change.person.addresses if each.kind not in HANDED_ON]
            known = self._people.find(unit, self._keys, change.added)
            person = Person(addresses=(*stay, *change.added))
            self._people.find_or_make(unit, self._keys, person, group=change.group)
            if change.group and known is not None:
                # The old one was added last, but a group is written to under its new one.
                for address in change.added:
                    self._people.lead_to(unit, self._keys, known, address, before=known)
            return
        replaced = {address.kind for address in change.added}
        for address in change.added:
            before = self._people.find(unit, self._keys, [address])
            if before != contact_id:
                self._people.lead_to(unit, self._keys, contact_id, address, before=before)
        for address in change.person.addresses:
            if address.kind not in replaced & HANDED_ON or address in change.added:
                continue
            if self._people.find(unit, self._keys, [address]) == contact_id:
                self._people.drop(unit, self._keys, contact_id, address)

    def _preference(self, unit: Unit, preference: PreferenceChanged) -> None:
        if not preference.person.addresses:
            self.keep_raw(unit)
            return
        contact_id = self._people.find_or_make(unit, self._keys, preference.person)
        changed = MarketingPreferenceChanged(
            account=self._account_key,
            wants_marketing=preference.wants_marketing,
            at=self._at,
        )
        unit.record(contacts.stream_of(contact_id), [changed])

    # What has no chat.

    def keep_raw(self, unit: Unit) -> None:
        """Keep it with the account, as it came."""
        occurrence = self._occurrence
        stream = accounts.stream_of(self._platform, self._account)
        person = occurrence.person if isinstance(occurrence, NotUnderstood) else None
        contact_id = (
            self._people.find(unit, self._keys, person.addresses) if person is not None else None
        )
        data = msgspec.json.encode(occurrence)
        if contact_id is None:
            notice = self._seal_unattributed(unit, data, stream, NoticeReceived)
        else:
            notice = self._people.seal(unit, self._keys, contact_id, data, stream, NoticeReceived)
        unit.record(stream, [NoticeReceived(kind=occurrence.kind, notice=notice)])

    def _keep_stray_receipt(self, unit: Unit, receipt: ReceiptOccurred) -> None:
        stream = accounts.stream_of(self._platform, self._account)
        sealed = self._seal_unattributed(
            unit, msgspec.json.encode(receipt), stream, StrayReceiptReceived
        )
        unit.record(stream, [StrayReceiptReceived(status=receipt.status, receipt=sealed)])

    def _keep_for_later(self, unit: Unit) -> None:
        stream = unrouted.stream_of(self._platform, self._account or "none")
        data = msgspec.json.encode(self._occurrence)
        sealed = self._seal_unattributed(unit, data, stream, DeliveryKept)
        unit.record(stream, [DeliveryKept(delivery=sealed)])

    def _seal_unattributed(
        self, unit: Unit, data: bytes, stream: str, event: type[Event]
    ) -> Sealed:
        key_id = f"delivery:{self._new_id()}"
        expires_at = self._received_at + UNATTRIBUTED_KEPT
        unit.keys.append(self._keys.new_key(key_id, expires_at=expires_at))
        return self._keys.seal(data, stream=stream, event=event, key_id=key_id)

    # Small things.

    @property
    def _account_key(self) -> str:
        return f"{self._platform}:{self._account}"

    def _key(self, platform_id: str) -> bytes:
        return message_key(self._keys, self._platform, self._account, platform_id)

    def _address(self, address: Address) -> bytes:
        return self._keys.hash("address", address.kind, address.value)

    def _seal(
        self, unit: Unit, contact_id: str, content: msgspec.Struct, stream: str, event: type[Event]
    ) -> Sealed:
        data = msgspec.json.encode(content)
        return self._people.seal(unit, self._keys, contact_id, data, stream, event)


def _member(said: MessageOccurred | MessageChanged, author: str) -> str | None:
    """In a group: the contact whose doing it was, if one is named (C19)."""
    return author if said.group and said.person.addresses else None
