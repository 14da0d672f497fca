"""Platforms that are none, each with one account: one line for each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from adapters.fakes.behaviour import Behaviour, accepts_then_drops
from adapters.fakes.control import Says
from adapters.fakes.fake import Fake
from adapters.line.fake import FakeLine
from adapters.line.fake_rules import FakeLineAccount
from adapters.messenger.fake import FakeSendApi
from adapters.messenger.fake_rules import FakePage
from adapters.telegram.fake import FakeTelegram
from adapters.telegram.fake_rules import FakeBot
from adapters.wechat.fake import FakeWeChat
from adapters.wechat.fake_rules import FakeOfficialAccount
from adapters.whatsapp.fake import FakeCloudApi
from adapters.whatsapp.fake_rules import FakeAccount

META_APP_SECRET = "fake-app-secret"  # noqa: S105 - It guards nothing.
AES_KEY = "9kSjhtwYeRJGFQ4j1VDnBhJ6ZQfmh0W8m2OCXB96EBu"  # Nor does this.


@dataclass(frozen=True, kw_only=True)
class Pretended:
    """A fake, and what Trunkline must be told to take it for the platform."""

    fake: Fake
    account_id: str
    credentials: Mapping[str, str]  # To connect the account with.
    customer: str  # The address of one, as an example of their form.
    says: Says
    loses_answer: Behaviour = field(default_factory=accepts_then_drops)  # For one request.
    app_secret: str | None = None  # Of Meta's platforms, the installation's.


def _whatsapp(**options: Any) -> Pretended:
    account = FakeAccount()
    fake = FakeCloudApi(accounts=[account], app_secret=META_APP_SECRET, **options)
    return Pretended(
        fake=fake,
        account_id=account.phone_number_id,
        credentials={"access_token": account.access_token},
        customer="12025550143",
        says=fake.customer_says,
        app_secret=META_APP_SECRET,
    )


def _messenger(**options: Any) -> Pretended:
    page = FakePage()
    fake = FakeSendApi(accounts=[page], app_secret=META_APP_SECRET, **options)
    return Pretended(
        fake=fake,
        account_id=page.page_id,
        credentials={"access_token": page.access_token},
        customer="6473829104756123",
        says=fake.customer_says,
        app_secret=META_APP_SECRET,
    )


def _line(**options: Any) -> Pretended:
    account = FakeLineAccount()
    fake = FakeLine(accounts=[account], **options)
    return Pretended(
        fake=fake,
        account_id=account.user_id,
        credentials={
            "channel_secret": account.channel_secret,
            "access_token": account.access_token,
        },
        customer="U19c8e7d6b5a493827160f5e4d3c2b1a0",
        says=fake.customer_says,
    )


def _telegram(**options: Any) -> Pretended:
    bot = FakeBot()
    fake = FakeTelegram(accounts=[bot], **options)
    return Pretended(
        fake=fake,
        account_id=bot.bot_id,
        credentials={"bot_token": bot.token, "secret_token": bot.secret_token},
        customer="5512345678",
        says=lambda address, text: fake.customer_says(int(address), text),
    )


def _wechat(**options: Any) -> Pretended:
    account = FakeOfficialAccount(encoding_aes_key=AES_KEY, mode="secure")
    fake = FakeWeChat(accounts=[account], **options)
    return Pretended(
        fake=fake,
        account_id=account.account_id,
        credentials={
            "app_id": account.app_id,
            "app_secret": account.app_secret,
            "token": account.token,
            "encoding_aes_key": AES_KEY,
        },
        customer="oQk8R6Zl2mXv0sYtB4nPaE7wJcDg",
        says=fake.customer_says,
    )


# The options are those that all fakes have: webhook_url, now, seed, port.
PRETENDED: Mapping[str, Callable[..., Pretended]] = {
    "whatsapp": _whatsapp,
    "messenger": _messenger,
    "line": _line,
    "telegram": _telegram,
    "wechat": _wechat,
}
