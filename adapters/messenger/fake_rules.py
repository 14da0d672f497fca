"""The rules by which the fake Send API takes or refuses a message, as Meta documents them."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

import msgspec

from adapters.fakes.meta import JsonObject, MetaRefusal

TEXT_LENGTH_MAX = 2000
METADATA_LENGTH_MAX = 1000
WINDOW = timedelta(hours=24)

MESSAGING_TYPES = ("RESPONSE", "UPDATE", "MESSAGE_TAG", "UTILITY")
SENDER_ACTIONS = ("typing_on", "typing_off", "mark_seen")
SAYING = frozenset({"text", "attachment", "template"})
ATTACHMENT_TYPES = ("image", "audio", "video", "file")

# Code and subcode: HTTP status and title, from "Error codes" of the Send API.
ERRORS: dict[tuple[int, int | None], tuple[int, str]] = {
    (2, None): (503, "An unexpected error has occurred. Please retry your request later."),
    (4, None): (400, "Application request limit reached"),
    (10, 1893063): (403, "Your Page has been restricted from sending messages"),
    (10, 2018278): (403, "This message is sent outside of allowed window."),
    (32, None): (400, "Page request limit reached"),
    (100, 33): (400, "Unsupported request. Object does not exist"),
    (100, 2018001): (400, "No matching user found"),
    (100, 2018047): (400, "Upload attachment failure."),
    (190, None): (401, "Invalid OAuth access token."),
    (200, None): (403, "Requires pages_messaging permission to manage the object"),
    (368, None): (400, "The action attempted has been deemed abusive or is otherwise disallowed"),
    (551, 1545041): (400, "This person isn't available right now."),
    (613, None): (400, "Calls to this API have exceeded the rate limit."),
    (1200, None): (500, "Temporary send message failure. Please try again later."),
    (2500, None): (404, "Unknown path components"),
}


class FakePage(msgspec.Struct, frozen=True, kw_only=True):
    """A page that the fake knows, and the token that is good for it."""

    page_id: str = "101917755308264"
    access_token: str = "fake-page-token"  # noqa: S105 - It guards nothing.
    name: str = "Fake Business"
    app_id: int = 2096614411778800  # The app that the token belongs to.


class SendRefusal(MetaRefusal):
    """An answer of the Send API for a request that is not taken."""

    def __init__(
        self, code: int, title: str = "", *, subcode: int | None = None, status: int | None = None
    ) -> None:
        usual = (
            ERRORS.get((code, subcode)) or ERRORS.get((code, None)) or (400, "Invalid parameter")
        )
        super().__init__(
            code, title or usual[1], status=usual[0] if status is None else status, subcode=subcode
        )


def check_message(body: Any) -> JsonObject:
    """The body of a message that may be sent. Raises SendRefusal."""
    if not isinstance(body, dict):
        raise SendRefusal(100, "The body must be a JSON object.")
    _check_recipient(body)
    message = body.get("message")
    if body.get("messaging_type") not in MESSAGING_TYPES:
        raise SendRefusal(100, "The parameter messaging_type is required.")
    if not isinstance(message, dict) or len(SAYING & message.keys()) != 1:
        raise SendRefusal(100, "A message has a text, an attachment or a template.")
    if ("template" in message) != (body["messaging_type"] == "UTILITY"):
        raise SendRefusal(100, "Utility messages are templates, and templates utility messages.")
    metadata = message.get("metadata", "")
    if not isinstance(metadata, str) or len(metadata) >= METADATA_LENGTH_MAX:
        raise SendRefusal(100, "Length of param message[metadata] must be less than 1000.")
    reply_to = body.get("reply_to", {"mid": ""})
    if not isinstance(reply_to, dict) or not isinstance(reply_to.get("mid"), str):
        raise SendRefusal(100, "The parameter reply_to needs a mid.")
    if "text" in message:
        _check_text(message["text"])
    return body


def check_action(body: JsonObject) -> JsonObject:
    """The body of what is shown beside messages, and goes alone. Raises SendRefusal."""
    _check_recipient(body)
    if body["sender_action"] not in SENDER_ACTIONS or "message" in body:
        raise SendRefusal(100, "Param sender_action must be one of the known ones, and alone.")
    return body


def _check_recipient(body: JsonObject) -> None:
    recipient = body.get("recipient")
    if not isinstance(recipient, dict) or not isinstance(recipient.get("id"), str):
        raise SendRefusal(100, "The parameter recipient is required.")


def _check_text(text: Any) -> None:
    if not isinstance(text, str) or not text:
        raise SendRefusal(100, "Message cannot be empty, must provide valid attachment or text")
    if len(text) > TEXT_LENGTH_MAX:
        raise SendRefusal(100, f"Length of param message[text] must be at most {TEXT_LENGTH_MAX}.")


def check_attachment(attachment: Any) -> tuple[str, JsonObject]:
    """The type and payload of what goes with a message, or is uploaded. Raises SendRefusal."""
    kind = attachment.get("type") if isinstance(attachment, dict) else None
    payload = attachment.get("payload") if isinstance(attachment, dict) else None
    if kind not in ATTACHMENT_TYPES or not isinstance(payload, dict):
        raise SendRefusal(100, "The parameter attachment is wrong.")
    return kind, payload


def check_template(template: Any, approved: Collection[tuple[str, str]]) -> None:
    """A template that can be sent, and what stands in its gaps. Raises SendRefusal."""
    given = template if isinstance(template, dict) else {}
    language = given.get("language")
    code = language.get("code") if isinstance(language, dict) else None
    if (given.get("name"), code) not in approved:
        raise SendRefusal(100, "The template does not exist or is not approved.")
    for component in given.get("components", ()):
        if component.get("type") != "body" or not isinstance(component.get("parameters"), list):
            raise SendRefusal(100, "The components of the template are wrong.")


class Windows:
    """10/2018278: messages only within 24 hours of what the customer did last."""

    def __init__(self) -> None:
        self._opened_at: dict[tuple[str, str], datetime] = {}

    def open(self, page_id: str, customer: str, now: datetime) -> None:
        """A customer has written, pressed a button or reacted."""
        self._opened_at[page_id, customer] = now

    def is_open(self, page_id: str, customer: str, now: datetime) -> bool:
        """At exactly 24 hours it is not."""
        opened_at = self._opened_at.get((page_id, customer))
        return opened_at is not None and now < opened_at + WINDOW
