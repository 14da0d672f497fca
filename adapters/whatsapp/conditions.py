"""What WhatsApp's news about a business account mean for sending from its numbers.

https://developers.facebook.com/docs/graph-api/webhooks/reference/whatsapp-business-account
"""

from typing import Any

from adapters.readers import identifier, moment, objects
from domain.inbound import Condition

OF_BANS = {
    "DISABLE": Condition(state="stopped", reason="disabled"),
    "SCHEDULE_FOR_DISABLE": Condition(state="restricted", reason="disable_scheduled"),
    "REINSTATE": Condition(state="ok"),
}
RESTRICTIONS_MAX = 10  # There are three kinds.
DISABLED = OF_BANS["DISABLE"]


def condition(field: str, value: Any) -> Condition | None:
    """What a change says of the account; None for anything else."""
    if field != "account_update" or not isinstance(value, dict):
        return None
    match value.get("event"):
        case "DISABLED_UPDATE":
            return _of_ban(value.get("ban_info"))
        case "ACCOUNT_DELETED":
            return Condition(state="stopped", reason="deleted")
        case "ACCOUNT_RESTRICTION":
            return _of_restrictions(value.get("restriction_info"))
        case _:
            return None


def _of_ban(ban: Any) -> Condition | None:
    state = identifier(ban.get("waba_ban_state")) if isinstance(ban, dict) else None
    return DISABLED if state is None else OF_BANS.get(state)


def _of_restrictions(found: Any) -> Condition:
    """All that are named together. They end when the last does, if each says when."""
    restrictions = objects(found)[:RESTRICTIONS_MAX]
    names = {identifier(each.get("restriction_type")) or "restricted" for each in restrictions}
    ends = [moment(each.get("expiration")) for each in restrictions]
    known = [each for each in ends if each is not None]
    return Condition(
        state="restricted",
        reason=", ".join(sorted(names)).lower() or "restricted",
        until=max(known, default=None) if len(known) == len(ends) else None,
    )
