"""An account: whose it is, which channels it has, whether it works (S1, S2, S15)."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from domain.account import (
    Account,
    AccountClaimed,
    AccountImpaired,
    AccountReleased,
    AccountResumed,
    AccountStopped,
    AccountVerified,
    ChannelOpened,
    CredentialsChanged,
    NoticeReceived,
    StrayReceiptReceived,
    VerificationFailed,
    channel_for,
    claim,
    impair,
    note_accepted,
    note_restricted_country,
    resume,
    stop,
    stream_of,
)
from domain.event import Event, Sealed
from tests.scenario import fold, given

CLAIMED = AccountClaimed(platform="whatsapp", account_id="1055", business_account_id="waba")
CLAIM = {
    "platform": "whatsapp",
    "account_id": "1055",
    "business_account_id": "waba",
    "user_id": "admin",
}
SEALED = Sealed("delivery:one", bytes(16), b"raw")


def test_the_stream_is_named_after_platform_and_account() -> None:
    assert stream_of("whatsapp", "1055") == "account:whatsapp:1055"


def test_s15_an_account_is_claimed_once() -> None:
    given().when(claim, **CLAIM).then(
        AccountClaimed(
            platform="whatsapp", account_id="1055", business_account_id="waba", user_id="admin"
        )
    ).when(claim, **CLAIM).then_nothing()


def test_s15_a_released_account_is_claimed_again_and_is_still_of_its_business_account() -> None:
    given(CLAIMED, AccountReleased()).when(claim, **{**CLAIM, "business_account_id": None}).then(
        AccountClaimed(
            platform="whatsapp", account_id="1055", business_account_id="waba", user_id="admin"
        )
    )


def test_s15_a_claim_starts_afresh_because_the_release_forgot_the_credentials() -> None:
    before = (CLAIMED, AccountVerified(), AccountStopped(reason="token"), AccountReleased())
    assert fold(Account, *before, CLAIMED) == fold(Account, CLAIMED)


# S1, S2: channels.

SHARED = ChannelOpened(channel_id="shared", shared=True, service="crm")
OF_DESK = ChannelOpened(channel_id="of-desk", shared=False, service="desk")
OF_BIGIN = ChannelOpened(channel_id="of-bigin", shared=False, service="bigin")


@pytest.mark.parametrize(
    ("service", "shared", "channel"),
    [
        ("crm", True, "shared"),
        ("salesiq", True, "shared"),
        ("desk", True, "shared"),
        ("desk", False, "of-desk"),
        ("crm", False, None),
    ],
)
def test_s1_who_shares_meets_the_one_shared_channel_and_who_does_not_their_own(
    service: str, shared: bool, channel: str | None
) -> None:
    account = fold(Account, CLAIMED, OF_DESK, SHARED, OF_BIGIN)
    assert channel_for(account, service=service, shared=shared) == channel


def test_s1_an_account_without_channels_has_none_for_anybody() -> None:
    assert channel_for(fold(Account, CLAIMED), service="crm", shared=True) is None


def test_s2_channels_come_the_shared_one_first_then_in_the_order_they_were_opened() -> None:
    assert fold(Account, CLAIMED, OF_DESK, SHARED, OF_BIGIN).channels == [
        "shared",
        "of-desk",
        "of-bigin",
    ]
    assert fold(Account, CLAIMED, OF_BIGIN, OF_DESK).channels == ["of-bigin", "of-desk"]


# S15: the check of the credentials.


@pytest.mark.parametrize(
    ("events", "verification"),
    [
        ((), "pending"),
        ((AccountVerified(),), "verified"),
        ((VerificationFailed(reason="token"),), "failed"),
        ((VerificationFailed(reason="token"), AccountVerified()), "verified"),
        ((AccountVerified(), CredentialsChanged(fields=("access_token",))), "pending"),
    ],
)
def test_s15_new_credentials_are_to_be_checked_again(
    events: tuple[Event, ...], verification: str
) -> None:
    assert fold(Account, CLAIMED, *events).verification == verification


# An account that the platform takes nothing from.

STOPPED = AccountStopped(reason="token", error_code=190)


def test_an_account_stops_once_for_the_same_reason_and_resumes_once() -> None:
    given(CLAIMED).when(stop, reason="token", error_code=190).then(STOPPED).when(
        stop, reason="token", error_code=190
    ).then_nothing().when(stop, reason="blocked", error_code=368).then(
        AccountStopped(reason="blocked", error_code=368)
    ).when(resume).then(AccountResumed()).when(resume).then_nothing()


LIMITED: Any = {"state": "limited", "reason": "rate_limited"}
AWAY: Any = {"state": "unreachable", "reason": "not_reached"}
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
RESTRICTED = AccountImpaired(state="restricted", reason="policy", until=NOON + timedelta(days=7))


def test_an_account_is_impaired_once_and_works_again_with_the_next_accepted_message() -> None:
    given(CLAIMED).when(impair, **LIMITED, now=NOON).then(AccountImpaired(**LIMITED)).when(
        impair, **LIMITED, now=NOON
    ).then_nothing().when(impair, **AWAY, now=NOON).then(AccountImpaired(**AWAY)).when(
        note_accepted
    ).then(AccountResumed()).when(note_accepted).then_nothing()


def test_what_the_platform_has_told_of_outlasts_accepted_messages_until_its_end() -> None:
    given(CLAIMED, RESTRICTED).when(note_accepted).then_nothing().when(
        impair, **AWAY, now=NOON
    ).then_nothing().when(impair, **AWAY, now=NOON + timedelta(days=7)).then(
        AccountImpaired(**AWAY)
    )
    given(CLAIMED, RESTRICTED).when(resume).then(AccountResumed()).when(resume).then_nothing()


def test_that_messages_of_a_stopped_account_are_deferred_is_no_news() -> None:
    given(CLAIMED, STOPPED).when(impair, **AWAY, now=NOON).then_nothing().when(note_accepted).then(
        AccountResumed()
    )


def test_new_credentials_let_a_stopped_account_try_again() -> None:
    account = fold(Account, CLAIMED, STOPPED, CredentialsChanged(fields=("access_token",)))
    assert account.stopped is None


@pytest.mark.parametrize(
    "event",
    [
        NoticeReceived(kind="account.quality", notice=SEALED),
        StrayReceiptReceived(status="delivered", receipt=SEALED),
    ],
)
def test_what_decisions_do_not_look_at_changes_nothing(event: Event) -> None:
    assert fold(Account, CLAIMED, event) == fold(Account, CLAIMED)


def test_what_is_refused_for_its_country_shows_for_a_day_and_hides_no_other_restriction() -> None:
    shown = AccountImpaired(
        state="restricted", reason="restricted_country", until=NOON + timedelta(days=1)
    )
    told = AccountImpaired(state="restricted", reason="restricted_biz_initiated_messaging")
    next_day = replace(shown, until=NOON + timedelta(days=2))
    at_noon = {"at": NOON, "now": NOON}
    given(CLAIMED).when(note_restricted_country, **at_noon).then(shown)
    later = NOON + timedelta(hours=23)
    given(CLAIMED, shown).when(note_restricted_country, at=later, now=later).then_nothing()
    later = NOON + timedelta(days=1)
    given(CLAIMED, shown).when(note_restricted_country, at=later, now=later).then(next_day)
    given(CLAIMED).when(note_restricted_country, at=NOON, now=later).then_nothing()
    given(CLAIMED, told).when(note_restricted_country, **at_noon).then_nothing()
    given(CLAIMED, AccountReleased()).when(note_restricted_country, **at_noon).then_nothing()
    given(CLAIMED, shown).when(note_accepted).then_nothing()  # From others it takes messages.


def test_that_nothing_is_taken_shows_whatever_was_refused_for_its_country() -> None:
    country = AccountImpaired(
        state="restricted", reason="restricted_country", until=NOON + timedelta(days=1)
    )
    away = AccountImpaired(state="unreachable", reason="unavailable")
    trouble = {"state": "unreachable", "reason": "unavailable", "now": NOON}
    given(CLAIMED, country).when(impair, **trouble).then(away)
    given(CLAIMED, away).when(note_restricted_country, at=NOON, now=NOON).then_nothing()
