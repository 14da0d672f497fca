"""Media: files that people send, uploaded by us or fetched from a platform (C9).

The bytes are sealed with a key of their own, and that key is sealed in the log for whoever the
file belongs to: at first its uploader, for a while, then each contact that it was sent to. So a
contact's destroyed key erases their files too (E4), and a file is never sealed anew to be sent.
"""

from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from domain.event import Event, Sealed, stored_as
from domain.organisation import Organisation
from domain.refusal import FileTooLarge, Forbidden, NotFound, ViewOnly, WrongFile

# How long an uploaded file can be sent before it is forgotten.
UPLOAD_LIFETIME = timedelta(hours=24)

NO_SUCH_UPLOAD = "There is no such file; upload it, and send it within 24 hours."

# The largest file that any platform takes from us, or gives us.
FILE_BYTES_MAX = 100 << 20

NAME_LENGTH_MAX = 240

ICON_BYTES_MAX = 1 << 20
ICON_TYPES = ("image/jpeg", "image/png")


def stream_of(media_id: str) -> str:
    """The stream that holds one upload's events."""
    return f"media:{media_id}"


def key_of(media_id: str) -> str:
    """The id of the key that seals an upload until it belongs to a contact."""
    return f"media:{media_id}"


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known of a file. Stored sealed, as a whole: it holds the file's key."""

    media_id: str
    kind: str  # image, audio, video, document, sticker
    mime_type: str
    byte_count: int
    sha256: str  # Of the bytes in clear.
    name: str | None
    address: str  # Where the sealed bytes are: their hash.
    key: bytes  # What opens them.
    is_still: bool = False  # A picture of a type that can move, which is known not to.


@stored_as("media.uploaded")
class MediaUploaded(Event, frozen=True, kw_only=True):
    """A user put a file here, to be sent. Its key is destroyed when nobody has sent it by then."""

    media_id: str
    user_id: str
    expires_at: datetime
    address: str  # In clear, so that the bytes can be removed once they cannot be read any more.
    file: Sealed


@stored_as("chat.media_stored")
class MediaStored(Event, frozen=True, kw_only=True):
    """A file of a message that came was fetched from the platform."""

    message_id: str
    part: int  # Which of the message's files, from 0.
    media_id: str
    address: str
    file: Sealed


@stored_as("chat.media_unavailable")
class MediaUnavailable(Event, frozen=True, kw_only=True):
    """A file of a message that came cannot be had any more."""

    message_id: str
    part: int
    reason: str


@stored_as("channel.icon_changed")
class IconChanged(Event, frozen=True, kw_only=True):
    """The picture that all the channel's services show (C9, S12)."""

    media_id: str
    address: str
    icon: Sealed  # Who looks at the channel may see it; it is nobody's personal data.
    user_id: str | None = None


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """An uploaded file as decisions see it."""

    media_id: str | None = None
    user_id: str = ""
    expires_at: datetime | None = None
    file: Sealed | None = None


def evolve(upload: Upload, event: Event) -> Upload:
    """The upload after one more fact."""
    match event:
        case MediaUploaded():
            return replace(
                upload,
                media_id=event.media_id,
                user_id=event.user_id,
                expires_at=event.expires_at,
                file=event.file,
            )
        case _:
            return upload


def require_own(upload: Upload, *, user_id: str, now: datetime) -> Sealed:
    """The sealed file of an upload that this user may still send. Raises NotFound."""
    if (
        upload.file is None
        or upload.expires_at is None
        or upload.user_id != user_id
        or now >= upload.expires_at
    ):
        raise NotFound(NO_SUCH_UPLOAD)
    return upload.file


def require_icon(file: StoredFile) -> None:
    """Raises for what cannot be a channel's icon. Spec C9."""
    if file.mime_type not in ICON_TYPES:
        raise WrongFile(f"An icon is one of {', '.join(ICON_TYPES)}; this is {file.mime_type}.")
    if file.byte_count > ICON_BYTES_MAX:
        raise FileTooLarge(
            f"An icon has at most {ICON_BYTES_MAX} bytes; this file has {file.byte_count}.",
            bytes=file.byte_count,
            bytes_max=ICON_BYTES_MAX,
        )


def require_may_upload(organisation: Organisation, user_id: str) -> None:
    """Raises unless the user may write to customers in some service."""
    user = organisation.users[user_id]
    if user.role == "auditor":
        raise Forbidden("Auditors read; they do not write.")
    if user.role != "admin" and "reply" not in user.services.values():
        raise ViewOnly
