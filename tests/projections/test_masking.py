"""Who is shown what of a message (S4): one table for all that a viewer can be shown."""

from datetime import UTC, datetime
from typing import Any

import pytest

from projections.engine.sealed_parts import SealedPart
from projections.inbox.rows import MessageRow
from projections.masking import Masked, Visible, shown_to
from tests.projections.histories import sealed

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECRET = SealedPart(sealed("secret"), "chat:a", "chat.reply_requested", b"key")


def message(direction: Any, service: str | None) -> MessageRow:
    """With something in every field that must not be shown."""
    return MessageRow(
        chat_id="a",
        message_id="m",
        position=1,
        at=AT,
        direction=direction,
        kind="template",
        status="read",
        channel_id="shared",
        service=service,
        user_id="ann",
        key=b"key",
        quotes="other",
        member=None,
        member_name=None,
        retry_of="older",
        failure_reason="opted_out",
        failure_code=131050,
        content=SECRET,
        edited_at=AT,
        edited=SECRET,
        unsent=False,
        reactions=(),
    )


OF_CRM = message("outbound", "crm")
ECHO = message("outbound", None)
CUSTOMERS = message("inbound", None)
MASKED = Masked(message_id="m", direction="outbound", at=AT, status="read", service="crm")


@pytest.mark.parametrize(
    ("viewer", "row", "policy", "shown"),
    [
        ("desk", OF_CRM, "full", MASKED),
        ("desk", OF_CRM, "none", Visible(OF_CRM)),
        ("crm", OF_CRM, "full", Visible(OF_CRM)),
        ("desk", ECHO, "full", Visible(ECHO)),
        ("desk", CUSTOMERS, "full", Visible(CUSTOMERS)),
        ("desk", message("inbound", "crm"), "full", Visible(message("inbound", "crm"))),
    ],
)
def test_a_services_replies_are_masked_for_the_others_s4(
    viewer: str, row: MessageRow, policy: Any, shown: Any
) -> None:
    assert shown_to(viewer, row, policy=policy) == shown


def test_a_masked_message_has_no_other_fields_s4() -> None:
    assert Masked.__struct_fields__ == ("message_id", "direction", "at", "status", "service")
