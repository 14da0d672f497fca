"""What we ask a platform to send, and the ways in which it can answer."""

from collections.abc import AsyncIterator, Callable

import msgspec

from domain.inbound import Address, Content


class OutboundFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that goes with a message; each call of `read` reads it from its beginning."""

    mime_type: str
    byte_count: int
    name: str | None
    read: Callable[[], AsyncIterator[bytes]]
    url: str | None = None  # Where the platform may fetch it for itself, for a while.


class OutboundMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message, ready to be sent. `mark` is our own id, given back by platforms that can."""

    mark: str
    account_id: str
    recipient: tuple[Address, ...]  # The first that the platform takes is used.
    kind: str  # text, template, location, image, …
    content: Content
    file: OutboundFile | None = None
    quotes: str | None = None  # What the platform knows the message by that it answers.
    tag: str | None = None  # By which the platform takes it after its window.


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """The platform has it; what becomes of it comes as receipts."""

    platform_id: str
    recipient: tuple[Address, ...] = ()  # As the platform names the recipient.
    quote_token: str | None = None  # What it is quoted by, where that is not its id.


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """The platform refused this message for good."""

    reason: str  # undeliverable, window_closed, opted_out, template, template_paused, invalid, …
    code: int | None
    detail: str
    once_more: bool = False  # It may pass if it is tried again, once.


# Reasons of `Deferred`: the platform works, and we are too fast for it. All others say that it does
# not work, or cannot be reached.
LIMIT_REASONS = frozenset({"rate_limited", "spam_limited", "pair_limited"})
# These concern one chat: its customer, or what is to be sent, which cannot be had. All others hold
# for whatever the account sends.
OF_ONE_CHAT = frozenset({"pair_limited", "store_away", "database_away"})


class Deferred(msgspec.Struct, frozen=True, kw_only=True):
    """Not now: the platform limits us or is down, and has certainly not taken the message (N3)."""

    reason: str
    retry_after_seconds: float | None = None


class AccountUnusable(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing can be sent from this account until somebody acts: a dead token, a block."""

    reason: str
    code: int | None


class Unsettled(msgspec.Struct, frozen=True, kw_only=True):
    """The answer was lost: the platform may or may not have taken the message (N3)."""

    reason: str


SendAnswer = Accepted | Rejected | Deferred | AccountUnusable | Unsettled


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """The platform accepts the credentials for this account."""


class NotVerified(msgspec.Struct, frozen=True, kw_only=True):
    """The platform does not accept them; `reason` names the missing prerequisite."""

    reason: str


class NotReached(msgspec.Struct, frozen=True, kw_only=True):
    """The platform did not answer; ask again later."""

    reason: str


VerificationAnswer = Verified | NotVerified | NotReached
