"""Files sealed in pieces, so that one of any size takes little memory.

Each piece is encrypted by itself (AES-256-GCM). Its nonce is its number and whether it is the last,
so pieces cannot be left out, moved, doubled or cut off unnoticed. A key is used for one file only.
"""

import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from domain.media_ports import FileGone

KEY_BYTES = 32
PIECE_BYTES = 256 << 10
TAG_BYTES = 16
SEALED_PIECE_BYTES = PIECE_BYTES + TAG_BYTES

_NONCE = struct.Struct(">3xQ?")
_FORMAT = b"trunkline file 1\0"


class Sealer:
    """Encrypts one file, piece by piece."""

    def __init__(self, key: bytes, *, org_id: str) -> None:
        self._cipher = AESGCM(key)
        self._bound = _FORMAT + org_id.encode()
        self._number = 0

    def seal(self, piece: bytes, *, last: bool) -> bytes:
        """The next piece: all but the last are whole ones."""
        nonce = _NONCE.pack(self._number, last)
        self._number += 1
        return self._cipher.encrypt(nonce, piece, self._bound)


class Opener:
    """Decrypts one file, or what is left of it from a piece on, piece by piece."""

    def __init__(self, key: bytes, *, org_id: str, first: int = 0) -> None:
        """`first` is the number of the piece to begin with."""
        self._cipher = AESGCM(key)
        self._bound = _FORMAT + org_id.encode()
        self._number = first

    def open(self, piece: bytes, *, last: bool) -> bytes:
        """Raises FileGone for anything but the next piece, as it was sealed."""
        nonce = _NONCE.pack(self._number, last)
        self._number += 1
        try:
            return self._cipher.decrypt(nonce, piece, self._bound)
        except (InvalidTag, ValueError) as error:
            raise FileGone("It is not as it was stored.") from error
