"""What Meta says of a template: its approval and its category."""

from collections.abc import Mapping
from typing import Any

from adapters.readers import identifier, text
from domain.template import Category, TemplateState, TemplateWord

# Events that leave a template as it is (FLAGGED, LOCKED, LIMIT_EXCEEDED) are not here: it can
# still be sent, or could not before. DISABLED may be appealed against, so it is a pause.
STATES: Mapping[str, TemplateState] = {
    "PENDING": "pending",
    "IN_APPEAL": "pending",
    "APPROVED": "approved",
    "REINSTATED": "approved",
    "UNARCHIVED": "approved",
    "REJECTED": "rejected",
    "PENDING_DELETION": "rejected",
    "DELETED": "rejected",
    "PAUSED": "paused",
    "DISABLED": "paused",
    "ARCHIVED": "paused",
}

CATEGORIES: Mapping[str, Category] = {
    "AUTHENTICATION": "authentication",
    "MARKETING": "marketing",
    "UTILITY": "utility",
}

# A category that is only announced (`correct_category`) changes nothing yet.
FIELDS = frozenset({"message_template_status_update", "template_category_update"})


def template_word(field: str, value: Any) -> TemplateWord | None:
    """What a change of one of these fields says of a template; None if it names none."""
    if field not in FIELDS or not isinstance(value, dict):
        return None
    name = identifier(value.get("message_template_name"))
    language = identifier(value.get("message_template_language"))
    if name is None or language is None:
        return None
    event = text(value.get("event")) or ""
    category = text(value.get("new_category")) or text(value.get("message_template_category")) or ""
    return TemplateWord(
        name=name,
        language=language,
        state=STATES.get(event),
        reason=_reason(event, text(value.get("reason"))),
        category=CATEGORIES.get(category),
    )


def _reason(event: str, given: str | None) -> str | None:
    """Meta's reason; failing that, the event where it says more than the state it leads to."""
    if given and given != "NONE":
        return given.lower()
    state = STATES.get(event)
    return event.lower() if state in ("rejected", "paused") and event.lower() != state else None
