"""What holds of any body that a platform has signed: nothing raises, and nothing is lost."""

import base64
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from adapters import meta, tolerant
from adapters.whatsapp import webhook as whatsapp
from adapters.whatsapp.items import READERS as READERS_OF_ITEMS
from domain.credentials import Credentials
from domain.inbound import AnyOccurrence
from domain.webhook import Delivery
from tests.adapters.recorded import ACCOUNTS, CREDENTIALS, META_SECRET, read, signed
from tests.adapters.test_platforms import storable
from tests.adapters.test_wechat_webhook import SECURE, enveloped, sealed

PLATFORMS = ("line", "messenger", "telegram", "wechat", "whatsapp")

# Of one small body, on a machine that does much else.
SECONDS_MAX = 2.0


def check(platform: str, body: bytes) -> None:
    """Whatever the body is: read twice it says the same, all of it, at once."""
    began = time.process_time()
    for reader in READERS[platform]:
        found = reader(body)
        assert reader(body) == found, "It says something else the second time."
        if found is not None:
            storable(found)
            assert_complete(platform, body, found)
    refuse_as_signature(platform, body)
    assert time.process_time() - began < SECONDS_MAX, "It takes too long."


def _as_signed(platform: str) -> Callable[[bytes], list[AnyOccurrence] | None]:
    def reader(body: bytes) -> list[AnyOccurrence] | None:
        account_id = _destination(body) if platform == "line" else ACCOUNTS.get(platform)
        found = read(platform, signed(platform, body, account_id=account_id))
        # Only where the body itself is signed everything authentic is kept.
        assert found is not None or platform not in ("line", "messenger") or account_id is None
        return found

    return reader


def _destination(body: bytes) -> str | None:
    """The account that a body of LINE's is for; None where no account has such a name."""
    document, _ = tolerant.read(body)
    named = document.get("destination") if isinstance(document, dict) else None
    if not isinstance(named, str):
        return ACCOUNTS["line"]
    return named if named and "\0" not in named else None


def _encrypted(body: bytes) -> list[AnyOccurrence] | None:
    return read("wechat", enveloped(sealed(body)))


def _opened(body: bytes) -> list[AnyOccurrence] | None:
    """The body as what stands where the encrypted part should."""
    written = base64.b64encode(body[: len(body) // 16 * 16]).decode()
    assert read("wechat", enveloped(written)) is None, "It was not encrypted by WeChat."
    return None


READERS: dict[str, Sequence[Callable[[bytes], list[AnyOccurrence] | None]]] = {
    "line": [_as_signed("line")],
    "messenger": [_as_signed("messenger")],
    "telegram": [_as_signed("telegram")],
    "wechat": [_as_signed("wechat"), _encrypted, _opened],
    "whatsapp": [whatsapp.parse],
}


def refuse_as_signature(platform: str, given: bytes) -> None:
    """The same bytes as signature, header and query of somebody who knows no secret."""
    if platform in ("messenger", "whatsapp"):
        secrets = [META_SECRET.encode(), b""]
        assert not meta.verify(given, [given], app_secrets=secrets)
        return
    good = signed(platform, given)
    headers = [(name, given) for name, _ in good.headers]
    text = given.decode("utf-8", "surrogateescape")
    query = [(name, text) for name in ("signature", "timestamp", "nonce", "msg_signature")]
    forged: Delivery = replace(good, headers=headers, query=query)
    live = SECURE if platform == "wechat" else CREDENTIALS[platform]
    wrong: tuple[list[Credentials], ...] = ([live], [{}], [])
    for credentials in wrong:
        if given != live.get("secret_token", "").encode():
            assert read(platform, replace(forged, credentials=credentials)) is None


# Nothing is lost: what a body lists is found again, each thing in its own place.


def assert_complete(platform: str, body: bytes, found: list[AnyOccurrence]) -> None:
    """Each item that the body holds became an occurrence, in order, with what it said."""
    value, whole = tolerant.read(body)
    match platform:
        case "line":
            _assert_each(_list(value, "events"), found, whole)
        case "messenger":
            _assert_each(_messenger_items(value), found, whole)
        case "whatsapp":
            _assert_in_order(_whatsapp_items(value), found, whole)
        case "telegram":
            assert found
            assert not _has_twins(body), "Another program may have read the other one."
            assert all(_kept(each) in (None, value) for each in found)
        case _:
            assert len(found) == 1


def _has_twins(body: bytes) -> bool:
    """Whether the standard library finds a name twice in one object."""
    objects: list[list[tuple[str, Any]]] = []
    json.loads(body, object_pairs_hook=objects.append)
    return any(len({name for name, _ in pairs}) < len(pairs) for pairs in objects)


def _list(value: Any, name: str) -> list[Any] | None:
    inner = value.get(name) if isinstance(value, dict) else None
    return inner if isinstance(inner, list) else None


# The items of a body; None: it is kept as a whole.


def _messenger_items(value: Any) -> list[Any] | None:
    entries = _list(value, "entry")
    if entries is None or value.get("object") != "page":
        return None
    found: list[Any] = []
    for entry in entries:
        page_id = entry.get("id") if isinstance(entry, dict) else None
        names = [
            name
            for name in ("messaging", "standby", "changes")
            if isinstance(entry, dict) and name in entry
        ]
        is_page = isinstance(page_id, str | int) and not isinstance(page_id, bool)
        if not is_page or not names or not 0 < len(str(page_id)) <= 512:
            found.append(entry)
            continue
        for name in names:
            found += entry[name] if isinstance(entry[name], list) else [entry[name]]
    return found


def _whatsapp_items(value: Any) -> list[Any] | None:
    entries = _list(value, "entry")
    if entries is None:
        return None
    found: list[Any] = []
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("changes"), list):
            found.append(entry)
            continue
        for change in entry["changes"]:
            found += _change_items(change)
    return found


def _change_items(change: Any) -> list[Any]:
    field, value = (
        (change.get("field"), change.get("value")) if isinstance(change, dict) else ("", None)
    )
    known = isinstance(field, str) and field in whatsapp.ITEM_FIELDS
    if not known or not isinstance(value, dict) or not any(map(value.get, whatsapp.LISTS)):
        return [change]
    found: list[Any] = []
    for name, inner in value.items():
        if name in READERS_OF_ITEMS and inner is not None:
            found += inner if isinstance(inner, list) else [inner]
    return found


def _assert_each(items: list[Any] | None, found: list[AnyOccurrence], whole: Any) -> None:
    expected = [whole] if items is None else items
    assert len(found) == len(expected), "Something was lost, or said twice."
    for item, occurrence in zip(expected, found, strict=True):
        assert _kept(occurrence) in (None, item), "It stands in another's place."


def _assert_in_order(items: list[Any] | None, found: list[AnyOccurrence], whole: Any) -> None:
    """As above; errors that stand beside the items may follow them."""
    rest = iter(found)
    for item in [whole] if items is None else items:
        for occurrence in rest:
            kept = _kept(occurrence)
            if kept == item or (kept is None and _names(occurrence, item)):
                break
        else:
            raise AssertionError(f"Lost: {json.dumps(item)[:500]}")


def _kept(occurrence: AnyOccurrence) -> Any:
    """What is kept as it came; None for what says all in other words."""
    content = getattr(occurrence, "content", None)
    return getattr(occurrence, "raw", None) if content is None else content.raw


def _names(occurrence: AnyOccurrence, item: Any) -> bool:
    """Whether it is about what the item is: a receipt, or a message that was taken back."""
    written = str(item.get("id")).replace("\0", "\ufffd") if isinstance(item, dict) else None
    return written is not None and written in (
        getattr(occurrence, "platform_id", None),
        *occurrence.dedupe,
    )
