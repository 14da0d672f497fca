"""WeChat's webhook: who may call it, and what a call says. Bytes in, occurrences out, no I/O."""

from collections.abc import Mapping
from datetime import timedelta

from adapters.tolerant import Malformed
from adapters.wechat import document
from adapters.wechat.crypto import NotAuthentic, decrypt, is_signed
from adapters.wechat.document import Fields
from adapters.wechat.messages import keep_whole, read_message
from domain.credentials import wechat_mode
from domain.inbound import AnyOccurrence
from domain.webhook import Delivery

# Longer ones are no seconds since 1970.
TIMESTAMP_LENGTH_MAX = 12

Credentials = Mapping[str, str]


def handshake(delivery: Delivery, *, tolerance: timedelta | None) -> str | None:
    """What to answer when the address is set up; None to refuse it. The same in every mode."""
    if any(_is_signed(delivery, each) for each in _all_of(delivery)) and _is_fresh(
        delivery, tolerance
    ):
        return delivery.parameter("echostr") or None
    return None


def read(delivery: Delivery, *, tolerance: timedelta | None) -> list[AnyOccurrence]:
    """Everything that a delivery tells. Raises NotAuthentic."""
    is_fresh = _is_fresh(delivery, tolerance)
    for credentials in _all_of(delivery):
        is_plain = wechat_mode(credentials) == "plain"
        try:
            found = (_read_plain if is_plain else _read_encrypted)(delivery, credentials)
        except (NotAuthentic, Malformed):
            continue
        if is_fresh:
            return found
    raise NotAuthentic


def _read_plain(delivery: Delivery, credentials: Credentials) -> list[AnyOccurrence]:
    """The signature covers no byte of the body: whatever is odd about that is refused."""
    if not _is_signed(delivery, credentials):
        raise NotAuthentic
    fields = document.read_strictly(delivery.body)
    _require_addressed(fields, delivery.account_id)
    if not all(isinstance(fields.get(name), str) for name in ("FromUserName", "MsgType")):
        raise Malformed
    return [read_message(delivery.account_id, fields)]


def _read_encrypted(delivery: Delivery, credentials: Credentials) -> list[AnyOccurrence]:
    """Whatever stands beside the encrypted part is not looked at, in compatible mode either."""
    encrypted = document.read_strictly(delivery.body).get("Encrypt")
    if not isinstance(encrypted, str):
        raise NotAuthentic
    timestamp, nonce = delivery.parameter("timestamp"), delivery.parameter("nonce")
    given, token = delivery.parameter("msg_signature"), credentials.get("token", "")
    if not is_signed(given, token, timestamp, nonce, encrypted):
        raise NotAuthentic
    # WeChat sends the plain signature as well; it adds nothing, but must not be wrong.
    has_plain = any(name == "signature" for name, _ in delivery.query)
    if has_plain and not _is_signed(delivery, credentials):
        raise NotAuthentic
    message = decrypt(
        encrypted,
        encoding_aes_key=credentials.get("encoding_aes_key", ""),
        app_id=credentials.get("app_id", ""),
    )
    fields = document.read(message)
    if fields is None:
        return [keep_whole(delivery.account_id, message)]
    if "ToUserName" in fields:
        _require_addressed(fields, delivery.account_id)
    return [read_message(delivery.account_id, fields)]


def _require_addressed(fields: Fields, account_id: str) -> None:
    if fields.get("ToUserName") != account_id:
        raise NotAuthentic


def _is_signed(delivery: Delivery, credentials: Credentials) -> bool:
    """Whether the caller knows the token; of the body this says nothing."""
    timestamp, nonce = delivery.parameter("timestamp"), delivery.parameter("nonce")
    given = delivery.parameter("signature")
    return is_signed(given, credentials.get("token", ""), timestamp, nonce)


def _is_fresh(delivery: Delivery, tolerance: timedelta | None) -> bool:
    """Whether it was signed a moment ago; without a tolerance that is not asked."""
    if tolerance is None:
        return True
    written = delivery.parameter("timestamp")
    if not (written.isascii() and written.isdigit()) or len(written) > TIMESTAMP_LENGTH_MAX:
        return False
    return abs(delivery.now.timestamp() - int(written)) <= tolerance.total_seconds()


def _all_of(delivery: Delivery) -> list[Credentials]:
    """Every set that is live; an account that nobody holds has an empty one to compare with."""
    return list(delivery.credentials) or [{}]
