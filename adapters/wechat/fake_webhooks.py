"""What the fake WeChat says by webhook: XML, signed in the address, encrypted if one wants it."""

import base64
import secrets
from collections.abc import Mapping
from datetime import datetime

from Crypto.Cipher import AES

from adapters.wechat.crypto import LENGTH_BYTES, PADDING_BYTES_MAX, RANDOM_BYTES, signature
from adapters.wechat.document import read_strictly
from adapters.wechat.fake_rules import FakeOfficialAccount

Fields = Mapping[str, str | int]


def written(account: FakeOfficialAccount, fields: Fields) -> bytes:
    """The body of a delivery in the account's mode."""
    clear = as_xml(fields)
    if account.mode == "plain":
        return clear
    encrypted = encrypt(clear, account)
    both = {"ToUserName": account.account_id, "Encrypt": encrypted}
    return as_xml({**fields, **both} if account.mode == "compatible" else both)


def as_xml(fields: Fields) -> bytes:
    """Flat XML; what is no number is given as it is."""
    members = "".join(
        f"<{name}>{value}</{name}>"
        if isinstance(value, int)
        else f"<{name}><![CDATA[{value.replace(']]>', ']]]]><![CDATA[>')}]]></{name}>"
        for name, value in fields.items()
    )
    return f"<xml>{members}</xml>".encode()


def encrypt(message: bytes, account: FakeOfficialAccount) -> str:
    """What `crypto.decrypt` opens."""
    key = base64.b64decode(f"{account.encoding_aes_key}=")
    length = len(message).to_bytes(LENGTH_BYTES, "big")
    opened = secrets.token_bytes(RANDOM_BYTES) + length + message + account.app_id.encode()
    size = PADDING_BYTES_MAX - len(opened) % PADDING_BYTES_MAX
    padded = opened + bytes([size]) * size
    return base64.b64encode(
        AES.new(key, AES.MODE_CBC, key[: AES.block_size]).encrypt(padded)
    ).decode()


def query(account: FakeOfficialAccount, body: bytes, *, at: datetime) -> dict[str, str]:
    """The signature of a delivery, made anew at every try."""
    timestamp, nonce = str(int(at.timestamp())), str(secrets.randbelow(10**9))
    signed = {
        "signature": signature(account.token, timestamp, nonce).decode(),
        "timestamp": timestamp,
        "nonce": nonce,
    }
    encrypted = read_strictly(body).get("Encrypt") if body else None
    if not isinstance(encrypted, str):
        return signed
    given = signature(account.token, timestamp, nonce, encrypted).decode()
    return signed | {"encrypt_type": "aes", "msg_signature": given}
