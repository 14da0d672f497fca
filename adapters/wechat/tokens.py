"""Access tokens: found where all processes keep them, and asked for by one of them at a time.

The endpoint gives the same token to everybody until its last five minutes; then a new one, and
both are good for those minutes. So it is asked a little before the end, by whoever comes first,
and the others go on with the old one.
"""

import asyncio
from typing import Any, NamedTuple

import httpx
import msgspec

from adapters.answers import document_of, log_refusal, not_reached, unexplained
from adapters.exchange import NoReply, Reply, TimeLimits, exchange
from adapters.meanings import verification_answer
from adapters.readers import number
from adapters.unsendable import NotAsked
from adapters.wechat.calls import call
from adapters.wechat.errors import read_error, send_answer
from domain.access_token import AccessToken, AccessTokens
from domain.credentials import Credentials
from domain.outbound import Deferred, NotReached, NotVerified
from domain.ports import Unavailable

# WeChat has another one ready in the last five minutes of a token.
RENEWED_BEFORE_SECONDS = 240.0

TOKEN_LENGTH_MAX = 4096  # WeChat asks for room for 512 at least.

# Another process has the token soon, or its request fails.
WAIT_SECONDS_MAX = 6.0
PAUSE_SECONDS = 0.1

ANSWER_SECONDS_MAX = 5.0


class Fetched(NamedTuple):
    """A token as it is handed out."""

    value: str
    lifetime_seconds: float


class Tokens:
    """The tokens of all accounts. Credentials that have changed get a token of their own."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        store: AccessTokens,
        *,
        base_address: str,
        limits: TimeLimits,
    ) -> None:
        self._client = client
        self._store = store
        self._base_address = base_address
        seconds = min(limits.deadline_seconds, ANSWER_SECONDS_MAX)
        self._limits = limits._replace(deadline_seconds=seconds)

    async def token(
        self, credentials: Credentials, *, refused: AccessToken | None = None
    ) -> AccessToken:
        """A token to send with, newer than the one that WeChat refused. Raises NotAsked."""
        try:
            return await self._token(credentials, refused=refused)
        except Unavailable:  # Where tokens are kept; WeChat was not asked to send anything.
            raise NotAsked(Deferred(reason="unavailable")) from None

    async def _token(self, credentials: Credentials, *, refused: AccessToken | None) -> AccessToken:
        whose = holder(credentials)
        oldest = refused.number + 1 if refused is not None else 0
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + WAIT_SECONDS_MAX
        while True:
            present = await self._store.find(whose)
            seconds = _seconds_left(present, oldest=oldest)
            if present is not None and seconds > RENEWED_BEFORE_SECONDS:
                return present
            if await self._store.begin_renewal(whose, after=present.number if present else 0):
                try:
                    return await self._renew(credentials, whose, present, refused=refused)
                except NotAsked:
                    if seconds <= 0:
                        raise
            if present is not None and seconds > 0:
                return present  # Somebody else renews it, or it cannot be renewed just now.
            if loop.time() > give_up_at:
                raise NotAsked(Deferred(reason="token_awaited"))
            await asyncio.sleep(PAUSE_SECONDS)

    async def check(self, credentials: Credentials) -> NotVerified | NotReached | None:
        """Why no token can be had with these; None if one can. It changes no token. Spec S15."""
        reply = await self._ask(credentials, demanded=False)
        if _read(reply) is not None:
            return None
        error = read_error(document_of(reply), secret=credentials["app_secret"])
        return verification_answer(error.meaning) if error is not None else not_reached(reply)

    async def _renew(
        self,
        credentials: Credentials,
        whose: str,
        present: AccessToken | None,
        *,
        refused: AccessToken | None,
    ) -> AccessToken:
        newest = present.number if present is not None else 0
        try:
            fetched = await self._fetch(credentials, demanded=False)
            if refused is not None and fetched.value == refused.value:
                # It is handed out as good, and is not: so another one must be made.
                if not await self._store.may_demand(whose):
                    raise NotAsked(Deferred(reason="token_refused", retry_after_seconds=30.0))
                fetched = await self._fetch(credentials, demanded=True)
        except BaseException:
            await self._store.give_up_renewal(whose, after=newest)
            raise
        await self._store.keep(
            whose, after=newest, value=fetched.value, lifetime_seconds=fetched.lifetime_seconds
        )
        return AccessToken(
            value=fetched.value, number=newest + 1, good_for_seconds=fetched.lifetime_seconds
        )

    async def _fetch(self, credentials: Credentials, *, demanded: bool) -> Fetched:
        """Raises NotAsked."""
        reply = await self._ask(credentials, demanded=demanded)
        fetched = _read(reply)
        if fetched is not None:
            return fetched
        error = read_error(document_of(reply), secret=credentials["app_secret"])
        if isinstance(reply, NoReply) or error is None:
            raise NotAsked(unexplained(reply))
        answer = send_answer(error, retry_after_seconds=reply.retry_after_seconds)
        log_refusal(
            answer, reply, account_id=credentials["app_id"], code=error.code, rid=error.request_id
        )
        raise NotAsked(answer)

    async def _ask(self, credentials: Credentials, *, demanded: bool) -> Reply | NoReply:
        body = {
            "grant_type": "client_credential",
            "appid": credentials["app_id"],
            "secret": credentials["app_secret"],
            "force_refresh": demanded,
        }
        request = call(self._base_address, "stable_token", content=msgspec.json.encode(body))
        return await exchange(self._client, request, limits=self._limits)


def holder(credentials: Credentials) -> str:
    """What a token is asked for with; as JSON, so that nothing moves from one to the other."""
    parts = ("wechat", credentials["app_id"], credentials["app_secret"])
    return msgspec.json.encode(parts).decode()


def _seconds_left(token: AccessToken | None, *, oldest: int) -> float:
    """How long a token is good; one that is too old was refused, whatever it was to be."""
    return token.good_for_seconds if token is not None and token.number >= oldest else 0.0


def _read(reply: Reply | NoReply) -> Fetched | None:
    """The token in an answer."""
    document: Any = document_of(reply)
    if not isinstance(reply, Reply) or reply.status >= 300 or not isinstance(document, dict):
        return None
    value, seconds = document.get("access_token"), number(document.get("expires_in"))
    if not isinstance(value, str) or seconds is None:
        return None
    is_plain = value.isascii() and value.isprintable() and 0 < len(value) <= TOKEN_LENGTH_MAX
    return Fetched(value, seconds) if is_plain else None
