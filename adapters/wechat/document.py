"""Reads the documents that WeChat writes: flat XML, or JSON if the account's owner chose that.

The XML has no document type, ever. One could make a small body huge, or name files of ours; so
the first sign of one ends the reading, and text that looks like one is only text.
"""

from typing import Any
from xml.parsers import expat

from adapters import tolerant
from adapters.tolerant import NESTING_MAX, Malformed

Fields = dict[str, Any]


class HasDocumentType(Malformed):
    """It begins to declare something."""


def read_strictly(body: bytes) -> Fields:
    """The fields of a body that nobody has signed. Raises Malformed."""
    if body.lstrip().startswith(b"{"):
        return _read_json(body)
    fields = _read_xml(body)
    # XML knows no lists, so one stands for a name that stands twice.
    if any(isinstance(value, list) for value in fields.values()):
        raise Malformed
    return fields


def read(body: bytes) -> Fields | None:
    """The fields of a body that is authentic; None for what is no document.

    Raises HasDocumentType all the same.
    """
    if body.lstrip().startswith(b"{"):
        value, _ = tolerant.read(body)
        return value if isinstance(value, dict) else None
    try:
        return _read_xml(body)
    except HasDocumentType:
        raise
    except Malformed:
        return None


def _read_json(body: bytes) -> Fields:
    value = tolerant.decode_strictly(body)
    if not isinstance(value, dict):
        raise Malformed
    return value


def _read_xml(body: bytes) -> Fields:
    # WeChat writes UTF-8, whatever a body may say of itself: a byte order mark would be believed.
    if not body.lstrip().startswith(b"<"):
        raise Malformed
    parser = expat.ParserCreate("utf-8")
    builder = _Builder()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    try:
        parser.Parse(body, True)
    except expat.ExpatError as error:
        raise Malformed from error
    if not isinstance(builder.root, dict):
        raise Malformed
    return builder.root


def _refuse(*_: Any) -> None:
    raise HasDocumentType


class _Element:
    def __init__(self) -> None:
        self.members: Fields = {}
        self.texts: list[str] = []

    @property
    def value(self) -> Fields | str:
        return self.members or "".join(self.texts)


class _Builder:
    """Makes objects of elements with elements in them, and texts of all others."""

    def __init__(self) -> None:
        self.root: Fields | str | None = None
        self._open: list[_Element] = []

    def start(self, name: str, _attributes: dict[str, str]) -> None:
        if len(self._open) >= NESTING_MAX or (not self._open and name != "xml"):
            raise Malformed
        self._open.append(_Element())

    def text(self, text: str) -> None:
        self._open[-1].texts.append(text)

    def end(self, name: str) -> None:
        value = self._open.pop().value
        if not self._open:
            self.root = value
            return
        members = self._open[-1].members
        if name not in members:
            members[name] = value
        elif isinstance(members[name], list):
            members[name].append(value)
        else:
            members[name] = [members[name], value]
