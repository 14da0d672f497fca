"""What each platform takes is checked as the platform counts."""

from typing import Any

import pytest

from domain.limits import LIMITS, require_caption, require_file, require_kind, require_text
from domain.refusal import FileTooLarge, Invalid, WrongFile
from domain.windows import DEFAULT_WINDOW_RULES


@pytest.mark.parametrize(
    ("platform", "longest"),
    [
        ("whatsapp", "猫" * 4096),
        ("messenger", "猫" * 2000),
        ("messenger", "🐈" * 1000),
        ("line", "猫" * 5000),
        ("line", "🐈" * 2500),  # Two UTF-16 units each.
        ("telegram", "猫" * 4096),
        ("wechat", "猫" * 682 + "ab"),  # Three bytes each.
    ],
)
def test_the_longest_text_passes_and_one_more_character_does_not(
    platform: str, longest: str
) -> None:
    require_text(platform, longest)
    with pytest.raises(Invalid) as refused:
        require_text(platform, longest + "a")
    assert platform in str(refused.value.facts)


def test_half_a_character_is_measured_and_breaks_nothing() -> None:
    require_text("line", "\ud800")
    require_text("wechat", "\ud800")


def test_every_platform_has_its_limits() -> None:
    assert set(LIMITS) == set(DEFAULT_WINDOW_RULES)


# Files (C9).


@pytest.mark.parametrize("platform", LIMITS)
def test_a_file_is_taken_up_to_its_limit_and_no_further(platform: str) -> None:
    for kind, limit in LIMITS[platform].files.items():
        mime_type = limit.types[0] if limit.types else "application/pdf"
        require_file(platform, kind, mime_type=mime_type, byte_count=limit.bytes_max)
        with pytest.raises(FileTooLarge) as refused:
            require_file(platform, kind, mime_type=mime_type, byte_count=limit.bytes_max + 1)
        assert refused.value.facts["bytes_max"] == limit.bytes_max
        if limit.types:
            with pytest.raises(WrongFile):
                require_file(platform, kind, mime_type="text/html", byte_count=1)


def test_a_sticker_that_does_not_move_has_less_room_on_whatsapp() -> None:
    sticker: Any = {"kind": "sticker", "mime_type": "image/webp"}
    require_file("whatsapp", **sticker, byte_count=100 << 10, is_still=True)
    require_file("whatsapp", **sticker, byte_count=500 << 10)
    require_file("telegram", **sticker, byte_count=512 << 10, is_still=True)
    with pytest.raises(FileTooLarge) as refused:
        require_file("whatsapp", **sticker, byte_count=(100 << 10) + 1, is_still=True)
    assert refused.value.facts["bytes_max"] == 100 << 10


def test_what_a_platform_does_not_know_is_refused_by_its_name() -> None:
    with pytest.raises(Invalid, match="sticker on line"):
        require_file("line", "sticker", mime_type="image/webp", byte_count=1)
    with pytest.raises(Invalid, match="location cannot be sent on wechat"):
        require_kind("wechat", "location")
    require_kind("whatsapp", "location")


@pytest.mark.parametrize(
    ("platform", "kind", "length", "is_taken"),
    [
        ("whatsapp", "image", 1024, True),
        ("whatsapp", "image", 1025, False),
        ("whatsapp", "audio", 1, False),
        ("whatsapp", "sticker", 1, False),
        ("telegram", "audio", 1024, True),
        ("line", "image", 1, False),
        ("messenger", "image", 1, False),
    ],
)
def test_a_caption_goes_where_there_are_captions(
    platform: str, kind: str, length: int, is_taken: bool
) -> None:
    if is_taken:
        require_caption(platform, kind, "x" * length)
        return
    with pytest.raises(Invalid):
        require_caption(platform, kind, "x" * length)
