"""No body makes a decoder raise, lose something, change its mind or take long (P1–P3)."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.inbound import AnyOccurrence
from tests.fuzz import laws
from tests.fuzz.campaign import CORPUS
from tests.fuzz.laws import PLATFORMS, check
from tests.oracles.conftest import oracle

SECONDS = 60
SECONDS_MAX = 20

# As much as each takes. What grows with the square of the size shows in a part as well.
LONG = os.environ.get("TRUNKLINE_TEST_PROFILE") == "long"
SHARE = 1 if LONG else 16
BYTES_MAX = {
    "line": 1024 * 1024,
    "messenger": 4 * 1024 * 1024,
    "telegram": 1024 * 1024,
    "wechat": 64 * 1024,
    "whatsapp": 4 * 1024 * 1024,
}

# Beginning, what is repeated as often as it fits, end.
BOMBS = {
    "arrays": (b"", b"[", b""),
    "closed arrays": (b"", b"[]", b""),
    "objects": (b"", b'{"a":', b""),
    "an item of arrays": (b'{"entry":[', b"[", b""),
    "digits": (b"", b"9", b""),
    "digits of a fraction": (b"0.", b"9", b""),
    "an exponent": (b"1e", b"9", b""),
    "a string that never ends": (b'"', b"\\\\", b""),
    "quotes": (b"", b'"', b""),
    "doubled keys": (b"{", b'"a":1,', b'"a":1}'),
    "halves of surrogates": (b'"', b"\\ud800", b'"'),
    "bytes that are no text": (b'{"x":"', b"\xff", b'"}'),
    "empty items": (b'{"object":"page","events":[', b"{},", b'{}],"entry":[]}'),
    "empty entries": (b'{"object":"page","events":[],"entry":[', b"{},", b"{}]}"),
    "zeros": (b"", b"\0", b""),
    "blanks": (b"", b" ", b"{}"),
    "elements": (b"<xml>", b"<a>", b""),
    "closed elements": (b"<xml>", b"<a/>", b"</xml>"),
    "character references": (b"<xml><a>", b"&#65;", b"</a></xml>"),
    "attributes": (b"<xml ", b"a='' ", b"/>"),
    "entities": (b'<!DOCTYPE x [<!ENTITY a "b">]><xml>', b"&a;", b"</xml>"),
}


def bodies() -> Iterator[Path]:
    for platform in PLATFORMS:
        yield from sorted((CORPUS / platform).iterdir())


@pytest.mark.parametrize("path", list(bodies()), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_was_found_once_still_holds(path: Path) -> None:
    check(path.parent.name, path.read_bytes())


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_platform_has_a_corpus(platform: str) -> None:
    assert len(list((CORPUS / platform).iterdir())) >= 20


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_largest_body_takes_seconds_at_most(
    platform: str, bomb: tuple[bytes, bytes, bytes]
) -> None:
    beginning, repeated, end = bomb
    room = BYTES_MAX[platform] // SHARE - len(beginning) - len(end)
    body = beginning + repeated * (room // len(repeated)) + end
    for reader in laws.READERS[platform]:
        began = time.process_time()
        reader(body)
        seconds = time.process_time() - began
        assert seconds < SECONDS_MAX


# The laws themselves: a decoder that breaks one is noticed.

TWO_EVENTS = b'{"destination":"U1","events":[{"type":"a"},{"type":"b"}]}'


def broken(how: str) -> object:
    (good,) = laws.READERS["line"]
    calls: list[bytes] = []

    def reader(body: bytes) -> list[AnyOccurrence] | None:
        calls.append(body)
        found = good(body) or []
        match how:
            case "raises":
                raise KeyError(how)
            case "loses":
                return found[1:]
            case "doubles":
                return [*found, *found]
            case "disorders":
                return found[::-1]
            case "changes its mind":
                return found if len(calls) == 1 else found[1:]
            case _:
                return found

    return reader


@pytest.mark.parametrize("how", ["raises", "loses", "doubles", "disorders", "changes its mind"])
def test_a_decoder_that_breaks_a_law_is_noticed(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check("line", TWO_EVENTS)
    monkeypatch.setitem(laws.READERS, "line", [broken(how)])
    with pytest.raises((AssertionError, KeyError)):
        check("line", TWO_EVENTS)


@pytest.mark.long
@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_campaign_finds_nothing(platform: str) -> None:
    oracle("atheris")
    command = [sys.executable, "-m", "tests.fuzz.campaign", platform, str(SECONDS)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-3_000:]
    assert "DONE" in ended.stderr
