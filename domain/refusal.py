"""Refusals: commands that we understood and do not allow. The domain knows no status codes."""

from typing import Any, ClassVar


class Refusal(Exception):
    """Not allowed."""

    code: ClassVar[str] = "refused"

    def __init__(self, detail: str | None = None, **facts: Any) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip()
        self.facts = facts
        super().__init__(self.detail)


class Invalid(Refusal):
    """The request does not follow the rules of its fields."""

    code = "invalid"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}", errors=[{"field": field, "message": message}])


class NotFound(Refusal):
    """There is no such thing in this organisation."""

    code = "not_found"


class NoSuchUser(NotFound):
    """There is no such user in this organisation."""

    def __init__(self, field: str) -> None:
        """`field` is the one that names them."""
        super().__init__(errors=[{"field": field, "message": "there is no such user"}])


class NotConnected(Refusal):
    """This service is not connected to the channel of this chat; connect or enable it first."""

    code = "not_connected"


class Forbidden(Refusal):
    """Your role does not allow this."""

    code = "forbidden"


class ViewOnly(Refusal):
    """You may read this service's chats but not answer them."""

    code = "view_only"


class NotOwner(Refusal):
    """In this service only the owner of a chat may reply; assign it to yourself first."""

    code = "not_owner"


class NotParent(Refusal):
    """Only the parent service manages the channel itself."""

    code = "not_parent"


class OwnedHere(Refusal):
    """The chat already has an owner in this service; repeat with confirm to replace them."""

    code = "owned_here"


class OwnedElsewhere(Refusal):
    """The chat has an owner in another service; repeat with confirm to take it in this one."""

    code = "owned_elsewhere"


class AnsweredMeanwhile(Refusal):
    """Another reply was queued since; repeat with confirm to send yours as well."""

    code = "answered_meanwhile"


class AccountTaken(Refusal):
    """This account belongs to another organisation until its admin releases it."""

    code = "account_taken"


class UsedElsewhere(Refusal):
    """The service uses this account through another channel; disconnect it there first."""

    code = "used_elsewhere"


class ChannelActive(Refusal):
    """Services are still connected to this channel; disconnect them before you release it."""

    code = "channel_active"


class ChannelDormant(Refusal):
    """No service is connected to this channel any more; connect or enable one first."""

    code = "channel_dormant"


class ChatBlocked(Refusal):
    """This service has blocked the customer; unblock the chat before you write."""

    code = "chat_blocked"


class WindowClosed(Refusal):
    """The customer last wrote too long ago for a free message; send an approved template."""

    code = "window_closed"


class QuotaExceeded(Refusal):
    """As many messages as the platform allows were sent to this customer."""

    code = "quota_exceeded"


class OptedOut(Refusal):
    """The customer wants no marketing from this account until they say otherwise."""

    code = "opted_out"


class EnoughMarketing(Refusal):
    """The platform says that the customer was sent enough marketing; wait for a day."""

    code = "marketing_limited"


class CannotStart(Refusal):
    """On this platform the business cannot write first."""

    code = "cannot_start"


class TemplateNotApproved(Refusal):
    """Only an approved template can be sent."""

    code = "template_not_approved"


class ParameterMissing(Refusal):
    """Every parameter of a template, and every field of a canned reply, must be filled."""

    code = "parameter_missing"


class ServiceNotEligible(Refusal):
    """This service cannot be connected to a messaging account."""

    code = "service_not_eligible"


class FileTooLarge(Refusal):
    """The file is larger than what is taken."""

    code = "too_large"


class WrongFile(Refusal):
    """The file is not of a type that is taken."""

    code = "wrong_media"
