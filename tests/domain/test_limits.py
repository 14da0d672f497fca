"""What each platform takes is checked as the platform counts."""

import pytest

from domain.limits import LIMITS, require_text
from domain.refusal import Invalid
from domain.windows import DEFAULT_WINDOW_RULES


@pytest.mark.parametrize(
    ("platform", "longest"),
    [
        ("whatsapp", "猫" * 4096),
        ("messenger", "猫" * 2000),
        ("line", "猫" * 5000),
        ("line", "🐈" * 2500),  # Two UTF-16 units each.
        ("telegram", "猫" * 4096),
        ("wechat", "猫" * 682 + "ab"),  # Three bytes each.
    ],
)
def test_the_longest_text_passes_and_one_more_character_does_not(platform: str, longest: str):
    require_text(platform, longest)
    with pytest.raises(Invalid) as refused:
        require_text(platform, longest + "a")
    assert platform in str(refused.value.facts)


def test_half_a_character_is_measured_and_breaks_nothing():
    require_text("line", "\ud800")
    require_text("wechat", "\ud800")


def test_every_platform_has_its_limits():
    assert set(LIMITS) == set(DEFAULT_WINDOW_RULES)
