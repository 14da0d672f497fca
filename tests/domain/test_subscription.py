"""Whether a platform delivers: noted when it changes, looked at once an hour."""

from datetime import UTC, datetime, timedelta

import pytest

from domain.account import (
    AccountClaimed,
    AccountResubscribed,
    AccountUnsubscribed,
    note_subscription,
)
from domain.subscription import INTERVAL, DeliveryCheck, next_check
from tests.scenario import given

CLAIMED = AccountClaimed(platform="messenger", account_id="101")
REFUSED = DeliveryCheck(had_ended=True, refusal="permission")
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def test_only_changes_are_written_down() -> None:
    well = given(CLAIMED)
    well.when(note_subscription, found=DeliveryCheck()).then_nothing()
    deaf = well.when(note_subscription, found=REFUSED).then(
        AccountUnsubscribed(reason="permission")
    )
    deaf.when(note_subscription, found=REFUSED).then_nothing()
    deaf.when(note_subscription, found=DeliveryCheck()).then(AccountResubscribed())


def test_what_went_on_at_once_is_written_down_as_well() -> None:
    found = DeliveryCheck(had_ended=True)
    for before in ([CLAIMED], [CLAIMED, AccountUnsubscribed(reason="permission")]):
        given(*before).when(note_subscription, found=found).then(AccountResubscribed())


def test_another_reason_is_news() -> None:
    deaf = given(CLAIMED, AccountUnsubscribed(reason="credentials"))
    deaf.when(note_subscription, found=REFUSED).then(AccountUnsubscribed(reason="permission"))


def test_of_an_account_that_is_nobodys_any_more_nothing_is_written_down() -> None:
    given().when(note_subscription, found=REFUSED).then_nothing()


@pytest.mark.parametrize("account_id", ["101", "102", "109663280017745"])
def test_an_account_has_a_second_of_the_hour_of_its_own(account_id: str) -> None:
    first = next_check(account_id, after=NOON)
    assert NOON < first <= NOON + INTERVAL
    # Wherever in the hour it is asked for; and when its time has come, an hour later.
    assert next_check(account_id, after=first - timedelta(seconds=1)) == first
    assert next_check(account_id, after=first) == first + INTERVAL


def test_not_all_accounts_are_looked_at_at_once() -> None:
    minutes = {next_check(str(number), after=NOON).minute for number in range(1_000)}
    assert len(minutes) == 60
