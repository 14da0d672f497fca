"""Accounts' credentials: sealed in the directory, opened for whoever must compare or send (P4)."""

import asyncio
import re
from collections import OrderedDict
from collections.abc import Mapping

import msgspec

from domain import credentials
from domain.credentials import Credentials, StoredCredentials
from domain.ports import Clock, Directory, Keys, Unavailable

# How long this process believes that an account's credentials are those it last looked up.
BELIEVED_SECONDS = 1.0

# Anybody may ask for any account: what was looked up must not fill the memory.
KEPT_MAX = 10_000

# As in `AccountId` of the API: others have never been connected.
ACCOUNT_ID = re.compile(r"[A-Za-z0-9_.:@-]{1,100}")

ATTEMPTS_MAX = 10


class Live(msgspec.Struct, frozen=True):
    """All credentials of an account that are good now, the newest first, and whose they are."""

    org: int | None = None  # Nobody's.
    credentials: list[dict[str, str]] = []


class _Kept(msgspec.Struct, frozen=True):
    org: int
    stored: StoredCredentials


class AccountCredentials:
    """Reads and writes them; what deliveries are compared with is kept for a moment."""

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._kept: OrderedDict[tuple[str, str], tuple[float, _Kept | None]] = OrderedDict()

    async def live(self, platform: str, account_id: str) -> Live:
        """What deliveries for an account are compared with, and to whom they then belong."""
        now = asyncio.get_running_loop().time()
        account = (platform, account_id)
        believed_until, kept = self._kept.get(account, (0.0, None))
        if now >= believed_until:
            kept = await self._look_up(platform, account_id)
            self._kept[account] = (now + BELIEVED_SECONDS, kept)
            self._kept.move_to_end(account)
            if len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)
        return Live(kept.org, kept.stored.live(now=self._clock.now())) if kept else Live()

    async def current(self, org: int, platform: str, account_id: str) -> Mapping[str, str]:
        """Those to send with, as they are at this moment; none if the org has no such account."""
        holder = await self._directory.account(platform, account_id)
        if holder is None or holder.org != org or holder.secrets is None:
            return {}
        keys = await self._directory.keys(org)
        return _open(keys, holder.secrets, platform, account_id).current

    async def store(self, keys: Keys, platform: str, account_id: str, given: Credentials) -> None:
        """Take these and no others."""
        sealed = _seal(keys, StoredCredentials(current=dict(given)), platform, account_id)
        await self._directory.store_secrets(keys.org, platform, account_id, sealed=sealed)
        self._kept.pop((platform, account_id), None)

    async def release(self, keys: Keys, platform: str, account_id: str) -> None:
        """Forget them, and let another org take the account. Spec S15."""
        await self._directory.release_account(keys.org, platform, account_id)
        self._kept.pop((platform, account_id), None)

    async def merge(self, keys: Keys, platform: str, account_id: str, given: Credentials) -> None:
        """Replace some of them; the replaced ones stay good for a day. Raises Invalid."""
        for _ in range(ATTEMPTS_MAX):
            holder = await self._directory.account(platform, account_id)
            before = holder.secrets if holder and holder.org == keys.org.number else None
            stored = StoredCredentials(current={})
            if before is not None:
                stored = _open(keys, before, platform, account_id)
            merged = credentials.merge(stored, given, now=self._clock.now())
            credentials.require_whole(platform, merged.current)
            sealed = _seal(keys, merged, platform, account_id)
            if await self._directory.replace_secrets(
                keys.org, platform, account_id, before=before, sealed=sealed
            ):
                self._kept.pop((platform, account_id), None)
                return
        raise Unavailable("Too many others are changing the same credentials.")

    async def _look_up(self, platform: str, account_id: str) -> _Kept | None:
        if not ACCOUNT_ID.fullmatch(account_id):
            return None
        holder = await self._directory.account(platform, account_id)
        if holder is None or holder.secrets is None:
            return None
        keys = await self._directory.keys(holder.org)
        return _Kept(holder.org, _open(keys, holder.secrets, platform, account_id))


def _seal(keys: Keys, stored: StoredCredentials, platform: str, account_id: str) -> bytes:
    return keys.seal_secret(msgspec.json.encode(stored), about=_about(platform, account_id))


def _open(keys: Keys, sealed: bytes, platform: str, account_id: str) -> StoredCredentials:
    return credentials.read(keys.open_secret(sealed, about=_about(platform, account_id)))


def _about(platform: str, account_id: str) -> str:
    """What binds an account's sealed credentials to the account."""
    return f"account/{platform}/{account_id}"
