"""Tokens that a platform gives out for a while, shared by all processes of an installation.

A new token can end the one before it. So only one process at a time asks for it, and what it is
given is everybody's.
"""

from datetime import timedelta
from typing import Protocol

import msgspec

# Whoever has asked for a token and has not kept one by then is taken for dead.
RENEWAL_LIFETIME = timedelta(seconds=15)

# How often a new token may be demanded while the present one is good (WeChat, stable_token).
DEMAND_PAUSE = timedelta(seconds=30)
DEMANDS_A_DAY_MAX = 20


class AccessToken(msgspec.Struct, frozen=True, kw_only=True):
    """What requests are made with for a while; `number` counts those of one holder."""

    value: str
    number: int
    good_for_seconds: float  # From when it was looked up; 0 and less: expired.

    def __repr__(self) -> str:
        return f"AccessToken(number={self.number})"  # Never the value itself (P4).


class AccessTokens(Protocol):
    """Where they are kept. `holder` is all that a token is asked for with, in one text."""

    async def find(self, holder: str) -> AccessToken | None:
        """The newest token of a holder, expired or not."""

    async def begin_renewal(self, holder: str, *, after: int) -> bool:
        """Whether the caller is to ask for the token after this number; 0: for the first.

        False if somebody else is at it, or has been: then there is or will be another to find.
        """

    async def may_demand(self, holder: str) -> bool:
        """Note that a new token is demanded; False if that was done too often, or just now."""

    async def keep(self, holder: str, *, after: int, value: str, lifetime_seconds: float) -> None:
        """Give everybody the token that was asked for, unless somebody else has meanwhile."""

    async def give_up_renewal(self, holder: str, *, after: int) -> None:
        """There was none to be had; the next one may ask."""
