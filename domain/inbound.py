"""What a platform tells us, in Trunkline's words: the one vocabulary every adapter speaks.

An adapter turns a verified webhook into a list of occurrences. It never refuses one for its
shape: what it does not understand becomes `NotUnderstood`, with its raw JSON.
"""

from datetime import datetime
from typing import Any, Literal

import msgspec

from domain.template import TemplateWord

# Of addresses that are no name of somebody's, but a way to them.
CONNECTION_KIND = "connection"


class Address(msgspec.Struct, frozen=True):
    """How a platform names a person or a group of people.

    Kinds: `phone`, `bsuid:<business account>`, `group:<account>`, and for ids that hold on one
    account only `line:`, `telegram:`, `messenger:` and `wechat:<account>`. `connection:<account>`
    is no name of theirs, but a way to them.
    """

    kind: str
    value: str


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """A customer as a webhook shows them. The first address is the one to prefer."""

    addresses: tuple[Address, ...]
    name: str | None = None


class Content(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a message says. Stored sealed, as a whole; only `text` and `media` need no platform."""

    text: str | None = None  # Body, caption, title of the pressed button, emoji.
    media: dict[str, Any] | None = None
    payload: str | None = None  # What a pressed button stands for.
    location: dict[str, Any] | None = None
    contacts: list[Any] | None = None
    link: dict[str, Any] | None = None  # What was shared: its `url`, and what is said of it.
    order: dict[str, Any] | None = None
    form: dict[str, Any] | None = None
    template: dict[str, Any] | None = None
    forwarded: bool = False
    standby: bool = False  # The customer was talking to another program of the business.
    error: dict[str, Any] | None = None  # The platform's own note on why it shows nothing.
    platform_id: str | None = None  # The platform's id of this message,
    quote_token: str | None = None  # what it is quoted by, where that is not its id,
    read_token: str | None = None  # and marked as read by.
    quotes: str | None = None  # Of ours: what the platform knows the message by that it answers.
    raw_type: str | None = None  # The platform's name for a kind we do not know.
    raw: Any = None  # As received, so that nothing is lost.


def files_of(content: Content) -> list[dict[str, Any]]:
    """What names each file of a message that its platform keeps for us, the first one first."""
    media = content.media or {}
    return [
        each for each in (media, *media.get("others", ())) if {"platform_id", "url"} & set(each)
    ]


class Occurrence(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened. `kind` is the name in the neutral vocabulary (`message.text`).

    `account_id` is None for what concerns a whole business account. `dedupe` holds the parts
    that make the occurrence one: the platform's id and what happened to it.
    """

    kind: str
    account_id: str | None
    business_account_id: str | None
    at: datetime | None
    dedupe: tuple[str, ...]


class MessageOccurred(Occurrence, frozen=True, kw_only=True, tag="message"):
    """A customer's message (`message.*`), or with `echo` one that the business wrote elsewhere."""

    platform_id: str
    person: Person  # The customer; for an echo its recipient.
    content: Content
    group: Address | None = None
    group_name: str | None = None
    quotes: str | None = None  # The platform's id of the message it answers.
    echo: bool = False
    sent_by_us: str | None = None  # Our own mark, where the platform gives it back.
    referred: bool = False  # By an ad or a Page's button that opens a free entry point.


class MessageChanged(Occurrence, frozen=True, kw_only=True, tag="message_change"):
    """A reaction, an edit or an unsending of a message that may not have arrived yet (C17)."""

    target: str  # The platform's id of the message it is about.
    person: Person
    content: Content | None  # None: reaction taken back, message unsent.
    group: Address | None = None
    echo: bool = False


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """What a platform's word means for an account: whether messages can be sent, and why not."""

    state: Literal["ok", "restricted", "stopped"]
    reason: str = ""
    until: datetime | None = None  # Where it says when a restriction ends.


class ReceiptOccurred(Occurrence, frozen=True, kw_only=True, tag="receipt"):
    """What became of a message we sent (`status.*`)."""

    platform_id: str
    status: str  # sent, delivered, read, played, failed; others are kept as they are.
    person: Person
    group: Address | None = None
    sent_by_us: str | None = None
    error_code: int | None = None
    reason: str | None = None  # Our word for the error, as for a refusal (domain/outbound.py).
    detail: Any = None  # Pricing, conversation, errors: as received.
    condition: Condition | None = None  # Where the error is the account's and not the message's.


class AddressesChanged(Occurrence, frozen=True, kw_only=True, tag="addresses"):
    """The number or id of a person or group became another one (`contact.*`)."""

    person: Person  # Under the old addresses; may be empty.
    added: tuple[Address, ...]
    group: bool = False
    raw: Any = None


class PreferenceChanged(Occurrence, frozen=True, kw_only=True, tag="preference"):
    """A person wants no marketing any more, or wants it again (`contact.preference`, N5)."""

    person: Person
    wants_marketing: bool
    raw: Any = None


class WatermarkOccurred(Occurrence, frozen=True, kw_only=True, tag="watermark"):
    """All that was sent to a person up to a moment was delivered or read (`status.*`).

    `at` is that moment. `platform_ids` are those messages that the platform names.
    """

    status: str  # delivered, read
    person: Person
    platform_ids: tuple[str, ...] = ()
    detail: Any = None  # As received.


class FollowOccurred(Occurrence, frozen=True, kw_only=True, tag="follow"):
    """A person lets the account write to them, or does no longer; a group let it in or out."""

    person: Person
    follows: bool
    group: Address | None = None
    raw: Any = None


class ActivityOccurred(Occurrence, frozen=True, kw_only=True, tag="activity"):
    """Something known that concerns a person and is no message (`event.*`, `contact.*`, …)."""

    person: Person
    raw: Any
    group: Address | None = None


class AccountNoticed(Occurrence, frozen=True, kw_only=True, tag="account"):
    """News about an account or business account (`account.*`), or one with no sender."""

    raw: Any
    condition: Condition | None = None  # None: it says nothing of that.
    template: TemplateWord | None = None  # Where it is about one.


class NotUnderstood(Occurrence, frozen=True, kw_only=True, tag="unknown"):
    """Authentic and unknown: kept raw and acknowledged (P2)."""

    raw: Any
    person: Person | None = None


# What an adapter hands over; the tags are stored with deliveries that wait for their account.
AnyOccurrence = (
    MessageOccurred
    | MessageChanged
    | ReceiptOccurred
    | AddressesChanged
    | PreferenceChanged
    | WatermarkOccurred
    | FollowOccurred
    | ActivityOccurred
    | AccountNoticed
    | NotUnderstood
)


def is_about_somebody(
    occurrence: MessageOccurred
    | MessageChanged
    | FollowOccurred
    | ActivityOccurred
    | WatermarkOccurred,
) -> bool:
    """Whether it names anybody: a person, or for an echo to a group at least the group."""
    group = None if isinstance(occurrence, WatermarkOccurred) else occurrence.group
    return bool(occurrence.person.addresses) or group is not None
