"""An account: the business identity on a platform. Stream `account:{platform}:{account_id}`.

It owns what its channels have in common: credentials, their verification, its health. It knows
its channels, so that an account never gets two shared ones (S1).
"""

from datetime import datetime, timedelta
from typing import Literal

import msgspec
from msgspec.structs import replace

from domain.event import Event, Sealed, stored_as
from domain.subscription import DeliveryCheck

Verification = Literal["pending", "verified", "failed"]

# In what way less than usual can be sent. `restricted`: the platform has told us so, and may take
# some messages all the same. `limited` and `unreachable`: it has deferred what we sent.
Impairment = Literal["restricted", "limited", "unreachable"]

# How long an account is shown as restricted from a message on that was refused for its country.
COUNTRY_SHOWN = timedelta(hours=24)
RESTRICTED_COUNTRY = "restricted_country"


def stream_of(platform: str, account_id: str) -> str:
    """The stream that holds one account's events."""
    return f"account:{platform}:{account_id}"


@stored_as("account.claimed")
class AccountClaimed(Event, frozen=True, kw_only=True):
    """The account belongs to this org until it is released (S15)."""

    platform: str
    account_id: str
    business_account_id: str | None = None
    user_id: str | None = None


@stored_as("account.channel_opened")
class ChannelOpened(Event, frozen=True, kw_only=True):
    """A channel uses this account: the one shared channel, or a service's separate one."""

    channel_id: str
    shared: bool
    service: str | None = None


@stored_as("account.credentials_changed")
class CredentialsChanged(Event, frozen=True, kw_only=True):
    """Which secrets were replaced; the secrets themselves are never in the log (P4)."""

    fields: tuple[str, ...]
    user_id: str | None = None


@stored_as("account.verified")
class AccountVerified(Event, frozen=True, kw_only=True):
    """The platform accepts the credentials."""


@stored_as("account.verification_failed")
class VerificationFailed(Event, frozen=True, kw_only=True):
    """It does not; the reason names what is missing (S15)."""

    reason: str


@stored_as("account.stopped")
class AccountStopped(Event, frozen=True, kw_only=True):
    """The platform takes nothing from this account until somebody acts."""

    reason: str
    error_code: int | None = None


@stored_as("account.impaired")
class AccountImpaired(Event, frozen=True, kw_only=True):
    """The platform takes less than usual, or nothing for now; what waits goes on being tried."""

    state: Impairment
    reason: str
    until: datetime | None = None  # Where the platform says when it ends.


@stored_as("account.resumed")
class AccountResumed(Event, frozen=True, kw_only=True):
    """It takes messages again."""


@stored_as("account.unsubscribed")
class AccountUnsubscribed(Event, frozen=True, kw_only=True):
    """The platform tells us nothing of this account any more, and could not be had to go on."""

    reason: str


@stored_as("account.resubscribed")
class AccountResubscribed(Event, frozen=True, kw_only=True):
    """It had stopped telling us anything, and does again; what happened meanwhile is lost."""


@stored_as("account.released")
class AccountReleased(Event, frozen=True, kw_only=True):
    """Another org may connect it now (S15)."""

    user_id: str | None = None


@stored_as("account.notice_received")
class NoticeReceived(Event, frozen=True, kw_only=True):
    """What a platform says about the account itself, or what we did not understand: kept raw."""

    kind: str
    notice: Sealed


@stored_as("account.receipt_received")
class StrayReceiptReceived(Event, frozen=True, kw_only=True):
    """A receipt for a message to somebody who has no chat here: another program sent it."""

    status: str
    receipt: Sealed


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """The account as its decisions see it."""

    claimed: bool = False
    business_account_id: str | None = None
    shared_channel: str | None = None
    separate_channels: dict[str, str] = {}  # By service, in the order they were opened.
    verification: Verification = "pending"
    stopped: str | None = None
    impaired: AccountImpaired | None = None
    unsubscribed: str | None = None

    @property
    def channels(self) -> list[str]:
        """All channels, the shared one first."""
        shared = [self.shared_channel] if self.shared_channel else []
        return shared + list(self.separate_channels.values())


def evolve(account: Account, event: Event) -> Account:
    """The account after one more fact."""
    match event:
        case AccountClaimed():
            return replace(
                account,
                claimed=True,
                business_account_id=event.business_account_id,
                verification="pending",  # Releasing it made its credentials be forgotten.
                stopped=None,
                impaired=None,
                unsubscribed=None,
            )
        case ChannelOpened(shared=True):
            return replace(account, shared_channel=event.channel_id)
        case ChannelOpened():
            separate = {**account.separate_channels, event.service or "": event.channel_id}
            return replace(account, separate_channels=separate)
        case CredentialsChanged():
            return replace(account, verification="pending", stopped=None, impaired=None)
        case AccountVerified():
            return replace(account, verification="verified")
        case VerificationFailed():
            return replace(account, verification="failed")
        case AccountStopped():
            return replace(account, stopped=event.reason)
        case AccountImpaired():
            return replace(account, impaired=event)
        case AccountResumed():
            return replace(account, stopped=None, impaired=None)
        case AccountUnsubscribed():
            return replace(account, unsubscribed=event.reason)
        case AccountResubscribed():
            return replace(account, unsubscribed=None)
        case AccountReleased():
            return replace(account, claimed=False)
        case _:
            return account


def channel_for(account: Account, *, service: str, shared: bool) -> str | None:
    """The channel that a service's connection to this account belongs to, if there is one. S1."""
    return account.shared_channel if shared else account.separate_channels.get(service)


def claim(
    account: Account,
    *,
    platform: str,
    account_id: str,
    business_account_id: str | None,
    user_id: str,
) -> list[Event]:
    """Take the account for this org, once. Spec S15."""
    if account.claimed:
        return []
    return [
        AccountClaimed(
            platform=platform,
            account_id=account_id,
            business_account_id=business_account_id or account.business_account_id,
            user_id=user_id,
        )
    ]


def stop(account: Account, *, reason: str, error_code: int | None) -> list[Event]:
    """Note, once, that the platform takes nothing more."""
    if account.stopped == reason:
        return []
    return [AccountStopped(reason=reason, error_code=error_code)]


def impair(
    account: Account,
    *,
    state: Impairment,
    reason: str,
    until: datetime | None = None,
    now: datetime,
) -> list[Event]:
    """Note, once, that it takes less than usual.

    What the platform has told us holds until it is over: that messages are deferred meanwhile is
    no news. Nor is it of an account that is stopped.
    """
    before, after = account.impaired, AccountImpaired(state=state, reason=reason, until=until)
    is_announced = (
        before is not None
        and before.state == "restricted"
        and before.reason != RESTRICTED_COUNTRY  # It concerns a few customers, and hides nothing.
        and not _is_over(before, now)
    )
    if account.stopped or before == after or (is_announced and state != "restricted"):
        return []
    return [after]


def note_restricted_country(account: Account, *, at: datetime, now: datetime) -> list[Event]:
    """Show, where nothing else is to be shown, that customers of some country get nothing.

    `at` is when the platform refused a message for it, which may be long ago.
    """
    until, shown = at + COUNTRY_SHOWN, account.impaired
    is_hidden = shown is not None and not _is_over(shown, now)
    if is_hidden or until <= now or not account.claimed:
        return []
    return impair(account, state="restricted", reason=RESTRICTED_COUNTRY, until=until, now=now)


def _is_over(impaired: AccountImpaired, now: datetime) -> bool:
    return impaired.until is not None and impaired.until <= now


def note_accepted(account: Account) -> list[Event]:
    """Note, once, that the platform takes messages again: it has taken one.

    A restriction may hold all the same: it need not concern every message.
    """
    passes = account.impaired is not None and account.impaired.state != "restricted"
    return [AccountResumed()] if account.stopped or passes else []


def note_refused(account: Account) -> list[Event]:
    """Note, once, that the platform answers again: it has refused one message for itself."""
    return note_accepted(account) if not account.stopped else []


def resume(account: Account) -> list[Event]:
    """Note, once, that the platform says all is well again."""
    return [AccountResumed()] if account.stopped or account.impaired else []


def note_subscription(account: Account, found: DeliveryCheck) -> list[Event]:
    """Note, once, that the platform delivers nothing any more, or that it does again."""
    if not account.claimed:
        return []
    if found.refusal is not None:
        is_news = account.unsubscribed != found.refusal
        return [AccountUnsubscribed(reason=found.refusal)] if is_news else []
    return [AccountResubscribed()] if found.had_ended or account.unsubscribed else []
