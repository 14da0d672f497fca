"""What an account is reached with: each platform's secrets, their form, and how they are replaced.

They stand sealed in the directory and nowhere else (P4). What a platform wants pasted and nobody
gave is made by us and shown once.
"""

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

import msgspec
from msgspec.structs import replace

from domain.refusal import Invalid

# How long replaced secrets are still good: platforms and people change them at different times.
REPLACED_LIFETIME = timedelta(hours=24)

# Each one costs every delivery a comparison.
REPLACED_MAX = 8

WECHAT_MODES = ("plain", "compatible", "secure")

Credentials = Mapping[str, str]

# 32 bytes that only this organisation can make, for one of an account's secrets, by its name.
Seed = Callable[[str], bytes]


class Form(msgspec.Struct, frozen=True):
    """What one credential may look like, and how to say so."""

    pattern: str
    says: str


ANYTHING = Form(r"[\s\S]+", "must not be empty")
VISIBLE = Form(r"[!-~]{1,256}", "must be 1 to 256 visible ASCII characters")

FORMS: Mapping[str, Mapping[str, Form]] = {
    "whatsapp": {"access_token": ANYTHING},
    "messenger": {"access_token": ANYTHING},
    "line": {"channel_secret": VISIBLE, "access_token": ANYTHING},
    "telegram": {
        # Both stand in addresses and headers: Telegram allows no other characters either.
        "bot_token": Form(r"[A-Za-z0-9:_-]{1,256}", "must be a bot token as BotFather gives it"),
        "secret_token": Form(r"[A-Za-z0-9_-]{1,256}", "must be 1 to 256 of A-Z a-z 0-9 _ -"),
    },
    "wechat": {
        "app_id": VISIBLE,
        "app_secret": VISIBLE,
        "token": VISIBLE,
        "encoding_aes_key": Form(r"[A-Za-z0-9+/]{43}", "must be 43 characters of base64"),
        "mode": Form("|".join(WECHAT_MODES), f"must be one of {', '.join(WECHAT_MODES)}"),
    },
}

# Without these nothing can be sent.
NEEDED_TO_SEND: Mapping[str, Sequence[str]] = {
    "whatsapp": ("access_token",),
    "messenger": ("access_token",),
    "line": ("access_token",),
    "telegram": ("bot_token",),
    "wechat": ("app_id", "app_secret"),
}

BASE_62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
WECHAT_TOKEN_LENGTH = 32
WECHAT_KEY_LENGTH = 43


class Replaced(msgspec.Struct, frozen=True, kw_only=True):
    """Credentials that were replaced and are good for a while yet."""

    credentials: dict[str, str]
    until: datetime


class StoredCredentials(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything an account is reached with."""

    current: dict[str, str]
    replaced: list[Replaced] = []

    def live(self, *, now: datetime) -> list[dict[str, str]]:
        """All that a delivery may be signed with, the newest first."""
        return [self.current, *(each.credentials for each in self.replaced if now < each.until)]


def require_form(platform: str, credentials: Credentials) -> None:
    """Raises Invalid for a name that the platform does not have, and for a form it cannot have."""
    forms = FORMS[platform]
    for name, value in credentials.items():
        form = forms.get(name)
        if form is None:
            raise Invalid(f"credentials.{name}", f"must be one of {', '.join(forms)}")
        if not re.fullmatch(form.pattern, value):
            raise Invalid(f"credentials.{name}", form.says)


def require_whole(platform: str, credentials: Credentials) -> None:
    """Raises Invalid where what is there can never open a delivery."""
    if platform != "wechat" or wechat_mode(credentials) == "plain":
        return
    for name in ("app_id", "encoding_aes_key"):
        if name not in credentials:
            raise Invalid(f"credentials.{name}", "is needed in this mode")


def missing_to_send(platform: str, credentials: Credentials) -> str | None:
    """The name of a credential without which the account cannot send, if one is not there."""
    needed = NEEDED_TO_SEND[platform]
    return next((name for name in needed if not credentials.get(name)), None)


def wechat_mode(credentials: Credentials) -> str:
    """Secure with a key and plain without one, unless said otherwise."""
    return credentials.get("mode") or ("secure" if "encoding_aes_key" in credentials else "plain")


def made(platform: str, given: Credentials, seed: Seed) -> dict[str, str]:
    """What a platform wants pasted and was not given."""
    return {name: _MAKERS[name](seed(name)) for name in names_made(platform, given)}


def names_made(platform: str, given: Credentials) -> list[str]:
    """What of that is made by us, by name."""
    wanted = []
    if platform == "telegram":
        wanted = ["secret_token"]
    elif platform == "wechat":
        wanted = ["token"] if wechat_mode(given) == "plain" else ["token", "encoding_aes_key"]
    return [name for name in wanted if name not in given]


def merge(stored: StoredCredentials, given: Credentials, *, now: datetime) -> StoredCredentials:
    """Replace some; what is left out keeps its value, and what was valid stays so for a day."""
    current = {**stored.current, **given}
    if current == stored.current:
        return stored
    ended = Replaced(credentials=stored.current, until=now + REPLACED_LIFETIME)
    before: Sequence[Replaced] = [each for each in stored.replaced if now < each.until]
    return replace(stored, current=current, replaced=[ended, *before][:REPLACED_MAX])


def read(data: bytes) -> StoredCredentials:
    """Credentials as they were stored; at first they were the current ones alone."""
    members = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    if "current" in members:
        return msgspec.json.decode(data, type=StoredCredentials)
    return StoredCredentials(current=msgspec.json.decode(data, type=dict[str, str]))


def _in_base_64(seed: bytes) -> str:
    return base64.urlsafe_b64encode(seed).decode().rstrip("=")


def _in_base_62(seed: bytes, length: int) -> str:
    """WeChat's console takes letters and digits only; 43 of them hold 256 bits."""
    number, digits = int.from_bytes(seed, "big"), []
    for _ in range(length):
        number, digit = divmod(number, len(BASE_62))
        digits.append(BASE_62[digit])
    return "".join(digits)


_MAKERS: Mapping[str, Callable[[bytes], str]] = {
    "secret_token": _in_base_64,
    "token": partial(_in_base_62, length=WECHAT_TOKEN_LENGTH),
    "encoding_aes_key": partial(_in_base_62, length=WECHAT_KEY_LENGTH),
}
