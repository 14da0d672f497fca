"""What an app has to subscribe to, so that it is told of a page's conversations."""

from typing import Any

from adapters.readers import identifier, objects

# All that `events.py` reads and concerns messages.
SUBSCRIBED_FIELDS = (
    "messages",
    "message_echoes",
    "message_edits",
    "message_deliveries",
    "message_reads",
    "message_reactions",
    "messaging_postbacks",
    "messaging_referrals",
    "messaging_optins",
    "messaging_handovers",
    "messaging_policy_enforcement",
    "standby",
)


def is_subscribed(listed: Any, app: Any) -> bool | None:
    """Whether an app is among those that are subscribed; None if the list is not understood.

    Where Graph does not say which app is ours, any is taken for it.
    """
    data = listed.get("data") if isinstance(listed, dict) else None
    if not isinstance(data, list):
        return None
    ours = identifier(app.get("id")) if isinstance(app, dict) else None
    return any(ours in (None, identifier(each.get("id"))) for each in objects(data))
