"""Access tokens in the database: sealed, and renewed by one process at a time.

The claim to renew is a time in the row and no lock: a lock would hold a connection for as long as
the platform takes to answer, and everybody who waits would hold another.
"""

from datetime import timedelta

from adapters.postgres.connections import Pool, lent
from adapters.postgres.keys import MasterKey
from domain.access_token import (
    DEMAND_PAUSE,
    DEMANDS_A_DAY_MAX,
    RENEWAL_LIFETIME,
    AccessToken,
)
from domain.ports import Clock, Unreadable

KEPT_AFTER_EXPIRY = timedelta(days=1)

_FIND = "SELECT number, token, expires_at FROM access_tokens WHERE holder = %(holder)s"
_BEGIN = """
INSERT INTO access_tokens AS t (holder, number, expires_at, renewing_until, forced_at)
VALUES (%(holder)s, 0, %(now)s, %(until)s, '{}')
ON CONFLICT (holder) DO UPDATE SET renewing_until = excluded.renewing_until
 WHERE t.number = %(after)s AND t.renewing_until <= %(now)s
"""
_DEMAND = """
UPDATE access_tokens SET forced_at = (ARRAY[%(now)s::timestamptz] || forced_at)[1:%(most)s]
 WHERE holder = %(holder)s
   AND coalesce(forced_at[1] <= %(now)s::timestamptz - %(pause)s, true)
   AND coalesce(forced_at[%(most)s] <= %(now)s::timestamptz - interval '1 day', true)
"""
_KEEP = """
UPDATE access_tokens
   SET number = number + 1, token = %(token)s, expires_at = %(expires_at)s, renewing_until = %(now)s
 WHERE holder = %(holder)s AND number = %(after)s
"""
_GIVE_UP = """
UPDATE access_tokens SET renewing_until = %(now)s WHERE holder = %(holder)s AND number = %(after)s
"""
_TIDY = "DELETE FROM access_tokens WHERE expires_at < %(now)s::timestamptz - %(kept)s"


class PostgresAccessTokens:
    """The table `access_tokens`."""

    def __init__(self, pool: Pool, master: MasterKey, clock: Clock) -> None:
        """`pool` is of role trunkline_directory."""
        self._pool = pool
        self._master = master
        self._clock = clock

    async def find(self, holder: str) -> AccessToken | None:
        """The newest token of a holder, expired or not."""
        key = self._key(holder)
        async with lent(self._pool) as connection:
            row = await (await connection.execute(_FIND, {"holder": key})).fetchone()
        if row is None or row[1] is None:
            return None
        number, sealed, expires_at = row
        try:
            value = self._master.unwrap(bytes(sealed), about=_about(key)).decode()
        except Unreadable:
            return AccessToken(value="", number=number, good_for_seconds=0.0)
        seconds = (expires_at - self._clock.now()).total_seconds()
        return AccessToken(value=value, number=number, good_for_seconds=seconds)

    async def begin_renewal(self, holder: str, *, after: int) -> bool:
        """Whether the caller is to ask for the token after this number."""
        now = self._clock.now()
        return await self._change(_BEGIN, holder, after=after, until=now + RENEWAL_LIFETIME)

    async def may_demand(self, holder: str) -> bool:
        """Note that a new token is demanded; False if that was done too often, or just now."""
        return await self._change(_DEMAND, holder, most=DEMANDS_A_DAY_MAX, pause=DEMAND_PAUSE)

    async def keep(self, holder: str, *, after: int, value: str, lifetime_seconds: float) -> None:
        """Give everybody the token that was asked for, unless somebody else has meanwhile."""
        sealed = self._master.wrap(value.encode(), about=_about(self._key(holder)))
        expires_at = self._clock.now() + timedelta(seconds=lifetime_seconds)
        await self._change(_KEEP, holder, after=after, token=sealed, expires_at=expires_at)
        await self._change(_TIDY, holder, kept=KEPT_AFTER_EXPIRY)

    async def give_up_renewal(self, holder: str, *, after: int) -> None:
        """There was none to be had; the next one may ask."""
        await self._change(_GIVE_UP, holder, after=after)

    async def _change(self, statement: str, holder: str, **parameters: object) -> bool:
        given = {"holder": self._key(holder), "now": self._clock.now(), **parameters}
        async with lent(self._pool) as connection:
            return (await connection.execute(statement, given)).rowcount == 1

    def _key(self, holder: str) -> bytes:
        """The holder's secret stands in it: nobody who reads the table can try guesses at that."""
        return self._master.proof(holder.encode(), about="access token")


def _about(key: bytes) -> str:
    return f"access token/{key.hex()}"
