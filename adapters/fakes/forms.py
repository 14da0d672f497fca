"""Reads a form with files, as fakes are given them (RFC 7578)."""

from email import message_from_bytes
from email.message import Message
from typing import NamedTuple

from adapters.fakes.server import Request


class File(NamedTuple):
    """A file of a form."""

    name: str
    mime_type: str
    content: bytes


class ReceivedForm(NamedTuple):
    """What a form holds, by name."""

    fields: dict[str, str]
    files: dict[str, File]


def read_form(request: Request) -> ReceivedForm | None:
    """The form that a request holds; None if it holds none."""
    content_type = request.headers.get("content-type", "")
    if not content_type.startswith("multipart/form-data"):
        return None
    whole = message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + request.body)
    form = ReceivedForm({}, {})
    for part in whole.get_payload():
        if not isinstance(part, Message):
            return None
        name, content = _name(part), part.get_payload(decode=True)
        file_name = part.get_filename()
        if not isinstance(content, bytes):
            return None
        if file_name is None:
            form.fields[name] = content.decode()
        else:
            form.files[name] = File(file_name, part.get_content_type(), content)
    return form


def _name(part: Message) -> str:
    return str(part.get_param("name", "", "content-disposition"))
