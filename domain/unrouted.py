"""Deliveries for accounts that nobody holds. Stream `unrouted:{platform}:{account}` (S10).

They wait in the installation's own organisation, sealed with its key, until an org connects.
"""

from domain.event import Event, Sealed, stored_as


def stream_of(platform: str, account: str) -> str:
    """The stream where deliveries for one account wait."""
    return f"unrouted:{platform}:{account}"


@stored_as("unrouted.delivery_kept")
class DeliveryKept(Event, frozen=True, kw_only=True):
    """One part of a webhook, as received, for an account that nobody holds."""

    delivery: Sealed


@stored_as("unrouted.handed_over")
class DeliveriesHandedOver(Event, frozen=True, kw_only=True):
    """Everything before this event went to the organisation that connected the account."""

    organisation_id: str
    count: int
