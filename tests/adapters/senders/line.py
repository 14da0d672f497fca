"""LINE, for the tests that every platform passes."""

from adapters.line.client import MessagingApi
from adapters.line.fake import FakeLine
from adapters.line.fake_behaviour import limits
from adapters.line.fake_rules import FakeLineAccount
from domain.inbound import Address
from domain.outbound import AccountUnusable
from tests.adapters.senders.sender import Sender

ACCOUNT = FakeLineAccount(access_token="line-never-shown-anywhere")

LINE = Sender(
    platform="line",
    account_id=ACCOUNT.user_id,
    credentials={"access_token": ACCOUNT.access_token},
    secret=ACCOUNT.access_token,
    dead={"access_token": "line-dead"},
    dead_answer=AccountUnusable(reason="credentials", code=401),
    recipient=Address(f"line:{ACCOUNT.user_id}", "U19c8e7d6b5a493827160f5e4d3c2b1a0"),
    make_client=lambda http, base, limits: MessagingApi(http, base_address=base, limits=limits),
    make_fake=lambda: FakeLine(accounts=[ACCOUNT]),
    limited=limits(7),
)
