"""What answers mean for the account whose message they are about (N3)."""

import pytest

from adapters.pacing import Pacing
from domain.dispatch_ports import DueMessage
from domain.outbound import Accepted, Deferred, Rejected, SendAnswer


def due(chat_id: str) -> DueMessage:
    return DueMessage(
        org=1, platform="line", account_id="U1", chat_id=chat_id, message_id=f"in {chat_id}"
    )


@pytest.mark.parametrize(
    ("answer", "at_once"),
    [
        (Rejected(reason="invalid", code=None, detail="Too long."), 1),  # LINE was not asked.
        (Rejected(reason="invalid", code=400, detail="Too long."), 2),
        (Accepted(platform_id="1"), 2),
    ],
)
def test_only_what_the_platform_says_ends_a_trouble(answer: SendAnswer, at_once: int) -> None:
    pacing = Pacing()
    pacing.note(due("a"), Deferred(reason="not_reached"), begun_at=0.0, now=0.0)
    pacing.note(due("a"), answer, begun_at=2.0, now=2.0)
    begun = 0
    for message in (due("b"), due("c")):
        if pacing.may_begin(message, now=3.0):
            pacing.begin(message, now=3.0)
            begun += 1
    assert begun == at_once
