"""How fast each platform lets us send (N3)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.budgets import BUDGETS, DEFAULT_BUDGETS, Rate, budget_of
from domain.windows import DEFAULT_WINDOW_RULES

PAIR = Rate(1, 6, burst=45)


def sent(rate: Rate, wanted: list[float]) -> list[float]:
    """When messages go that are wanted at these times, in order."""
    times: list[float] = []
    full_at = now = 0.0
    for each in wanted:
        now = max(now, each, rate.free_at(full_at))
        full_at = rate.after_one(full_at, now=now)
        times.append(now)
    return times


def test_a_burst_goes_at_once_and_then_one_in_each_interval() -> None:
    assert sent(PAIR, [0.0] * 48) == [0.0] * 45 + [6.0, 12.0, 18.0]


def test_after_a_rest_there_is_a_burst_again_but_no_larger_one() -> None:
    times = sent(PAIR, [0.0] * 45 + [10_000.0] * 46)
    assert times[45:] == [10_000.0] * 45 + [10_006.0]


@given(
    wanted=st.lists(st.integers(0, 100).map(float), max_size=60).map(sorted),
    rate=st.builds(
        Rate, st.integers(1, 5), st.sampled_from([1.0, 2.0, 8.0]), burst=st.integers(1, 6)
    ),
)
def test_no_stretch_of_time_holds_more_than_the_burst_and_what_has_flown_in(
    wanted: list[float], rate: Rate
) -> None:
    times = sent(rate, wanted)
    for first, begin in enumerate(times):
        for last, end in enumerate(times[first:], first):
            assert last - first + 1 <= rate.burst + (end - begin) / rate.interval + 1e-9


@pytest.mark.parametrize("platform", DEFAULT_WINDOW_RULES)
def test_every_platform_has_a_budget(platform: str) -> None:
    assert budget_of(platform) is BUDGETS[DEFAULT_BUDGETS[platform]]


def test_twenty_messages_to_a_telegram_group_in_any_minute() -> None:
    rate = budget_of("telegram").group
    assert rate is not None
    times = sent(rate, [0.0] * 100)
    assert max(sum(begin <= each < begin + 60 for each in times) for begin in times) in (19, 20)
