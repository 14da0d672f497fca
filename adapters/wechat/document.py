"""Reads the documents that WeChat writes: flat XML, or JSON if the account's owner chose that.

The XML has no document type, ever. One could make a small body huge, or name files of ours; so
the first sign of one ends the reading, and text that looks like one is only text.
"""

import codecs
import re
from typing import Any
from xml.parsers import expat

from adapters import tolerant
from adapters.tolerant import NESTING_MAX, Malformed

Fields = dict[str, Any]

# What XML 1.0 has no place for, though people can type it.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# A section of literal text, or outside of those an ampersand that begins nothing.
_BARE_AMPERSAND = re.compile(
    r"<!\[CDATA\[.*?(?:\]\]>|\Z)|&(?!(?:amp|lt|gt|quot|apos|#\d+|#x[\da-fA-F]+);)", re.DOTALL
)


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
    body = body.removeprefix(codecs.BOM_UTF8)
    if body.lstrip().startswith(b"{"):
        value, _ = tolerant.read(body)
        return value if isinstance(value, dict) else None
    return _read_xml_if_any(body) or _read_xml_if_any(_mended(body))


def _mended(body: bytes) -> bytes:
    """XML in which a customer's words break nothing any more.

    What is forbidden is replaced and not left out: a bracket on either side of it would come
    together with the other, and end the words before they do.
    """
    text = _FORBIDDEN.sub("\ufffd", body.decode(errors="replace"))
    return _BARE_AMPERSAND.sub(
        lambda found: "&amp;" if found[0] == "&" else found[0], text
    ).encode()


def _read_xml_if_any(body: bytes) -> Fields | None:
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
