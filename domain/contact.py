"""A contact: a customer as a person, or a group, found by a set of addresses. `contact:{id}`."""

from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from domain.event import Event, Sealed, stored_as

# So long whoever was sent enough marketing, by us and by others, gets none.
MARKETING_PAUSE = timedelta(hours=24)


def stream_of(contact_id: str) -> str:
    """The stream that holds one contact's events."""
    return f"contact:{contact_id}"


@stored_as("contact.created")
class ContactCreated(Event, frozen=True, kw_only=True):
    """Somebody we had not met before, or a group of people (C19)."""

    contact_id: str
    group: bool = False


@stored_as("contact.address_added")
class AddressAdded(Event, frozen=True, kw_only=True):
    """The contact is found by this address from now on. `key` is a keyed hash of it (P5)."""

    kind: str
    key: bytes
    address: Sealed
    country: str | None = None  # What prices depend on; no more of it can be read (L2).


@stored_as("contact.address_removed")
class AddressRemoved(Event, frozen=True, kw_only=True):
    """The address leads to somebody else, or to nobody."""

    key: bytes


@stored_as("contact.named")
class ContactNamed(Event, frozen=True, kw_only=True):
    """The name that the platform shows. `key` is a keyed hash, to see when it changes."""

    key: bytes
    profile: Sealed


@stored_as("contact.chat_started")
class ContactChatStarted(Event, frozen=True, kw_only=True):
    """The contact's one chat on an account (C19: for ever)."""

    account: str  # `<platform>:<account id>`
    chat_id: str


@stored_as("contact.marketing_preference_changed")
class MarketingPreferenceChanged(Event, frozen=True, kw_only=True):
    """The customer told the platform whether they want marketing on this account (N5)."""

    account: str
    wants_marketing: bool
    at: datetime


@stored_as("contact.marketing_limited")
class MarketingLimited(Event, frozen=True, kw_only=True):
    """The platform refused marketing because they were sent enough of it, by whomever (N5)."""

    account: str
    at: datetime


@stored_as("contact.follow_changed")
class FollowChanged(Event, frozen=True, kw_only=True):
    """The account may write to them from now on, or may no longer (unfollowed, blocked)."""

    account: str
    follows: bool
    at: datetime
    details: Sealed  # As received.


@stored_as("contact.activity_received")
class ActivityReceived(Event, frozen=True, kw_only=True):
    """They did something on an account that is no message: scanned a code, came from an ad …"""

    account: str
    kind: str
    at: datetime
    details: Sealed  # As received.
    group: str | None = None  # Contact of the group where it happened (C19).


class MarketingWish(msgspec.Struct, frozen=True):
    """Whether they take marketing on an account, and since when (N5)."""

    wants: bool
    at: datetime


class Contact(msgspec.Struct, frozen=True, kw_only=True):
    """The contact as decisions see it."""

    contact_id: str | None = None
    group: bool = False
    addresses: dict[bytes, str] = {}  # Keyed hash -> kind of address.
    countries: dict[bytes, str] = {}  # Of the addresses that tell one.
    name_key: bytes | None = None
    profile: Sealed | None = None  # The name itself, for what is written to them (C8).
    chats: dict[str, str] = {}  # Account -> chat.
    marketing: dict[str, MarketingWish] = {}  # By account.
    marketing_limited_at: dict[str, datetime] = {}  # By account.

    @property
    def country(self) -> str | None:
        """The country of their newest telephone number, else of another address."""
        phones = [each for key, each in self.countries.items() if self.addresses[key] == "phone"]
        told = phones or list(self.countries.values())
        return told[-1] if told else None

    def takes_marketing(self, account: str) -> bool:
        """Whether they may be sent marketing from an account: unless they said no. Spec N5."""
        wish = self.marketing.get(account)
        return wish is None or wish.wants

    def marketing_paused_until(self, account: str) -> datetime | None:
        """Until when they have had enough of it, if that was ever said."""
        limited_at = self.marketing_limited_at.get(account)
        return None if limited_at is None else limited_at + MARKETING_PAUSE


def evolve(contact: Contact, event: Event) -> Contact:
    """The contact after one more fact."""
    match event:
        case ContactCreated():
            return replace(contact, contact_id=event.contact_id, group=event.group)
        case AddressAdded():
            addresses = {**contact.addresses, event.key: event.kind}
            countries = dict(contact.countries)
            if event.country is not None:
                countries[event.key] = event.country
            return replace(contact, addresses=addresses, countries=countries)
        case AddressRemoved():
            rest = {key: kind for key, kind in contact.addresses.items() if key != event.key}
            told = {key: each for key, each in contact.countries.items() if key != event.key}
            return replace(contact, addresses=rest, countries=told)
        case ContactNamed():
            return replace(contact, name_key=event.key, profile=event.profile)
        case ContactChatStarted():
            return replace(contact, chats={**contact.chats, event.account: event.chat_id})
        case MarketingPreferenceChanged():
            return _with_wish(contact, event)
        case MarketingLimited():
            known = contact.marketing_limited_at.get(event.account, event.at)
            limited_at = {**contact.marketing_limited_at, event.account: max(known, event.at)}
            return replace(contact, marketing_limited_at=limited_at)
        case _:
            return contact


def _with_wish(contact: Contact, event: MarketingPreferenceChanged) -> Contact:
    """What they said last holds, whatever is heard last."""
    present = contact.marketing.get(event.account)
    if present is not None and event.at < present.at:
        return contact
    wish = MarketingWish(event.wants_marketing, event.at)
    return replace(contact, marketing={**contact.marketing, event.account: wish})


def note_refused_marketing(contact: Contact, account: str, *, at: datetime) -> list[Event]:
    """The platform refused a message because they want no marketing. Once is enough. Spec N5."""
    if not contact.takes_marketing(account):
        return []
    return [MarketingPreferenceChanged(account=account, wants_marketing=False, at=at)]


def note_limited_marketing(contact: Contact, account: str, *, at: datetime) -> list[Event]:
    """The platform refused a message because they were sent enough marketing. Spec N5."""
    limited_at = contact.marketing_limited_at.get(account)
    if limited_at is not None and at <= limited_at:
        return []
    return [MarketingLimited(account=account, at=at)]
