"""The directory: what spans organisations. Who has a key, who holds an account, whose keys."""

import hashlib
import secrets
from collections.abc import Collection
from datetime import datetime

from psycopg.rows import class_row

from adapters.postgres.connections import Pool, lent
from adapters.postgres.keys import KEY_BYTES, MasterKey, OrgKeys
from domain.ports import AccountHolder, ApiKey, KeyHolder, Org
from domain.subscription import HeldAccount

PARTITIONS = 64
SYSTEM = "system"  # The installation's own organisation, for deliveries nobody claims.


def partition_of(org_id: str) -> int:
    """Which of the 64 partitions an organisation belongs to, for ever."""
    return int.from_bytes(hashlib.sha256(org_id.encode()).digest()[:8], "big") % PARTITIONS


class Directory:
    """The tables `organisations`, `accounts` and `api_keys`."""

    def __init__(self, pool: Pool, master: MasterKey) -> None:
        """`pool` is of role trunkline_directory."""
        self._pool = pool
        self._master = master
        self._keys: dict[int, OrgKeys] = {}

    # Organisations.

    async def create_organisation(self, org_id: str) -> Org:
        """Make an organisation with keys of its own, and open its log. Safe to repeat."""
        wrapped = [
            self._master.wrap(secrets.token_bytes(KEY_BYTES), about=f"{org_id}/{which}")
            for which in ("wrapping", "identity")
        ]
        partition = partition_of(org_id)
        async with lent(self._pool) as connection, connection.transaction():
            await connection.execute(
                "INSERT INTO organisations (id, partition, wrapping_key, identity_key)"
                " VALUES (%s, %s, %s, %s) ON CONFLICT (id) DO NOTHING",
                [org_id, partition, *wrapped],
            )
            cursor = await connection.execute(
                "SELECT org, open_head(org, partition) FROM organisations WHERE id = %s", [org_id]
            )
            row = await cursor.fetchone()
        assert row is not None
        return Org(row[0], org_id)

    async def organisation(self, org_id: str) -> Org | None:
        """Find an organisation by its id."""
        async with lent(self._pool) as connection:
            cursor = await connection.execute(
                "SELECT org FROM organisations WHERE id = %s", [org_id]
            )
            row = await cursor.fetchone()
        return Org(row[0], org_id) if row else None

    async def organisation_ids(self) -> list[str]:
        """All organisations, the installation's own left out, in the order of their making."""
        async with lent(self._pool) as connection:
            cursor = await connection.execute(
                "SELECT id FROM organisations WHERE id <> %s ORDER BY org", [SYSTEM]
            )
            return [org_id for (org_id,) in await cursor.fetchall()]

    async def keys(self, number: int) -> OrgKeys:
        """An organisation's keys, unwrapped once per process."""
        keys = self._keys.get(number)
        if keys is None:
            # One for all who ask at once: it holds people's keys that the database has not got yet.
            keys = self._keys.setdefault(number, await self._load_keys(number))
        return keys

    async def _load_keys(self, number: int) -> OrgKeys:
        async with lent(self._pool) as connection:
            cursor = await connection.execute(
                "SELECT id, wrapping_key, identity_key FROM organisations WHERE org = %s", [number]
            )
            row = await cursor.fetchone()
        assert row is not None
        org_id, wrapping, identity = row
        return OrgKeys(
            Org(number, org_id),
            wrapping_key=self._master.unwrap(wrapping, about=f"{org_id}/wrapping"),
            identity_key=self._master.unwrap(identity, about=f"{org_id}/identity"),
        )

    # API keys.

    async def key_holder(self, key_id: str) -> KeyHolder | None:
        """Who a key belongs to, with the position of their org's log: one look per request."""
        async with lent(self._pool) as connection:
            cursor = await connection.execute(
                "SELECT k.org, k.user_id, k.hash, k.scopes, k.expires_at, k.revoked_at, h.position"
                " FROM api_keys k JOIN heads h USING (org) WHERE k.id = %s",
                [key_id],
            )
            row = await cursor.fetchone()
        if row is None:
            return None
        org, user_id, digest, scopes, expires_at, revoked_at, position = row
        return KeyHolder(org, user_id, digest, frozenset(scopes), expires_at, revoked_at, position)

    async def add_api_key(self, org: Org, key: ApiKey, *, digest: bytes) -> bool:
        """Store a key; only the digest of its secret is kept. False if it is there already."""
        async with lent(self._pool) as connection:
            cursor = await connection.execute(
                "INSERT INTO api_keys (id, org, user_id, name, hash, scopes, created_at,"
                " expires_at)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (id) DO NOTHING",
                [
                    key.id,
                    org.number,
                    key.user_id,
                    key.name,
                    digest,
                    key.scopes,
                    key.created_at,
                    key.expires_at,
                ],
            )
            return cursor.rowcount == 1

    async def revoke_api_key(self, org: Org, key_id: str, *, now: datetime) -> bool:
        """Close a key; False if the org has no such key."""
        async with lent(self._pool) as connection:
            cursor = await connection.execute(
                "UPDATE api_keys SET revoked_at = coalesce(revoked_at, %s)"
                " WHERE id = %s AND org = %s",
                [now, key_id, org.number],
            )
            return cursor.rowcount == 1

    async def api_keys(self, org: Org, *, after: str, limit: int) -> list[ApiKey]:
        """The org's keys by id, behind `after`."""
        async with lent(self._pool) as connection:
            cursor = await connection.execute(
                "SELECT id, user_id, name, scopes, created_at, expires_at, revoked_at"
                " FROM api_keys WHERE org = %s AND id > %s ORDER BY id LIMIT %s",
                [org.number, after, limit],
            )
            return [ApiKey(*row) for row in await cursor.fetchall()]

    # Accounts.

    async def account(self, platform: str, account_id: str) -> AccountHolder | None:
        """Who holds an account, or held it last."""
        async with lent(self._pool) as connection:
            cursor = await connection.execute(
                "SELECT org, held, secrets FROM accounts WHERE platform = %s AND account_id = %s",
                [platform, account_id],
            )
            row = await cursor.fetchone()
        return AccountHolder(*row) if row else None

    async def claim_account(
        self, org: Org, platform: str, account_id: str, *, business_account_id: str | None
    ) -> bool:
        """Take an account that nobody else holds; False if another org does. Spec S15."""
        async with lent(self._pool) as connection:
            cursor = await connection.execute(
                "INSERT INTO accounts (platform, account_id, org, held, business_account_id)"
                " VALUES (%s, %s, %s, true, %s)"
                " ON CONFLICT (platform, account_id) DO UPDATE"
                " SET org = excluded.org, held = true, business_account_id ="
                "     coalesce(excluded.business_account_id, accounts.business_account_id),"
                "     secrets = CASE WHEN accounts.org = excluded.org THEN accounts.secrets END"
                " WHERE accounts.org = excluded.org OR NOT accounts.held",
                [platform, account_id, org.number, business_account_id],
            )
            return cursor.rowcount == 1

    async def release_account(self, org: Org, platform: str, account_id: str) -> None:
        """Let another org take the account, and forget its credentials. Spec S15."""
        async with lent(self._pool) as connection:
            await connection.execute(
                "UPDATE accounts SET held = false, secrets = NULL"
                " WHERE platform = %s AND account_id = %s AND org = %s",
                [platform, account_id, org.number],
            )

    async def store_secrets(
        self, org: Org, platform: str, account_id: str, *, sealed: bytes
    ) -> None:
        """Keep an account's credentials, sealed."""
        async with lent(self._pool) as connection:
            await connection.execute(
                "UPDATE accounts SET secrets = %s"
                " WHERE platform = %s AND account_id = %s AND org = %s",
                [sealed, platform, account_id, org.number],
            )

    async def replace_secrets(
        self, org: Org, platform: str, account_id: str, *, before: bytes | None, sealed: bytes
    ) -> bool:
        """Keep them in place of `before`; False if they are not those any more."""
        async with lent(self._pool) as connection:
            cursor = await connection.execute(
                "UPDATE accounts SET secrets = %s"
                " WHERE platform = %s AND account_id = %s AND org = %s"
                "   AND secrets IS NOT DISTINCT FROM %s",
                [sealed, platform, account_id, org.number, before],
            )
            return cursor.rowcount == 1

    async def business_account(
        self, platform: str, business_account_id: str
    ) -> list[AccountHolder]:
        """The orgs that hold accounts of a business account, one row each."""
        async with lent(self._pool) as connection:
            cursor = await connection.execute(
                "SELECT DISTINCT ON (org) org, held, NULL::bytea FROM accounts"
                " WHERE platform = %s AND business_account_id = %s AND held ORDER BY org",
                [platform, business_account_id],
            )
            return [AccountHolder(*row) for row in await cursor.fetchall()]

    async def accounts_of(self, platform: str, business_account_id: str) -> list[tuple[int, str]]:
        """The accounts of a business account that are held: whose each is, and its id."""
        async with lent(self._pool) as connection:
            cursor = await connection.execute(
                "SELECT org, account_id FROM accounts"
                " WHERE platform = %s AND business_account_id = %s AND held ORDER BY account_id",
                [platform, business_account_id],
            )
            return [(org, account_id) for org, account_id in await cursor.fetchall()]

    # What is looked at from time to time.

    async def claim_checks(
        self, platforms: Collection[str], *, now: datetime, until: datetime, limit: int
    ) -> list[HeldAccount]:
        """Accounts whose deliveries are to be looked at; until then nobody else gets them."""
        async with lent(self._pool) as connection:
            cursor = connection.cursor(row_factory=class_row(HeldAccount))
            await cursor.execute(
                "UPDATE accounts SET subscription_due_at = %s"
                " WHERE (platform, account_id) IN ("
                "   SELECT platform, account_id FROM accounts"
                "    WHERE held AND subscription_due_at <= %s AND platform = ANY (%s)"
                "    ORDER BY subscription_due_at LIMIT %s FOR UPDATE SKIP LOCKED)"
                " RETURNING org, platform, account_id",
                [until, now, list(platforms), limit],
            )
            return await cursor.fetchall()

    async def plan_check(self, account: HeldAccount, *, at: datetime) -> None:
        """Look at it again then."""
        async with lent(self._pool) as connection:
            await connection.execute(
                "UPDATE accounts SET subscription_due_at = %s"
                " WHERE platform = %s AND account_id = %s",
                [at, account.platform, account.account_id],
            )
