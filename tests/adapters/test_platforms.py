"""What holds for every platform's webhook: who may call it, and that nothing is lost (P1–P3)."""

import copy
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.credentials import Credentials
from domain.inbound import AnyOccurrence
from tests.adapters.recorded import (
    CREDENTIALS,
    PAYLOADS,
    PLATFORMS,
    Recorded,
    facts,
    read,
    recorded,
    said,
    signed,
    with_headers,
    with_parameter,
)

EXAMPLES = 2_000 if os.environ.get("TRUNKLINE_TEST_PROFILE") == "long" else 150
RECORDED = recorded()
ACCEPTED = [each for each in RECORDED if each.expect is not None]
every_recorded = pytest.mark.parametrize("each", RECORDED, ids=str)
every_accepted = pytest.mark.parametrize("each", ACCEPTED, ids=str)
every_platform = pytest.mark.parametrize("platform", PLATFORMS)


# --- Every payload, as its manifest describes it ---


@every_platform
def test_the_manifest_names_every_payload(platform: str) -> None:
    present = {path.name for path in Path(PAYLOADS / platform).iterdir()} - {"manifest.json"}
    assert present == {each.name for each in recorded(platform)}


@every_recorded
def test_a_payload_says_what_its_manifest_says(each: Recorded) -> None:
    assert hashlib.sha256(each.delivery.body).hexdigest() == each.sha256
    found = read(each.platform, each.delivery)
    if each.expect is None:
        assert found is None
        return
    assert found is not None
    rest = list(found)
    for expected in each.expect:
        count = len(expected.get("targets", [None]))
        assert facts(rest[:count], expected) == expected
        del rest[:count]
    assert rest == []


# --- Who may call ---


@every_accepted
def test_without_the_accounts_credentials_nothing_is_authentic(each: Recorded) -> None:
    (own,) = each.delivery.credentials
    others = {name: f"x{value[1:]}" for name, value in own.items()}
    wrong: tuple[list[Credentials], ...] = ([], [{}], [others], [dict.fromkeys(own, "")])
    for credentials in wrong:
        assert read(each.platform, replace(each.delivery, credentials=credentials)) is None


@every_accepted
def test_several_credentials_are_live_while_they_are_changed(each: Recorded) -> None:
    (own,) = each.delivery.credentials
    others = {name: f"x{value[1:]}" for name, value in own.items()}
    expected = read(each.platform, each.delivery)
    for credentials in ([own, others], [others, own]):
        assert read(each.platform, replace(each.delivery, credentials=credentials)) == expected


HEADED = [each for each in ACCEPTED if each.delivery.headers]


@pytest.mark.parametrize("each", HEADED, ids=str)
def test_other_headers_are_refused(each: Recorded) -> None:
    ((_, good),) = each.delivery.headers
    others: list[list[bytes]] = [
        [],
        [b""],
        [good, good],
        [b"", good],
        [good, b"x"],
        [good[:-1]],
        [good + b"="],
        [good + b" "],
        [b" " + good],
        [good.swapcase()],
        ["é".encode()],
        [b"\xff\xfe\x00"],
        [b"0" * 64 * 1024],
    ]
    for values in others:
        assert read(each.platform, with_headers(each.delivery, *values)) is None


@pytest.mark.parametrize("each", HEADED, ids=str)
def test_every_flipped_bit_of_a_header_is_noticed(each: Recorded) -> None:
    ((_, good),) = each.delivery.headers
    for flipped in _flipped(good):
        assert read(each.platform, with_headers(each.delivery, flipped)) is None


@pytest.mark.parametrize("each", recorded("line", "messenger"), ids=str)
def test_every_flipped_bit_of_a_signed_body_is_noticed(each: Recorded) -> None:
    for flipped in _flipped(each.delivery.body):
        assert read(each.platform, replace(each.delivery, body=flipped)) is None


@pytest.mark.parametrize("each", recorded("telegram", "wechat"), ids=str)
def test_a_flipped_bit_of_a_body_that_is_not_signed_raises_nothing(each: Recorded) -> None:
    """It may say something else, but what it says can be written down."""
    for flipped in _flipped(each.delivery.body):
        storable(read(each.platform, replace(each.delivery, body=flipped)) or [])


def _flipped(value: bytes) -> Iterator[bytes]:
    for index in range(len(value)):
        changed = bytearray(value)
        changed[index] ^= 1 << index % 8
        yield bytes(changed)


WECHAT = [each for each in ACCEPTED if each.platform == "wechat"]


@pytest.mark.parametrize("each", WECHAT, ids=str)
def test_every_flipped_bit_of_a_query_that_is_signed_is_noticed(each: Recorded) -> None:
    for name, value in each.delivery.query:
        if name in ("openid", "encrypt_type"):
            continue
        for flipped in _flipped(value.encode()):
            changed = with_parameter(each.delivery, name, flipped.decode("latin-1"))
            assert read("wechat", changed) is None
        assert read("wechat", with_parameter(each.delivery, name, value, value)) is None


# --- Nothing raises, and nothing is lost ---


def storable(found: list[AnyOccurrence]) -> list[AnyOccurrence]:
    """Assert that all of it can be written down, and what no database text can hold is gone."""
    for each in found:
        assert msgspec.json.decode(msgspec.json.encode(each), type=AnyOccurrence) == each
        assert "\0" not in "".join((each.account_id or "", *each.dedupe))
    return found


CHARACTERS = st.characters(exclude_categories=[])  # Halves of surrogate pairs too.
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(
        [2**63, 10**30, -1, "message", "text", "user", "private", "\0", "12025550143"]
    )
    | st.floats()
    | st.text(CHARACTERS, max_size=8)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(CHARACTERS, max_size=6), inner, max_size=4)
    ),
    max_leaves=8,
)


@every_platform
@settings(max_examples=EXAMPLES)
@given(body=st.binary(max_size=200))
def test_no_bytes_make_it_raise(platform: str, body: bytes) -> None:
    """What is signed is kept, whatever it is; where the body is not signed, it is refused."""
    found = read(platform, signed(platform, body))
    if platform in ("line", "messenger"):
        assert found is not None
        assert len(storable(found)) == 1
    else:
        assert found is None


@every_platform
@settings(max_examples=EXAMPLES)
@given(value=JSON)
def test_no_json_makes_it_raise(platform: str, value: Any) -> None:
    storable(read(platform, signed(platform, value)) or [])


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    pairs = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in pairs:
        yield from _paths(inner, (*path, key))


def _mutated(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy in which the value at a path is another one."""
    if not path:
        return value
    changed = copy.deepcopy(document)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


DOCUMENTS = [
    (each, json.loads(each.delivery.body)) for each in ACCEPTED if each.name.endswith(".json")
]
MUTATIONS = st.sampled_from(DOCUMENTS).flatmap(
    lambda pair: st.tuples(st.just(pair), st.sampled_from(list(_paths(pair[1]))))
)


@settings(max_examples=EXAMPLES * 6)
@given(MUTATIONS, JSON)
def test_no_mutation_of_a_real_payload_makes_it_raise(
    mutation: tuple[tuple[Recorded, Any], tuple[Any, ...]], value: Any
) -> None:
    (each, document), path = mutation
    changed = signed(
        each.platform,
        _mutated(document, path, value),
        account_id=each.delivery.account_id,
    )
    storable(read(each.platform, changed) or [])


EVENTS = {"line": ("events",), "messenger": ("entry",)}
BATCHES = [
    (each, name) for each in ACCEPTED for name in EVENTS.get(each.platform, ()) if each.expect
]


@settings(max_examples=EXAMPLES * 4)
@given(st.sampled_from(BATCHES), st.data(), JSON)
def test_what_is_wrong_with_one_event_changes_no_other(
    batch: tuple[Recorded, str], data: st.DataObject, value: Any
) -> None:
    """Spec P3: two copies beside each other; whatever happens to one, the other stays."""
    each, name = batch
    document = json.loads(each.delivery.body)
    untouched = said(each.platform, each.delivery)
    path = data.draw(st.sampled_from([p for p in _paths(document[name]) if p]))
    document[name] = _mutated(document[name], path, value) + document[name]
    account_id = each.delivery.account_id
    found = said(each.platform, signed(each.platform, document, account_id=account_id))
    assert storable(found)[-len(untouched) :] == untouched


@every_platform
def test_bombs_and_traps_are_refused_or_kept(platform: str) -> None:
    """Where the body is signed it is kept as it came; where it is not, it is refused."""
    name = {"telegram": "update_id", "wechat": "CreateTime"}.get(platform, "x")
    traps = {
        "NaN": f'{{"{name}": NaN}}'.encode(),
        "out of range": f'{{"{name}": 1e400}}'.encode(),
        "5,000 digits": f'{{"{name}": {"9" * 5_000}}}'.encode(),
        "half a surrogate": f'{{"{name}": 1, "y": "\\ud800"}}'.encode(),
        "not UTF-8": f'{{"{name}": 1, "y": "'.encode() + b'\xff"}',
        "UTF-16": f'{{"{name}": 1}}'.encode("utf-16"),
        "a byte order mark": f'{{"{name}": 1}}'.encode("utf-8-sig"),
        "100,000 arrays": b"[" * 100_000 + b"]" * 100_000,
        "deep": f'{{"{name}": 1, "y": {"[" * 70}{"]" * 70}}}'.encode(),
        "doubled keys": f'{{"{name}": 1, "{name}": 2}}'.encode(),
        "nothing": b"",
        "half a body": f'{{"{name}": 1, "y'.encode(),
        "an array": b"[]",
        "a document type": b'<!DOCTYPE xml [<!ENTITY a "b">]><xml><MsgType>&a;</MsgType></xml>',
    }
    for trap, body in traps.items():
        found = read(platform, signed(platform, body))
        if platform in ("line", "messenger"):
            assert found is not None, trap
            assert [each.kind for each in storable(found)] == ["unknown"], trap
        else:
            assert found is None, trap


def test_credentials_of_all_platforms_are_known() -> None:
    assert set(CREDENTIALS) == set(PLATFORMS)
