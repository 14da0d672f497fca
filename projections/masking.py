"""What a service is shown of a message (S4). The only place that decides it.

Everything that is built for a viewer goes through `shown_to`: lists, the timeline, a refusal that
shows a message. It comes before content is opened, so that what is masked was never readable.
"""

from datetime import datetime
from typing import Generic, Protocol, TypeVar

import msgspec

from domain.organisation import Masking


class Message(Protocol):
    """What the decision looks at, and what a masked message still shows."""

    @property
    def message_id(self) -> str:
        """Our id."""

    @property
    def direction(self) -> str:
        """`inbound` or `outbound`."""

    @property
    def at(self) -> datetime:
        """When it was written."""

    @property
    def status(self) -> str:
        """What became of it."""

    @property
    def service(self) -> str | None:
        """The service that sent it; None for customers, echoes and flows."""


MessageType = TypeVar("MessageType", bound=Message)


class Visible(msgspec.Struct, Generic[MessageType], frozen=True):
    """The viewer may see all of it."""

    message: MessageType


class Masked(msgspec.Struct, frozen=True):
    """The viewer sees that there is a message, and nothing else."""

    message_id: str
    direction: str
    at: datetime
    status: str
    service: str


def shown_to(
    viewing_service: str, message: MessageType, *, policy: Masking
) -> Visible[MessageType] | Masked:
    """What a service sees of a message under its own masking policy. Spec S4."""
    service = message.service
    if policy == "none" or service is None or service == viewing_service:
        return Visible(message)
    if message.direction == "inbound":
        return Visible(message)
    return Masked(
        message_id=message.message_id,
        direction=message.direction,
        at=message.at,
        status=message.status,
        service=service,
    )
