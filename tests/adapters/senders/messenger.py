"""Messenger, for the tests that every platform passes."""

from adapters.messenger.client import SendApi
from adapters.messenger.fake import FakeSendApi
from adapters.messenger.fake_behaviour import limits
from adapters.messenger.fake_rules import FakePage
from domain.inbound import Address
from domain.outbound import AccountUnusable
from tests.adapters.senders.sender import Sender

PAGE = FakePage(access_token="EAAG-page-never-shown-anywhere")

MESSENGER = Sender(
    platform="messenger",
    account_id=PAGE.page_id,
    credentials={"access_token": PAGE.access_token},
    secret=PAGE.access_token,
    dead={"access_token": "EAAG-dead"},
    dead_answer=AccountUnusable(reason="credentials", code=190),
    recipient=Address(f"messenger:{PAGE.page_id}", "6473829104756123"),
    make_client=lambda client, base, limits: SendApi(client, base_address=base, limits=limits),
    make_fake=lambda: FakeSendApi(accounts=[PAGE]),
    limited=limits(7),
)
