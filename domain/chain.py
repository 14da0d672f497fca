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
    return link_parts(
        previous,
        origin=origin(org_id),
        position=position,
        subject=subject(framed(stream), version, kind(framed(stored_type), schema_version)),
        recorded_at=instant(recorded_at),
        command=framed(command),
        data=framed(data),
    )


# The same in parts, most of which a writer has at hand before it knows the event's position.


def link_parts(
    previous: bytes,
    *,
    origin: bytes,
    position: int,
    subject: bytes,
    recorded_at: bytes,
    command: bytes,
    data: bytes,
) -> bytes:
    """The hash of an event from what the functions below make; `command` and `data` framed."""
    leaf = b"".join((origin, _POSITION(position), subject, recorded_at, command, data))
    return _sha256(previous + _sha256(leaf).digest()).digest()


def framed(data: bytes) -> bytes:
    """Bytes with their length in front."""
    return _LENGTH(len(data)) + data


def origin(org_id: bytes) -> bytes:
    """The format and the organisation."""
    return FORMAT + framed(org_id)


def kind(framed_type: bytes, schema_version: int) -> bytes:
    """An event's type and schema version."""
    return framed_type + _SCHEMA(schema_version)


def subject(framed_stream: bytes, version: int, kind: bytes) -> bytes:
    """An event's stream and version, and its kind."""
    return framed_stream + _VERSION(version) + kind


def instant(microseconds: int) -> bytes:
    """A point in time."""
    return _MOMENT(microseconds)
