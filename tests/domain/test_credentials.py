"""Credentials: their form, what is made, and how long replaced ones are good (P4)."""

import base64

import msgspec
import pytest

from domain.credentials import (
    FORMS,
    REPLACED_MAX,
    StoredCredentials,
    made,
    merge,
    read,
    require_form,
    require_whole,
    wechat_mode,
)
from domain.refusal import Invalid
from domain.windows import DEFAULT_WINDOW_RULES
from tests.domain.world import A_BIT, DAY, HOUR, NOON

FIRST = StoredCredentials(current={"channel_secret": "first", "access_token": "token"})


def test_every_platform_has_forms_and_a_window() -> None:
    assert set(FORMS) == set(DEFAULT_WINDOW_RULES)


def test_replaced_ones_are_good_for_exactly_a_day() -> None:
    second = merge(FIRST, {"channel_secret": "second"}, now=NOON)
    newest = {"channel_secret": "second", "access_token": "token"}
    assert second.live(now=NOON + DAY - A_BIT) == [newest, FIRST.current]
    assert second.live(now=NOON + DAY) == [newest]


def test_each_of_several_is_good_for_its_own_day() -> None:
    second = merge(FIRST, {"channel_secret": "second"}, now=NOON)
    third = merge(second, {"channel_secret": "third"}, now=NOON + HOUR)
    secrets = [each["channel_secret"] for each in third.live(now=NOON + DAY)]
    assert secrets == ["third", "second"]
    later = merge(third, {"channel_secret": "fourth"}, now=NOON + DAY)
    assert [each.credentials["channel_secret"] for each in later.replaced] == ["third", "second"]


def test_the_same_again_replaces_nothing() -> None:
    assert merge(FIRST, {"channel_secret": "first"}, now=NOON) is FIRST


def test_they_do_not_grow_without_end() -> None:
    stored = FIRST
    for number in range(3 * REPLACED_MAX):
        stored = merge(stored, {"channel_secret": str(number)}, now=NOON)
    assert len(stored.replaced) == REPLACED_MAX


def test_they_are_read_as_they_are_and_as_they_were_first_stored() -> None:
    stored = merge(FIRST, {"channel_secret": "second"}, now=NOON)
    assert read(msgspec.json.encode(stored)) == stored
    assert read(b'{"access_token":"EAAG"}') == StoredCredentials(current={"access_token": "EAAG"})


@pytest.mark.parametrize(
    ("credentials", "mode"),
    [
        ({}, "plain"),
        ({"encoding_aes_key": "x" * 43}, "secure"),
        ({"encoding_aes_key": "x" * 43, "mode": "plain"}, "plain"),
        ({"mode": "compatible"}, "compatible"),
    ],
)
def test_wechats_mode_is_secure_with_a_key_unless_said_otherwise(
    credentials: dict[str, str], mode: str
) -> None:
    assert wechat_mode(credentials) == mode


def test_what_is_made_has_the_form_that_the_platform_wants() -> None:
    def seed(name: str) -> bytes:
        return bytes(range(224, 256)) if name != "token" else bytes(32)

    telegram = made("telegram", {"bot_token": "1:x"}, seed)
    wechat = made("wechat", {"app_id": "wx1", "mode": "secure"}, seed)
    require_form("telegram", telegram)
    require_form("wechat", wechat)
    require_whole("wechat", {**wechat, "app_id": "wx1", "mode": "secure"})
    assert len(base64.b64decode(wechat["encoding_aes_key"] + "=")) == 32
    assert (wechat["token"].isalnum(), wechat["encoding_aes_key"].isalnum()) == (True, True)
    assert made("line", {}, seed) == made("whatsapp", {}, seed) == {}
    assert made("wechat", {"token": "t"}, seed) == {}


def test_seeds_that_differ_make_secrets_that_differ() -> None:
    def key(number: int) -> str:
        secrets = made("wechat", {"mode": "secure"}, lambda _: bytes([number] * 32))
        return secrets["encoding_aes_key"]

    keys = {key(number) for number in range(256)}
    assert len(keys) == 256


@pytest.mark.parametrize("missing", ["app_id", "encoding_aes_key"])
def test_an_encrypted_mode_needs_what_it_decrypts_with(missing: str) -> None:
    whole = {"mode": "compatible", "app_id": "wx1", "encoding_aes_key": "x" * 43}
    del whole[missing]
    with pytest.raises(Invalid, match=missing):
        require_whole("wechat", whole)
