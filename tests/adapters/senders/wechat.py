"""WeChat, for the tests that every platform passes."""

from adapters.wechat.client import WeChatApi
from adapters.wechat.fake import FakeWeChat
from adapters.wechat.fake_behaviour import limits
from adapters.wechat.fake_rules import FakeOfficialAccount
from domain.inbound import Address
from domain.outbound import AccountUnusable
from tests.adapters.senders.sender import Sender
from tests.adapters.tokens import MemoryTokens

ACCOUNT = FakeOfficialAccount(app_secret="wechat-secret-never-shown-anywhere")

WECHAT = Sender(
    platform="wechat",
    account_id=ACCOUNT.account_id,
    credentials={"app_id": ACCOUNT.app_id, "app_secret": ACCOUNT.app_secret},
    secret=ACCOUNT.app_secret,
    dead={"app_id": ACCOUNT.app_id, "app_secret": "wechat-dead"},
    dead_answer=AccountUnusable(reason="credentials", code=40125),
    recipient=Address(f"wechat:{ACCOUNT.account_id}", "oQk8w5P0aTz4Xc"),
    make_client=lambda client, base, limits: WeChatApi(
        client, MemoryTokens(), base_address=base, limits=limits
    ),
    make_fake=lambda: FakeWeChat(accounts=[ACCOUNT]),
    limited=limits(7),
)
