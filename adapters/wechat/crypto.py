"""WeChat's signatures and its encryption. Whatever is wrong, the answer is the same: NotAuthentic.

Nothing is decrypted before its signature was checked: otherwise the padding could be asked out of
us byte by byte.
"""

import base64
import binascii
import hashlib
import hmac

from Crypto.Cipher import AES

KEY_BYTES = 32
# WeChat pads to blocks of 32, which AES does not need: the padding has 1 to 32 bytes.
PADDING_BYTES_MAX = 32
RANDOM_BYTES = 16
LENGTH_BYTES = 4


class NotAuthentic(ValueError):
    """WeChat did not write this for this account. It does not say why."""


def signature(*parts: str) -> bytes:
    """The digest over texts in the order of their bytes, in hexadecimal digits."""
    ordered = sorted(part.encode("utf-8", "surrogatepass") for part in parts)
    return hashlib.sha1(b"".join(ordered), usedforsecurity=False).hexdigest().encode()


def is_signed(given: str, token: str, *parts: str) -> bool:
    """Whether this is the signature of the parts by somebody who knows the token."""
    expected = signature(token, *parts)
    written = given.encode("utf-8", "surrogatepass")
    # An empty token stands for an account that has none.
    return hmac.compare_digest(expected, written) and bool(token)


def decrypt(encrypted: str, *, encoding_aes_key: str, app_id: str) -> bytes:
    """The message in what `is_signed` was told of. Raises NotAuthentic."""
    try:
        key = base64.b64decode(f"{encoding_aes_key}=", validate=True)
        sealed = base64.b64decode(encrypted, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NotAuthentic from error
    if len(key) != KEY_BYTES or not sealed or len(sealed) % AES.block_size:
        raise NotAuthentic
    padded = AES.new(key, AES.MODE_CBC, key[: AES.block_size]).decrypt(sealed)
    return _message(_without_padding(padded), app_id.encode())


def _without_padding(padded: bytes) -> bytes:
    size = padded[-1]
    if not 1 <= size <= PADDING_BYTES_MAX or padded[-size:] != bytes([size]) * size:
        raise NotAuthentic
    return padded[:-size]


def _message(opened: bytes, app_id: bytes) -> bytes:
    """What stands between 16 random bytes with a length, and the app id."""
    start = RANDOM_BYTES + LENGTH_BYTES
    end = start + int.from_bytes(opened[RANDOM_BYTES:start], "big")
    if len(opened) < start or end > len(opened):
        raise NotAuthentic
    if not app_id or not hmac.compare_digest(opened[end:], app_id):
        raise NotAuthentic
    return opened[start:end]
