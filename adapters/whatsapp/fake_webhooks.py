"""What the fake Cloud API says by webhook: signed, late, twice and out of order."""

from datetime import datetime
from random import Random
from typing import Any

import msgspec

from adapters.fakes.meta import JsonObject
from adapters.fakes.plan import schedule
from adapters.whatsapp.fake_rules import FakeAccount, GraphRefusal


class StatusPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Which statuses follow an accepted message, and how badly they travel."""

    statuses: tuple[str, ...] = ("sent", "delivered", "read")
    failure_code: int = 131026  # What a status `failed` says.
    delay_seconds: float = 0.0  # Before the first and between any two.
    twice: float = 0.0  # Probability that a status comes twice.
    out_of_order: float = 0.0  # Probability that a message's statuses are shuffled.

    def schedule(self, random: Random) -> list[tuple[float, str]]:
        """The statuses of one message in the order of their delivery, with seconds from now."""
        return schedule(
            self.statuses,
            random,
            delay_seconds=self.delay_seconds,
            twice=self.twice,
            out_of_order=self.out_of_order,
        )


def envelope(account: FakeAccount, field: str, **value: Any) -> JsonObject:
    """One change of one account."""
    metadata = {
        "display_phone_number": account.display_phone_number,
        "phone_number_id": account.phone_number_id,
    }
    content = {"messaging_product": "whatsapp", "metadata": metadata, **value}
    change = {"value": content, "field": field}
    entry = {"id": account.business_account_id, "changes": [change]}
    return {"object": "whatsapp_business_account", "entry": [entry]}


def status_item(
    status: str, *, platform_id: str, sent: JsonObject, at: datetime, failure_code: int
) -> JsonObject:
    """One status of a message, as far as it follows from what was sent."""
    item: JsonObject = {
        "id": platform_id,
        "status": status,
        "timestamp": str(int(at.timestamp())),
        **_recipient(sent),
    }
    if "biz_opaque_callback_data" in sent:
        item["biz_opaque_callback_data"] = sent["biz_opaque_callback_data"]
    if status == "failed":
        item["errors"] = [GraphRefusal(failure_code).as_status_error()]
    elif status in ("sent", "delivered"):
        item["pricing"] = _pricing(sent)
    return item


def _recipient(sent: JsonObject) -> JsonObject:
    if sent.get("recipient_type") == "group":
        return {"recipient_id": sent["to"], "recipient_type": "group"}
    if "to" in sent:
        return {"recipient_id": sent["to"].removeprefix("+")}
    return {"recipient_user_id": sent["recipient"]}


def _pricing(sent: JsonObject) -> JsonObject:
    is_template = sent.get("type") == "template"
    return {
        "billable": is_template,
        "pricing_model": "PMP",
        "type": "regular" if is_template else "free_customer_service",
        "category": "utility" if is_template else "service",
    }
