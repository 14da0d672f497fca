"""WhatsApp, for the tests that every platform passes."""

from adapters.whatsapp.client import CloudApi
from adapters.whatsapp.fake import FakeCloudApi
from adapters.whatsapp.fake_behaviour import limits
from adapters.whatsapp.fake_rules import FakeAccount
from domain.inbound import Address
from domain.outbound import AccountUnusable
from tests.adapters.senders.sender import Sender

ACCOUNT = FakeAccount(access_token="EAAG-never-shown-anywhere")

WHATSAPP = Sender(
    platform="whatsapp",
    account_id=ACCOUNT.phone_number_id,
    credentials={"access_token": ACCOUNT.access_token},
    secret=ACCOUNT.access_token,
    dead={"access_token": "EAAG-dead"},
    dead_answer=AccountUnusable(reason="credentials", code=190),
    recipient=Address("phone", "12025550143"),
    make_client=lambda client, base, limits: CloudApi(client, base_address=base, limits=limits),
    make_fake=lambda: FakeCloudApi(accounts=[ACCOUNT]),
    limited=limits(7),
)
