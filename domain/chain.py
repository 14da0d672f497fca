"""The hash chain that makes the log of an organisation tamper-evident.

    leaf = sha256(format ‖ org id ‖ position ‖ stream ‖ version ‖ type ‖ schema version
                  ‖ recorded at, in microseconds since 1970 ‖ command id ‖ stored data)
    hash = sha256(previous hash ‖ leaf)

Texts and byte strings carry their length in front, so nothing can move from one field to the
next. Data is hashed as it is stored, sealed; erasing a key therefore never breaks the chain.
"""

import hashlib
import struct
from datetime import UTC, datetime, timedelta

GENESIS = bytes(32)
FORMAT = b"\x01"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LENGTH = struct.Struct(">I").pack
_POSITION = struct.Struct(">Q").pack
_VERSION = struct.Struct(">I").pack
_SCHEMA = struct.Struct(">H").pack
_MOMENT = struct.Struct(">q").pack
_sha256 = hashlib.sha256


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970, exactly."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(microseconds: int) -> datetime:
    """The other way round."""
    return _EPOCH + timedelta(microseconds=microseconds)


def link(
    previous: bytes,
    *,
    org_id: bytes,
    position: int,
    stream: bytes,
    version: int,
    stored_type: bytes,
    schema_version: int,
    recorded_at: int,
    command: bytes,
    data: bytes,
) -> bytes:
    """The hash of one event on top of the one before it. `recorded_at` in microseconds."""
    leaf = _sha256(
        b"".join(
            (
                FORMAT,
                _LENGTH(len(org_id)),
                org_id,
                _POSITION(position),
                _LENGTH(len(stream)),
                stream,
                _VERSION(version),
                _LENGTH(len(stored_type)),
                stored_type,
                _SCHEMA(schema_version),
                _MOMENT(recorded_at),
                _LENGTH(len(command)),
                command,
                _LENGTH(len(data)),
                data,
            )
        )
    )
    return _sha256(previous + leaf.digest()).digest()
