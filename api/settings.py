"""Configuration: environment variables, each with its meaning and where its value came from."""

import base64
import binascii
import os
import re
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

MASTER_KEY_BYTES = 32
PAYMENT_PROVIDERS = ("manual", "stripe")
NEEDED_BY_STRIPE = (
    "stripe_secret_key",
    "stripe_customer",
    "stripe_payment_method",
    "stripe_webhook_secrets",
)


_BUCKET = re.compile(
    r"s3://(?P<name>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?P<folder>(/[\w.-]*[\w-])*/?)", re.ASCII
)
# No name and password in it, which would be shown.
_ENDPOINT = re.compile(r"https?://[\w.-]+(:\d{1,5})?(/[\w./-]*)?", re.ASCII)


class SettingsError(Exception):
    """A variable has a value that cannot be used; the text names it and says what would do."""


def _text(value: str) -> str:
    return value


def _yes_or_no(value: str) -> bool:
    if value.lower() in ("on", "1", "true", "yes"):
        return True
    if value.lower() in ("off", "0", "false", "no"):
        return False
    raise ValueError("expected on or off")


def _provider(value: str) -> str:
    if value not in PAYMENT_PROVIDERS:
        raise ValueError(f"expected {' or '.join(PAYMENT_PROVIDERS)}")
    return value


def _number(value: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise ValueError("expected a whole number that is not negative")
    return int(value)


def _database(value: str) -> str:
    try:
        conninfo_to_dict(value)
    except ProgrammingError as error:
        raise ValueError("expected an address such as postgresql://user@host/name") from error
    return value


def _place(value: str) -> "Path | Bucket":
    if "://" not in value:
        return Path(value)
    found = _BUCKET.fullmatch(value)
    if found is None:
        raise ValueError("expected a folder, or a bucket such as s3://bucket/folder")
    return Bucket(found["name"], (found["folder"] or "").strip("/"))


def _endpoint(value: str) -> str:
    if not _ENDPOINT.fullmatch(value):
        raise ValueError("expected an address such as https://s3.example.com")
    return value.rstrip("/")


def _list(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _key(value: str) -> bytes:
    try:
        key = base64.b64decode(value, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != MASTER_KEY_BYTES:
        raise ValueError(f"expected {MASTER_KEY_BYTES} bytes in base64")
    return key


def _variable(
    name: str,
    meaning: str,
    *,
    default: Any = None,
    read: Callable[[str], Any] = _text,
    secret: bool = False,
) -> Any:
    metadata = {"variable": name, "meaning": meaning, "read": read, "secret": secret}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Bucket:
    """A folder in a bucket of S3, or of what speaks like it."""

    name: str
    folder: str

    def __str__(self) -> str:
        return f"s3://{self.name}/{self.folder}".rstrip("/")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that can be configured."""

    home: Path = _variable(
        "TRUNKLINE_HOME",
        "Folder of the embedded database, the generated master key and, in media/, the files.",
        default=Path(".trunkline"),
        read=Path,
    )
    database_url: str | None = _variable(
        "TRUNKLINE_DATABASE_URL",
        "PostgreSQL to use; without it an embedded one runs under TRUNKLINE_HOME.",
        read=_database,
        secret=True,
    )
    migration_database_url: str | None = _variable(
        "TRUNKLINE_MIGRATION_DATABASE_URL",
        "Address of the database's owner, for `trunkline migrate`, where it differs.",
        read=_database,
        secret=True,
    )
    postgres_bin: Path | None = _variable(
        "TRUNKLINE_POSTGRES_BIN",
        "Folder with PostgreSQL programs to use for the embedded server.",
        read=Path,
    )
    master_key: bytes | None = _variable(
        "TRUNKLINE_MASTER_KEY",
        "Base64 of 32 bytes that wrap every organisation's keys.",
        read=_key,
        secret=True,
    )
    master_key_previous: bytes | None = _variable(
        "TRUNKLINE_MASTER_KEY_PREVIOUS",
        "The master key before the present one, while it is being changed.",
        read=_key,
        secret=True,
    )
    meta_app_secrets: tuple[str, ...] = _variable(
        "TRUNKLINE_META_APP_SECRET",
        "App secret that signs Meta's webhooks; two, comma-separated, during a change.",
        default=(),
        read=_list,
        secret=True,
    )
    meta_verify_token: str | None = _variable(
        "TRUNKLINE_META_VERIFY_TOKEN",
        "What Meta must repeat when a webhook is set up.",
        secret=True,
    )
    wechat_clock_tolerance_seconds: int = _variable(
        "TRUNKLINE_WECHAT_CLOCK_TOLERANCE_SECONDS",
        "How far WeChat's clock may be from ours; 0 for any distance, to read recorded deliveries.",
        default=600,
        read=_number,
    )
    whatsapp_api_base: str = _variable(
        "TRUNKLINE_WHATSAPP_API_BASE",
        "Where WhatsApp's API is called; a version of Graph at its end takes the place of ours.",
        default="https://graph.facebook.com",
    )
    messenger_api_base: str = _variable(
        "TRUNKLINE_MESSENGER_API_BASE",
        "Where Messenger's API is called; a version of Graph at its end takes the place of ours.",
        default="https://graph.facebook.com",
    )
    line_api_base: str = _variable(
        "TRUNKLINE_LINE_API_BASE",
        "Where LINE's API is called.",
        default="https://api.line.me",
    )
    telegram_api_base: str = _variable(
        "TRUNKLINE_TELEGRAM_API_BASE",
        "Where Telegram's API is called.",
        default="https://api.telegram.org",
    )
    wechat_api_base: str = _variable(
        "TRUNKLINE_WECHAT_API_BASE",
        "Where WeChat's API is called.",
        default="https://api.weixin.qq.com",
    )
    line_data_api_base: str = _variable(
        "TRUNKLINE_LINE_DATA_API_BASE",
        "Where LINE gives out the files that people send.",
        default="https://api-data.line.me",
    )
    media_url: Path | Bucket | None = _variable(
        "TRUNKLINE_MEDIA_URL",
        "Where files are kept, sealed: a folder (TRUNKLINE_HOME/media without it), or"
        " s3://bucket/folder.",
        read=_place,
    )
    s3_endpoint: str | None = _variable(
        "TRUNKLINE_S3_ENDPOINT",
        "Where the bucket is reached, if it is not Amazon's.",
        read=_endpoint,
    )
    s3_region: str = _variable(
        "TRUNKLINE_S3_REGION",
        "The bucket's region.",
        default="us-east-1",
    )
    s3_access_key_id: str | None = _variable(
        "TRUNKLINE_S3_ACCESS_KEY_ID",
        "Who asks the bucket; without it, the machine's own AWS identity (instance role).",
        secret=True,
    )
    s3_secret_access_key: str | None = _variable(
        "TRUNKLINE_S3_SECRET_ACCESS_KEY",
        "Signs what the bucket is asked.",
        secret=True,
    )
    billing: bool = _variable(
        "TRUNKLINE_BILLING",
        "Whether answers are charged: on or off.",
        default=True,
        read=_yes_or_no,
    )
    rate_cards: Path | None = _variable(
        "TRUNKLINE_RATE_CARDS",
        "Folder with rate cards of your own, as JSON.",
        read=Path,
    )
    payment_provider: str = _variable(
        "TRUNKLINE_PAYMENT_PROVIDER",
        "Who takes the money for credits: manual (an admin's purchase confirms itself) or stripe.",
        default="manual",
        read=_provider,
    )
    stripe_secret_key: str | None = _variable(
        "TRUNKLINE_STRIPE_SECRET_KEY",
        "Stripe's secret or restricted key; it needs to write PaymentIntents only.",
        secret=True,
    )
    stripe_customer: str | None = _variable(
        "TRUNKLINE_STRIPE_CUSTOMER",
        "Stripe's customer who pays for credits (cus_…).",
    )
    stripe_payment_method: str | None = _variable(
        "TRUNKLINE_STRIPE_PAYMENT_METHOD",
        "What that customer pays with, set up for use off session (pm_…).",
    )
    stripe_webhook_secrets: tuple[str, ...] = _variable(
        "TRUNKLINE_STRIPE_WEBHOOK_SECRET",
        "Signs Stripe's webhooks (whsec_…); two, comma-separated, during a change.",
        default=(),
        read=_list,
        secret=True,
    )
    stripe_api_base: str = _variable(
        "TRUNKLINE_STRIPE_API_BASE",
        "Where Stripe's API is called.",
        default="https://api.stripe.com",
    )
    public_url: str | None = _variable(
        "TRUNKLINE_PUBLIC_URL",
        "The address under which platforms reach this server; LINE fetches files from it.",
    )
    rate_limit_per_second: int = _variable(
        "TRUNKLINE_RATE_LIMIT_PER_SECOND",
        "Requests a second for each API key; twice as many at once.",
        default=1000,
        read=_number,
    )
    egress_addresses: tuple[str, ...] = _variable(
        "TRUNKLINE_EGRESS_ADDRESSES",
        "Addresses that calls to platforms come from, for their allow-lists.",
        default=(),
        read=_list,
    )

    @property
    def media_bases(self) -> dict[str, str]:
        """Where each platform's files are asked for."""
        return self.api_bases | {"line": self.line_data_api_base}

    @property
    def media_folder(self) -> Path:
        """Where files are kept, if it is on a disk."""
        return self.media_url if isinstance(self.media_url, Path) else self.home / "media"

    @property
    def media_bucket(self) -> tuple[str, str] | None:
        """The bucket that files are kept in, and a folder there; None: they are on a disk."""
        place = self.media_url
        return (place.name, place.folder) if isinstance(place, Bucket) else None

    @property
    def api_bases(self) -> dict[str, str]:
        """Where each platform's API is called."""
        return {
            "whatsapp": self.whatsapp_api_base,
            "messenger": self.messenger_api_base,
            "line": self.line_api_base,
            "telegram": self.telegram_api_base,
            "wechat": self.wechat_api_base,
        }


@dataclass(frozen=True)
class Described:
    """One variable, as `trunkline config` lists it."""

    variable: str
    meaning: str
    value: str
    source: str


def load(environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from the environment. Raises SettingsError."""
    values = {}
    for each in fields(Settings):
        text = environment.get(each.metadata["variable"])
        if text:
            try:
                values[each.name] = each.metadata["read"](text)
            except ValueError as error:
                name = each.metadata["variable"]
                raise SettingsError(f"{name} cannot be used: {error}.") from error
    settings = Settings(**values)
    if bool(settings.s3_access_key_id) != bool(settings.s3_secret_access_key):
        names = "TRUNKLINE_S3_ACCESS_KEY_ID and TRUNKLINE_S3_SECRET_ACCESS_KEY"
        raise SettingsError(f"{names} are set together or not at all.")
    missing = [name for name in NEEDED_BY_STRIPE if not getattr(settings, name)]
    if settings.payment_provider == "stripe" and missing:
        variables = {each.name: each.metadata["variable"] for each in fields(Settings)}
        names = ", ".join(variables[name] for name in missing)
        raise SettingsError(f"TRUNKLINE_PAYMENT_PROVIDER=stripe needs {names}.")
    return settings


def describe(settings: Settings, environment: Mapping[str, str] = os.environ) -> list[Described]:
    """Every variable with its meaning, its value (secrets hidden) and where that came from."""
    described = []
    for each in fields(Settings):
        value = getattr(settings, each.name)
        given = bool(environment.get(each.metadata["variable"]))
        shown = "" if value in (None, ()) else str(value)
        if each.metadata["secret"] and shown:
            shown = "(hidden)"
        if isinstance(value, tuple) and not each.metadata["secret"]:
            shown = ", ".join(value)
        if isinstance(value, bool):
            shown = "on" if value else "off"
        described.append(
            Described(
                each.metadata["variable"],
                each.metadata["meaning"],
                shown,
                "environment" if given else "default",
            )
        )
    return described


class WritesWhole(Protocol):
    """How a file is made of which there must never be a half."""

    def __call__(self, path: Path, data: bytes, *, mode: int) -> None:
        """Have all of it on the disk before it has its name. Raises FileExistsError."""


def master_key(settings: Settings, *, embedded: bool, write: WritesWhole) -> bytes:
    """The master key; made and kept under the home when the database is embedded.

    Raises SettingsError for another database without one: a key that lies beside the data
    protects nothing.
    """
    if settings.master_key is not None:
        return settings.master_key
    if not embedded:
        raise SettingsError(
            "TRUNKLINE_MASTER_KEY is needed with TRUNKLINE_DATABASE_URL. Make one with:\n"
            "  python3 -c 'import base64, secrets;"
            " print(base64.b64encode(secrets.token_bytes(32)).decode())'"
        )
    path = settings.home / "master.key"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        made = base64.b64encode(secrets.token_bytes(MASTER_KEY_BYTES))
        with suppress(FileExistsError):  # Another process was first, and its key is ours.
            write(path, made, mode=0o600)
    return _kept(path)


def _kept(path: Path) -> bytes:
    try:
        return _key(path.read_text(encoding="utf-8").strip())
    except ValueError as error:
        raise SettingsError(
            f"{path} does not hold a master key: {error}. Bring it back from a backup:"
            " without it nothing that is sealed can be read."
        ) from error
