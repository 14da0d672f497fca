"""The rules by which the fake WeChat takes or refuses a request, as its pages document them."""

from datetime import datetime, timedelta
from random import Random
from typing import Any

import msgspec

JsonObject = dict[str, Any]

TEXT_BYTES_MAX = 2048

TOKEN_LIFETIME = timedelta(seconds=7200)
# So long before a token ends there is another one, and both are good.
TOKEN_OVERLAP = timedelta(minutes=5)
DEMAND_PAUSE = timedelta(seconds=30)
DEMANDS_A_DAY_MAX = 20

MESSAGE_WINDOW = timedelta(hours=48)
MESSAGE_COUNT_MAX = 5
# After a click, a follow or a scan.
ACTION_WINDOW = timedelta(minutes=1)
ACTION_COUNT_MAX = 3

ERRORS: dict[int, str] = {
    -1: "system error",
    40001: "invalid credential, access_token is invalid or not latest",
    40003: "invalid openid",
    40007: "invalid media_id",
    40008: "invalid message type",
    40013: "invalid appid",
    40033: "invalid charset. please check your request, if include \\uxxxx will create fail!",
    40125: "invalid appsecret",
    40164: "invalid ip 203.0.113.7, not in whitelist",
    41005: "media data missing",
    42001: "access_token expired",
    43004: "require subscribe",
    43019: "require remove blacklist",
    43101: "user refuse to accept the msg",
    45002: "content size out of limit",
    45009: "reach max api daily quota limit",
    45011: "api freq out of limit",
    45015: "response out of time limit or subscription is canceled",
    45047: "out of response count limit",
    47001: "data format error",
    48001: "api unauthorized",
    50002: "user limited",
}


class FakeOfficialAccount(msgspec.Struct, frozen=True, kw_only=True):
    """An official account that the fake knows, and what is good for it."""

    account_id: str = "gh_3b9c51e0d7a2"
    app_id: str = "wx7d1e4b90a2c85f36"
    app_secret: str = "fake-app-secret"  # noqa: S105 - It guards nothing.
    token: str = "fake-token"  # noqa: S105
    encoding_aes_key: str | None = None
    mode: str = "plain"  # plain, compatible, secure


class WeChatRefusal(Exception):
    """An answer for a request that is not taken; its HTTP status is 200 all the same."""

    def __init__(self, code: int) -> None:
        super().__init__(ERRORS.get(code, "unknown error"))
        self.code = code

    def body(self) -> JsonObject:
        """What WeChat answers."""
        return {"errcode": self.code, "errmsg": f"{self} rid: 66e5c46f-52840e51-094bb310"}


class TokenDesk:
    """The tokens of one account, as `stable_token` hands them out."""

    def __init__(self, random: Random, *, lifetime: timedelta) -> None:
        self._random = random
        self._lifetime = lifetime
        self._expires_at: dict[str, datetime] = {}  # The newest last; what is gone is refused.
        self._newest = ""
        self._demanded: list[datetime] = []

    def hand_out(self, now: datetime, *, demanded: bool) -> JsonObject:
        """The token that is good now, or another one where that is due. Raises WeChatRefusal."""
        if demanded and self._may_demand(now):
            self._expires_at.clear()
            self._make(now)
        elif not self._newest or now >= self._end() - TOKEN_OVERLAP:
            self._make(now)
        return {
            "access_token": self._newest,
            "expires_in": int((self._end() - now).total_seconds()),
        }

    def check(self, token: str, now: datetime) -> None:
        """Raises WeChatRefusal for a token that is not good."""
        expires_at = self._expires_at.get(token)
        if expires_at is None:
            raise WeChatRefusal(40001)
        if now >= expires_at:
            raise WeChatRefusal(42001)

    def replace(self, now: datetime) -> None:
        """Somebody else demands another token: the present one has ended."""
        self._expires_at.clear()
        self._make(now)

    def spoil(self) -> None:
        """The present token is refused, and handed out all the same."""
        end = self._end()
        self._expires_at = {"": end}

    def _end(self) -> datetime:
        return next(reversed(self._expires_at.values()))

    def _may_demand(self, now: datetime) -> bool:
        """Sooner than half a minute after the last time it is no more than a question."""
        lately = [at for at in self._demanded if at > now - timedelta(days=1)]
        if len(lately) >= DEMANDS_A_DAY_MAX:
            raise WeChatRefusal(45009)
        if lately and now - lately[-1] < DEMAND_PAUSE:
            return False
        self._demanded = [*lately, now]
        return True

    def _make(self, now: datetime) -> None:
        self._newest = f"84_{self._random.getrandbits(512):0128x}"
        self._expires_at[self._newest] = now + self._lifetime


class Allowance:
    """45015 and 45047: for so long, and so many messages, after what a customer did last."""

    def __init__(self, *, count_max: int) -> None:
        self._count_max = count_max
        self._left: dict[tuple[str, str], tuple[datetime, int]] = {}

    def message(self, account_id: str, customer: str, now: datetime) -> None:
        """A customer has written."""
        self._left[account_id, customer] = (now + MESSAGE_WINDOW, self._count_max)

    def action(self, account_id: str, customer: str, now: datetime) -> None:
        """A customer has followed, clicked or scanned; that ends no larger allowance."""
        closes_at, left = self._left.get((account_id, customer), (now, 0))
        if now >= closes_at or not left:
            self._left[account_id, customer] = (now + ACTION_WINDOW, ACTION_COUNT_MAX)

    def end(self, account_id: str, customer: str) -> None:
        """A customer follows the account no more."""
        self._left.pop((account_id, customer), None)

    def take(self, account_id: str, customer: str, now: datetime) -> None:
        """Count one message. Raises WeChatRefusal."""
        closes_at, left = self._left.get((account_id, customer), (now, 0))
        if now >= closes_at:
            raise WeChatRefusal(45015)
        if not left:
            raise WeChatRefusal(45047)
        self._left[account_id, customer] = (closes_at, left - 1)
