"""Every place where a process can die between two durable steps, by name; and what keeps it safe
there, to be taken away in controls. Nothing of this is in the program itself."""

import asyncio
import functools
import inspect
import os
import secrets
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from types import ModuleType
from typing import Any, Literal

from psycopg import AsyncConnection

from adapters.line.client import MessagingApi
from adapters.media.disk import NewFile
from adapters.media.store import SealedFiles
from adapters.messenger.client import SendApi
from adapters.postgres.access_tokens import PostgresAccessTokens
from adapters.postgres.begun_files import PostgresBegunFiles
from adapters.postgres.connections import assume
from adapters.postgres.directory import Directory
from adapters.postgres.keys import OrgKeys
from adapters.postgres.wire import Wire
from adapters.postgres.writer import Writer
from adapters.whatsapp.client import CloudApi
from adapters.whatsapp.platform import WhatsApp
from api.commands.dispatching import Dispatching
from api.commands.inbound import Inbound
from domain.dispatch_ports import DueMessage
from domain.inbound import AnyOccurrence
from domain.ports import Org
from projections.engine import batches, runner
from projections.engine.projection import Connection
from projections.inbox.projection import Inbox
from projections.unread.projection import Unread


@dataclass(frozen=True)
class Point:
    """Before or after a function; `counts` says which calls count, by arguments and result."""

    part: type | ModuleType
    method: str
    when: Literal["before", "after"]
    counts: Callable[[tuple[Any, ...], Any], bool] = lambda _arguments, _result: True


def _is_append(arguments: tuple[Any, ...], _result: Any) -> bool:
    return bool(arguments[1].startswith(b"append"))


def _is_true(_arguments: tuple[Any, ...], result: Any) -> bool:
    return result is True


def _has_moved(_arguments: tuple[Any, ...], result: Any) -> bool:
    return result.end is not None


POINTS = {
    "webhook: before verify": Point(WhatsApp, "verify", "before"),
    "webhook: after parse": Point(WhatsApp, "parse", "after"),
    "append: before it is sent": Point(Wire, "execute", "before", _is_append),
    "append: after it is sent": Point(Wire, "execute", "after", _is_append),
    "append: after the commit": Point(Writer, "_settle", "before"),
    "webhook: before the answer": Point(Inbound, "receive", "after"),
    "dispatcher: claimed": Point(Dispatching, "start_sending", "after", _is_true),
    "dispatcher: before the request": Point(CloudApi, "send", "before"),
    "dispatcher: after the request": Point(CloudApi, "send", "after"),
    "dispatcher: result appended": Point(Dispatching, "record_answer", "after"),
    "line: after the request": Point(MessagingApi, "send", "after"),
    "messenger: after the request": Point(SendApi, "send", "after"),
    "token: claimed": Point(PostgresAccessTokens, "begin_renewal", "after", _is_true),
    "projection: checkpoint moved": Point(batches, "_take", "after", _has_moved),
    "projection: inbox written": Point(Inbox, "apply", "after"),
    "projection: unread written": Point(Unread, "apply", "after"),
    "projection: committed": Point(runner, "advance", "after"),
    "file: before it is stored": Point(NewFile, "finish", "before"),
    "file: stored": Point(SealedFiles, "keep", "after"),
    "file: written down": Point(SealedFiles, "is_named", "before"),
    "connect: account claimed": Point(Directory, "claim_account", "after"),
    "connect: credentials stored": Point(Directory, "store_secrets", "after"),
    "found: organisation entered": Point(Directory, "create_organisation", "after"),
    "key: before it is stored": Point(Directory, "add_api_key", "before"),
}


def die_at(name: str, *, passing: int) -> None:
    """Have this process killed the nth time it comes by."""
    point = POINTS[name]
    original = getattr(point.part, point.method)
    passings = count(1)

    def pass_by(arguments: tuple[Any, ...], result: Any) -> None:
        if point.counts(arguments, result) and next(passings) == passing:
            os.kill(os.getpid(), signal.SIGKILL)

    @functools.wraps(original)
    async def waiting(*arguments: Any, **named: Any) -> Any:
        if point.when == "before":
            pass_by(arguments, None)
        result = await original(*arguments, **named)
        if point.when == "after":
            pass_by(arguments, result)
        return result

    @functools.wraps(original)
    def direct(*arguments: Any, **named: Any) -> Any:
        if point.when == "before":
            pass_by(arguments, None)
        result = original(*arguments, **named)
        if point.when == "after":
            pass_by(arguments, result)
        return result

    is_waiting = inspect.iscoroutinefunction(original)
    setattr(point.part, point.method, waiting if is_waiting else direct)


# What keeps it safe.


def _acknowledge_before_it_is_durable() -> None:
    receive = Inbound.receive

    async def at_once(
        self: Inbound,
        platform: str,
        occurrences: Sequence[AnyOccurrence],
        *,
        holder: int | None = None,
    ) -> None:
        asyncio.create_task(receive(self, platform, occurrences, holder=holder))  # noqa: RUF006

    Inbound.receive = at_once  # type: ignore[method-assign]


def _move_the_checkpoint_by_itself() -> None:
    take = batches._take

    async def elsewhere(connection: Connection, parameters: dict[str, Any]) -> Any:
        await connection.execute("SELECT set_config('search_path', %(schema)s, true)", parameters)
        url = os.environ["TRUNKLINE_DATABASE_URL"]
        async with await AsyncConnection.connect(url, autocommit=True) as another:
            await assume(another, "trunkline_project")
            return await take(another, parameters)

    batches._take = elsewhere


def _forget_what_was_received() -> None:
    of_parts = OrgKeys.hash

    def unlike(self: OrgKeys, *parts: str) -> bytes:
        if parts[0] == "occurrence":
            return secrets.token_bytes(32)
        return of_parts(self, *parts)

    OrgKeys.hash = unlike  # type: ignore[method-assign]


def _send_without_a_claim() -> None:
    async def granted(self: Dispatching, due: DueMessage, *, dispatcher: str) -> bool:
        return True

    Dispatching.start_sending = granted  # type: ignore[method-assign]


def _begin_files_unseen() -> None:
    async def not_noted(self: PostgresBegunFiles, org: Org, address: str, *, now: datetime) -> None:
        return

    PostgresBegunFiles.note = not_noted  # type: ignore[method-assign]


WITHOUT = {
    "durability": _acknowledge_before_it_is_durable,
    "one transaction": _move_the_checkpoint_by_itself,
    "dedupe keys": _forget_what_was_received,
    "claims": _send_without_a_claim,
    "begun files": _begin_files_unseen,
}
