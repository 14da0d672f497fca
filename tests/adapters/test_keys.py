"""Keys: what one seals, only it opens, where it was sealed for, until it is gone."""

import dataclasses
import hmac
import secrets
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.postgres import keys as keeping
from adapters.postgres.keys import MasterKey, OrgKeys
from domain.chat_events import EchoReceived, MessageReceived
from domain.event import Sealed
from domain.ports import NewKey, Org, Unreadable

ACME, OTHER = Org(1, "org_acme"), Org(2, "org_other")
WRAPPING, IDENTITY = bytes(range(32)), bytes(range(32, 64))


def keys(org: Org = ACME, *, wrapping: bytes = WRAPPING, identity: bytes = IDENTITY) -> OrgKeys:
    return OrgKeys(org, wrapping_key=wrapping, identity_key=identity)


@dataclasses.dataclass
class Box:
    """Something sealed, and all that is needed to open it."""

    keys: OrgKeys
    key: NewKey
    sealed: Sealed

    def open(
        self,
        *,
        keys: OrgKeys | None = None,
        sealed: Sealed | None = None,
        stream: str = "chat:a",
        stored_type: str = MessageReceived.stored_type,
        wrapped: bytes | None = b"",
    ) -> bytes:
        return (keys or self.keys).open(
            sealed or self.sealed,
            stream=stream,
            stored_type=stored_type,
            wrapped=self.key.wrapped if wrapped == b"" else wrapped,
        )


def box(data: bytes = b"hello") -> Box:
    ours = keys()
    key = ours.new_key("contact:one")
    sealed = ours.seal(data, stream="chat:a", event=MessageReceived, key_id="contact:one")
    return Box(ours, key, sealed)


@given(st.binary(max_size=200))
def test_what_is_sealed_is_opened_by_another_process(data: bytes) -> None:
    sealed = box(data)
    assert sealed.open(keys=keys()) == data


def test_nothing_of_the_content_is_seen_from_outside() -> None:
    one, another = box(b"secret " * 20), box(b"secret " * 20)
    assert b"secret" not in msgspec.json.encode(one.sealed)
    assert one.sealed.box != another.sealed.box
    assert len(one.sealed.box) == 140 + 16


def test_nothing_sealed_is_moved_to_another_place() -> None:
    sealed = box()
    with pytest.raises(Unreadable):
        sealed.open(stream="chat:b")
    with pytest.raises(Unreadable):
        sealed.open(stored_type=EchoReceived.stored_type)
    with pytest.raises(Unreadable):
        sealed.open(keys=keys(OTHER))


@pytest.mark.parametrize("field", ["key", "id", "box"])
def test_nothing_sealed_is_changed(field: str) -> None:
    sealed = box()
    before = getattr(sealed.sealed, field)
    after = before + "x" if isinstance(before, str) else bytes([before[0] ^ 1]) + before[1:]
    with pytest.raises(Unreadable):
        sealed.open(sealed=msgspec.structs.replace(sealed.sealed, **{field: after}), keys=keys())


def test_what_is_erased_stays_closed_also_to_a_process_that_had_the_key() -> None:
    sealed = box()
    assert sealed.open() == b"hello"
    with pytest.raises(Unreadable):
        sealed.open(wrapped=None)


def test_another_persons_key_opens_nothing() -> None:
    sealed = box()
    another = sealed.keys.new_key("contact:two")
    with pytest.raises(Unreadable):
        sealed.open(wrapped=another.wrapped)
    with pytest.raises(Unreadable):
        sealed.open(wrapped=b"too short")


def test_a_key_is_at_hand_once_it_is_made_or_learned() -> None:
    ours = keys()
    key = ours.new_key("contact:one", expires_at=datetime(2026, 6, 8, tzinfo=UTC))
    assert key.expires_at == datetime(2026, 6, 8, tzinfo=UTC)
    assert ours.has("contact:one")
    theirs = keys()
    assert not theirs.has("contact:one")
    theirs.learn("contact:one", key.wrapped)
    sealed = theirs.seal(b"hi", stream="chat:a", event=MessageReceived, key_id="contact:one")
    assert Box(ours, key, sealed).open() == b"hi"
    theirs.forget("contact:one")
    assert not theirs.has("contact:one")
    with pytest.raises(Unreadable):
        theirs.learn("contact:two", key.wrapped)  # A row that was moved to somebody else.


def test_a_process_keeps_so_many_keys_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "CIPHERS_KEPT_MAX", 3)
    ours = keys()
    for n in range(5):
        ours.new_key(f"contact:{n}")
    assert [n for n in range(5) if ours.has(f"contact:{n}")] == [2, 3, 4]


# Keyed hashes.


def test_a_hash_is_for_ever() -> None:
    """Dedupe keys and addresses of every stored event depend on it."""
    expected = hmac.digest(IDENTITY, '["phone","+81 ☎"]'.encode(), "sha256")
    assert keys().hash("phone", "+81 ☎") == expected
    assert keys(wrapping=secrets.token_bytes(32)).hash("phone", "+81 ☎") == expected


def test_a_hash_is_the_orgs_own() -> None:
    assert keys().hash("phone") != keys(identity=secrets.token_bytes(32)).hash("phone")


@given(st.lists(st.text(max_size=5), max_size=4), st.lists(st.text(max_size=5), max_size=4))
def test_other_texts_have_another_hash(some: list[str], others: list[str]) -> None:
    assert (keys().hash(*some) == keys().hash(*others)) == (some == others)


# The master key.


def test_the_master_key_opens_what_it_wrapped_for_whom_it_wrapped_it() -> None:
    master = MasterKey(secrets.token_bytes(32))
    wrapped = master.wrap(WRAPPING, about="org_acme/wrapping")
    assert WRAPPING not in wrapped
    assert master.unwrap(wrapped, about="org_acme/wrapping") == WRAPPING
    for about in ("org_other/wrapping", "org_acme/identity"):
        with pytest.raises(Unreadable):
            master.unwrap(wrapped, about=about)


def test_a_change_of_the_master_key() -> None:
    old, new = secrets.token_bytes(32), secrets.token_bytes(32)
    wrapped = MasterKey(old).wrap(WRAPPING, about="a")
    during = MasterKey(new, previous=old)
    assert during.unwrap(wrapped, about="a") == WRAPPING
    assert MasterKey(new).unwrap(during.wrap(WRAPPING, about="a"), about="a") == WRAPPING
    with pytest.raises(Unreadable):
        MasterKey(new).unwrap(wrapped, about="a")


def test_secrets_of_accounts() -> None:
    ours = keys()
    sealed = ours.seal_secret(b"token", about="account/line/1")
    assert b"token" not in sealed
    assert keys().open_secret(sealed, about="account/line/1") == b"token"
    for opener, about in ((keys(), "account/line/2"), (keys(wrapping=bytes(32)), "account/line/1")):
        with pytest.raises(Unreadable):
            opener.open_secret(sealed, about=about)


def test_no_nonce_is_used_twice() -> None:
    ours = keys()
    ours.new_key("contact:one")
    sealed = [
        ours.seal(b"", stream="chat:a", event=MessageReceived, key_id="contact:one")
        for _ in range(5_000)
    ]
    assert len({each.id[: keeping.NONCE_BYTES] for each in sealed}) == 5_000
    wrapped = [ours.new_key("contact:two").wrapped for _ in range(1_000)]
    assert len({each[: keeping.NONCE_BYTES] for each in wrapped}) == 1_000
