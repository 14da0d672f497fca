"""Reading what commands wrote beside the log: remembered requests, addresses, keys.

The pools are of role trunkline_project, so the org stands in each query and in no setting: one
round trip, on the way of every customer we have not met.
"""

from collections.abc import Sequence

from adapters.postgres.connections import Pool, lent
from domain.ports import Org, StoredAnswer


class PostgresRequests:
    """Remembered Idempotency-Keys; they count for 24 hours."""

    def __init__(self, readers: Pool) -> None:
        self._readers = readers

    async def find(self, org: Org, key: bytes) -> StoredAnswer | None:
        """What was answered under this key in the last 24 hours."""
        async with lent(self._readers) as connection:
            cursor = await connection.execute(
                "SELECT request, status, position, ids FROM idempotency_keys"
                " WHERE org = %s AND key = %s",
                [org.number, key],
                binary=True,
            )
            row = await cursor.fetchone()
        return StoredAnswer(*row) if row else None


class PostgresAddresses:
    """Whom keyed hashes of addresses lead to."""

    def __init__(self, readers: Pool) -> None:
        self._readers = readers

    async def contacts(self, org: Org, keys: Sequence[bytes]) -> dict[bytes, str]:
        """The contacts of those keyed hashes that lead to one."""
        async with lent(self._readers) as connection:
            cursor = await connection.execute(
                "SELECT key, contact FROM addresses WHERE org = %s AND key = ANY (%s)",
                [org.number, list(keys)],
                binary=True,
            )
            return {bytes(key): contact for key, contact in await cursor.fetchall()}

    async def wrapped_keys(self, org: Org, ids: Sequence[str]) -> dict[str, bytes]:
        """People's keys, wrapped; those that are erased are missing."""
        async with lent(self._readers) as connection:
            cursor = await connection.execute(
                "SELECT id, wrapped FROM keys WHERE org = %s AND id = ANY (%s)",
                [org.number, list(ids)],
                binary=True,
            )
            return {key_id: bytes(wrapped) for key_id, wrapped in await cursor.fetchall()}
