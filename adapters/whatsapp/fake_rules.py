"""The rules by which the fake Cloud API takes or refuses a message, as Meta documents them."""

import base64
from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random
from typing import Any

import msgspec

from adapters.fakes.meta import JsonObject, MetaRefusal

TEXT_LENGTH_MAX = 4096
CAPTION_LENGTH_MAX = 1024
MARK_LENGTH_MAX = 512
WINDOW = timedelta(hours=24)

# One message in six seconds to the same customer; up to 45 may be borrowed from the future.
PAIR_INTERVAL = timedelta(seconds=6)
PAIR_BURST = 45

MEDIA_TYPES = ("image", "audio", "video", "document", "sticker")

# Code: HTTP status and title, from "Error codes" of the Cloud API.
ERRORS: dict[int, tuple[int, str]] = {
    0: (401, "AuthException"),
    1: (400, "API Unknown"),
    2: (503, "API Service"),
    3: (500, "API Method"),
    4: (429, "API Too Many Calls"),
    10: (403, "Permission Denied"),
    100: (400, "Invalid parameter"),
    190: (401, "Access token has expired"),
    368: (403, "Temporarily blocked for policies violations"),
    2500: (404, "Unknown path components"),
    80007: (429, "Rate limit issues"),
    130429: (429, "Rate limit hit"),
    131000: (500, "Something went wrong"),
    131008: (400, "Required parameter is missing"),
    131009: (400, "Parameter value is not valid"),
    131016: (500, "Service unavailable"),
    131026: (400, "Message undeliverable"),
    131031: (403, "Account has been locked"),
    131042: (400, "Business eligibility payment issue"),
    131047: (400, "Re-engagement message"),
    131048: (429, "Spam rate limit hit"),
    131050: (400, "User has stopped marketing messages"),
    131051: (400, "Message type unknown"),
    131056: (429, "(Business Account, Consumer Account) pair rate limit hit"),
    131057: (500, "Account in maintenance mode"),
    132001: (404, "Template does not exist"),
    133010: (400, "Phone number not registered"),
}


class FakeAccount(msgspec.Struct, frozen=True, kw_only=True):
    """A business number that the fake knows, and the token that is good for it."""

    phone_number_id: str = "527719004413008"
    access_token: str = "fake-access-token"  # noqa: S105 - It guards nothing.
    business_account_id: str = "418820007715532"
    display_phone_number: str = "12025550100"
    verified_name: str = "Fake Business"


class GraphRefusal(MetaRefusal):
    """An answer of the Cloud API for a request that is not taken."""

    def __init__(
        self, code: int, details: str = "", *, subcode: int | None = None, status: int | None = None
    ) -> None:
        usual_status, title = ERRORS.get(code, (400, "Unknown error"))
        super().__init__(
            code, title, status=usual_status if status is None else status, subcode=subcode
        )
        self.details = details or title

    def body(self, trace_id: str) -> JsonObject:
        """What Graph answers."""
        answer = super().body(trace_id)
        data = {"messaging_product": "whatsapp", "details": self.details}
        return {"error": answer["error"] | {"error_data": data}}

    def as_status_error(self) -> JsonObject:
        """The same error as a status webhook holds it."""
        return {
            "code": self.code,
            "title": self.title,
            "message": self.title,
            "error_data": {"details": self.details},
        }


def check_message(body: Any) -> JsonObject:
    """The body of a message that may be sent. Raises GraphRefusal."""
    if not isinstance(body, dict):
        raise GraphRefusal(100, "The body must be a JSON object.")
    if body.get("messaging_product") != "whatsapp":
        raise GraphRefusal(100, "The parameter messaging_product is required.")
    _check_recipient(body)
    kind = body.get("type", "text")
    part = body.get(kind) if isinstance(kind, str) else None
    check = CHECKS.get(kind) if isinstance(kind, str) else None
    if check is None:
        raise GraphRefusal(100, "Param type must be one of the message types.")
    if not isinstance(part, dict):
        raise GraphRefusal(131008, f"Parameter {kind} is missing.")
    check(part)
    mark = body.get("biz_opaque_callback_data")
    if mark is not None and not (isinstance(mark, str) and len(mark) <= MARK_LENGTH_MAX):
        raise GraphRefusal(
            100, f"biz_opaque_callback_data has at most {MARK_LENGTH_MAX} characters."
        )
    return body


def _check_recipient(body: JsonObject) -> None:
    to, user_id = body.get("to"), body.get("recipient")
    if body.get("recipient_type", "individual") == "group":
        if not (isinstance(to, str) and to):
            raise GraphRefusal(131008, "Parameter to must be the id of a group.")
        return
    if to is None:
        if not (isinstance(user_id, str) and "." in user_id):
            raise GraphRefusal(131008, "Parameter to or recipient is missing.")
        return
    digits = to.removeprefix("+") if isinstance(to, str) else ""
    if not (digits.isascii() and digits.isdigit() and 6 <= len(digits) <= 15):
        raise GraphRefusal(131009, "Parameter to is not a telephone number.")


def _check_text(part: JsonObject) -> None:
    body = part.get("body")
    if not isinstance(body, str) or not body:
        raise GraphRefusal(131008, "Parameter text.body is missing.")
    if len(body) > TEXT_LENGTH_MAX:
        raise GraphRefusal(
            100, f"Param text.body must be at most {TEXT_LENGTH_MAX} characters long."
        )


def _check_template(part: JsonObject) -> None:
    language = part.get("language")
    if not isinstance(part.get("name"), str) or not isinstance(language, dict):
        raise GraphRefusal(131008, "Parameters template.name and template.language are required.")
    if not isinstance(language.get("code"), str):
        raise GraphRefusal(131008, "Parameter template.language.code is missing.")


def _check_media(part: JsonObject) -> None:
    if not isinstance(part.get("id", part.get("link")), str):
        raise GraphRefusal(131008, "Parameter id or link is missing.")
    if len(part.get("caption", "")) > CAPTION_LENGTH_MAX:
        raise GraphRefusal(100, f"A caption has at most {CAPTION_LENGTH_MAX} characters.")


def _check_reaction(part: JsonObject) -> None:
    if not isinstance(part.get("message_id"), str):
        raise GraphRefusal(131008, "Parameter reaction.message_id is missing.")


def _check_nothing(_: JsonObject) -> None:
    """The fake looks no further into these."""


CHECKS: dict[str, Callable[[JsonObject], None]] = {
    "text": _check_text,
    "template": _check_template,
    **dict.fromkeys(MEDIA_TYPES, _check_media),
    "reaction": _check_reaction,
    **dict.fromkeys(("interactive", "location", "contacts"), _check_nothing),
}


class PairLimit:
    """131056: so many messages to one customer, and no more."""

    def __init__(self) -> None:
        self._free_at: dict[tuple[str, str], datetime] = {}

    def take(self, account_id: str, recipient: str, now: datetime) -> None:
        """Count one message. Raises GraphRefusal."""
        free_at = max(self._free_at.get((account_id, recipient), now), now)
        if free_at - now > PAIR_INTERVAL * (PAIR_BURST - 1):
            raise GraphRefusal(131056, "Too many messages to the same recipient in a short time.")
        self._free_at[account_id, recipient] = free_at + PAIR_INTERVAL


class Windows:
    """131047: free messages only within 24 hours of the customer's last one."""

    def __init__(self) -> None:
        self._opened_at: dict[tuple[str, str], datetime] = {}

    def open(self, account_id: str, customer: str, now: datetime) -> None:
        """A customer has written."""
        self._opened_at[account_id, customer] = now

    def check(self, account_id: str, customer: str, now: datetime) -> None:
        """Raises GraphRefusal where the window is closed; at exactly 24 hours it is."""
        opened_at = self._opened_at.get((account_id, customer))
        if opened_at is None or now >= opened_at + WINDOW:
            raise GraphRefusal(
                131047,
                "Message failed to send because more than 24 hours have passed since the customer "
                "last replied to this number.",
            )


def new_wamid(random: Random, person: str, *, inbound: bool) -> str:
    """A message id as WhatsApp makes them: the customer's number is inside."""
    who = person.encode()[:255]
    direction = b"\x12" if inbound else b"\x11"
    serial = f"{random.getrandbits(80):020X}".encode()
    packed = b"\x1c\x18%c%s\x15\x02\x00%s\x18\x14%s\x00" % (len(who), who, direction, serial)
    return f"wamid.{base64.b64encode(packed).decode()}"
