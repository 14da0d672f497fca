"""Files of messages as clients see them: what a person needs, no platform's id or address."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from domain.media import StoredFile
from domain.ports import Keys, Unreadable
from projections.inbox.rows import FileRow

# What a platform says of a file besides, under our names.
_DESCRIBED = {
    "mime_type": "mime_type",
    "size": "bytes",
    "filename": "name",
    "voice": "voice",
    "animated": "animated",
    "album": "album",
    "duration_seconds": "duration_seconds",
    "width": "width",
    "height": "height",
    "emoji": "emoji",
    "keywords": "keywords",
    "package_id": "package_id",
    "sticker_id": "sticker_id",
    "resource_type": "resource_type",
    "set_name": "set_name",
    "recognition": "recognition",
}

_NAMES_OF_FILES = frozenset({"platform_id", "url"})


def media_of(
    media: Mapping[str, Any], kind: str, files: Sequence[FileRow], keys: Keys
) -> dict[str, Any]:
    """What is shown of the files of a message; those after the first stand in `others`."""
    if "address" in media:
        return _stored(msgspec.convert(media, StoredFile))
    rows = {row.part: row for row in files}
    parts = [media, *media.get("others", ())]
    first, *others = [
        _came(part, str(part.get("type", kind)), rows.get(number), keys)
        for number, part in enumerate(parts)
    ]
    return first | ({"others": others} if others else {})


def ids_in(media: Mapping[str, Any]) -> set[str]:
    """The ids of the files that are shown."""
    parts = [media, *media.get("others", ())]
    return {part["media_id"] for part in parts if part.get("media_id")}


def _stored(file: StoredFile) -> dict[str, Any]:
    shown = {
        "media_id": file.media_id,
        "kind": file.kind,
        "mime_type": file.mime_type,
        "bytes": file.byte_count,
        "sha256": file.sha256,
        "state": "stored",
    }
    return shown | ({"name": file.name} if file.name else {})


def _came(part: Mapping[str, Any], kind: str, row: FileRow | None, keys: Keys) -> dict[str, Any]:
    described = {
        shown: part[name] for name, shown in _DESCRIBED.items() if part.get(name) is not None
    }
    described["kind"] = kind
    if not _NAMES_OF_FILES & set(part):
        return described  # A sticker by its number, say: there is no file.
    if row is None:
        return described | {"media_id": None, "state": "pending"}
    file = _opened(row, keys)
    if file is None:
        reason = row.reason or "erased"
        return described | {"media_id": None, "state": "unavailable", "reason": reason}
    return described | _stored(file)


def _opened(row: FileRow, keys: Keys) -> StoredFile | None:
    if row.file is None:
        return None
    try:
        data = keys.open(
            row.file.sealed,
            stream=row.file.stream,
            stored_type=row.file.type,
            wrapped=row.file.wrapped,
        )
    except Unreadable:
        return None  # Erased (E4).
    return msgspec.json.decode(data, type=StoredFile)
