"""Telegram, for the tests that every platform passes."""

from adapters.telegram.client import BotApi
from adapters.telegram.fake import FakeTelegram
from adapters.telegram.fake_behaviour import limits
from adapters.telegram.fake_rules import FakeBot
from domain.inbound import Address
from domain.outbound import AccountUnusable
from tests.adapters.senders.sender import Sender

BOT = FakeBot(secret="never-shown-anywhere")
CUSTOMER = 5512345678


def _fake() -> FakeTelegram:
    """Nobody can be written to who has not written first."""
    fake = FakeTelegram(accounts=[BOT])
    fake.customer_says(CUSTOMER, "Hello")
    return fake


TELEGRAM = Sender(
    platform="telegram",
    account_id=BOT.bot_id,
    credentials={"bot_token": BOT.token},
    secret=BOT.token,
    dead={"bot_token": f"{BOT.bot_id}:dead"},
    dead_answer=AccountUnusable(reason="credentials", code=401),
    recipient=Address(f"telegram:{BOT.bot_id}", str(CUSTOMER)),
    make_client=lambda http, base, limits: BotApi(http, base_address=base, limits=limits),
    make_fake=_fake,
    limited=limits(7),
)
