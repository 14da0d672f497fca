"""What happens in a chat: the events of stream `chat:{id}`, whose state is in `chat.py`."""

from datetime import datetime

from domain.event import Event, Sealed, stored_as


@stored_as("chat.started")
class ChatStarted(Event, frozen=True, kw_only=True):
    """A customer and an account met for the first time, or a group did (C19)."""

    chat_id: str
    platform: str
    account_id: str
    contact_id: str
    group: bool = False
    started_by: str | None = None  # The service that wrote first, if it was not the customer.


@stored_as("chat.message_received")
class MessageReceived(Event, frozen=True, kw_only=True):
    """A customer's message. `key` is a keyed hash of the platform's id, which stays sealed."""

    message_id: str
    kind: str
    at: datetime  # The platform's time, unless it lies too far ahead (C0).
    content: Sealed
    key: bytes
    quotes: bytes | None = None  # Key of the message it answers.
    member: str | None = None  # In a group: the contact who wrote (C19), if one is named.
    files: int = 0  # How many the platform keeps for us to fetch (C9).
    referred: bool = False  # The customer came by an ad or a Page's button.


@stored_as("chat.echo_received")
class EchoReceived(Event, frozen=True, kw_only=True):
    """The business wrote this outside of every service, on the phone for instance (C17)."""

    message_id: str
    kind: str
    at: datetime
    content: Sealed
    key: bytes
    quotes: bytes | None = None
    files: int = 0


@stored_as("chat.reaction_received")
class ReactionReceived(Event, frozen=True, kw_only=True):
    """A reaction to the message `target`, which may come later; None takes it back (C17)."""

    target: bytes
    at: datetime
    content: Sealed | None = None
    member: str | None = None
    echo: bool = False


@stored_as("chat.window_opened")
class WindowOpened(Event, frozen=True, kw_only=True):
    """The customer did something that is no message and may be answered all the same (N1)."""

    at: datetime
    by: str  # What it was: reaction, referral.


@stored_as("chat.edit_received")
class EditReceived(Event, frozen=True, kw_only=True):
    """The message `target` reads otherwise from now on; the latest edit holds (C17)."""

    target: bytes
    at: datetime
    content: Sealed
    echo: bool = False


@stored_as("chat.unsend_received")
class UnsendReceived(Event, frozen=True, kw_only=True):
    """Its author took the message `target` back; nobody is shown it any more (C17)."""

    target: bytes
    at: datetime
    echo: bool = False


@stored_as("chat.reply_requested")
class ReplyRequested(Event, frozen=True, kw_only=True):
    """A message to the customer is to be sent: durable first, then sent (N3)."""

    message_id: str
    channel_id: str
    service: str
    user_id: str
    kind: str
    at: datetime
    content: Sealed
    template: str | None = None  # `<name>/<language>`; templates may leave outside the window.
    category: str | None = None
    quotes: bytes | None = None
    retry_of: str | None = None
    conversation: str | None = None  # Where it is billed (L1): named after its opening answer.
    in_window: bool | None = None  # Whether free text was possible; some pricing rules ask.
    in_entry_point: bool = False  # Whether it fell into a free one; as above.
    tag: str | None = None  # By which the platform takes it after its window (N1).
    media_id: str | None = None  # The upload that goes with it (C9).


@stored_as("chat.send_started")
class SendStarted(Event, frozen=True, kw_only=True):
    """A dispatcher took the message: from here until the answer, its fate is unknown (N3)."""

    message_id: str
    attempt: int
    dispatcher: str
    at: datetime | None = None  # On platforms that know a message again, for a while.


@stored_as("chat.send_deferred")
class SendDeferred(Event, frozen=True, kw_only=True):
    """The platform has not taken it and is to be asked again (N3)."""

    message_id: str
    reason: str
    retry_at: datetime
    unanswered_since: datetime | None = None  # Since then it may have it; it knows it by its key.


@stored_as("chat.message_sent")
class MessageSent(Event, frozen=True, kw_only=True):
    """The platform took it under the id whose keyed hash is `key`."""

    message_id: str
    key: bytes
    platform: Sealed | None = None  # The id itself.
    quote_token: Sealed | None = None  # What it is quoted by, where that is not its id.


@stored_as("chat.send_uncertain")
class SendUncertain(Event, frozen=True, kw_only=True):
    """The answer was lost; only a receipt, an echo or a person can tell (N3)."""

    message_id: str
    reason: str


@stored_as("chat.message_failed")
class MessageFailed(Event, frozen=True, kw_only=True):
    """It was not sent and will not be: refused by the platform, too late, or discarded."""

    message_id: str
    reason: str
    error_code: int | None = None
    user_id: str | None = None  # Who discarded it.


@stored_as("chat.receipt_received")
class ReceiptReceived(Event, frozen=True, kw_only=True):
    """What the platform says became of a message, known to us yet or not (C15)."""

    key: bytes
    status: str
    at: datetime
    message_id: str | None = None  # Where the platform gave our own mark back.
    participant: bytes | None = None  # In a group: keyed hash of the member's address.
    error_code: int | None = None
    detail: Sealed | None = None
    reason: str | None = None  # Our word for the error, as in `MessageFailed`.


@stored_as("chat.assigned")
class ChatAssigned(Event, frozen=True, kw_only=True):
    """The chat has this owner in this service (S5)."""

    service: str
    owner: str
    at: datetime
    user_id: str | None = None
    previous: str | None = None


@stored_as("chat.unassigned")
class ChatUnassigned(Event, frozen=True, kw_only=True):
    """The chat has no owner in this service."""

    service: str
    previous: str
    user_id: str | None = None


@stored_as("chat.closed")
class ChatClosed(Event, frozen=True, kw_only=True):
    """Done with, in this service; a customer's message opens it everywhere (C4)."""

    service: str
    user_id: str | None = None


@stored_as("chat.opened")
class ChatOpened(Event, frozen=True, kw_only=True):
    """An agent opened it again in this service."""

    service: str
    user_id: str | None = None


@stored_as("chat.blocked")
class CustomerBlocked(Event, frozen=True, kw_only=True):
    """This service wants to hear nothing more from the customer (C7)."""

    service: str
    user_id: str | None = None


@stored_as("chat.unblocked")
class CustomerUnblocked(Event, frozen=True, kw_only=True):
    """This service listens to the customer again."""

    service: str
    user_id: str | None = None
