"""What billing costs: a reply inside an open conversation, a statement, a month priced again."""

import asyncio
import secrets
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from api.commands.channels import Channels, ConnectService
from api.commands.context import Actor
from api.commands.organisations import Organisations
from api.commands.replies import Replies, TextReply, Write
from api.main import Core, Database, core, found
from api.settings import Settings
from api.system import new_id
from domain.inbound import Address, Content, MessageOccurred, Person
from domain.organisation import ConfigureService
from domain.rate_card import DEFAULT_CARD
from domain.recount import Billable, Recount
from projections import statements_queries as queries
from projections.statements import Statements

CHATS = 200
REPLIES_PER_CHAT = 10
IN_FLIGHT = 32
LINES = 100_000


async def replies_per_second(url: str, *, billing: bool) -> float:
    """Replies into conversations that are open already; with billing off there are none."""
    settings = Settings(home=Path("."), database_url=url, master_key=bytes(32), billing=billing)
    async with core(settings, Database(url, url, None, False)) as parts:
        actor, chats = await _chats(parts)
        replies = Replies(parts.context)

        async def write(chat_id: str) -> None:
            message = TextReply(text="On its way.")
            await replies.write(actor, Write(service="crm", chat_id=chat_id, message=message))

        await _all_at_once(chats, write)  # Opens the conversations.
        began = time.perf_counter()
        await _all_at_once(chats * REPLIES_PER_CHAT, write)
        return CHATS * REPLIES_PER_CHAT / (time.perf_counter() - began)


async def _all_at_once(chats: list[str], write: Callable[[str], Awaitable[None]]) -> None:
    queue = iter(chats)

    async def work() -> None:
        for chat_id in queue:
            await write(chat_id)

    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))


async def _chats(parts: Core) -> tuple[Actor, list[str]]:
    """An organisation whose customers have all written once."""
    org, user_id, _ = await found(parts, "Bench")
    actor = Actor(keys=await parts.directory.keys(org.number), user_id=user_id)
    service = ConfigureService(service="crm", subscription="bundled")
    await Organisations(parts.context).configure_service(actor, service)
    account = secrets.token_hex(8)
    await Channels(parts.context).connect(
        actor,
        ConnectService(service="crm", platform="whatsapp", account_id=account, name="Bench"),
    )
    now = datetime.now(UTC)
    heard = [
        MessageOccurred(
            kind="message.text",
            account_id=account,
            business_account_id=None,
            at=now,
            dedupe=(new_id(),),
            platform_id=new_id(),
            person=Person(addresses=(Address("phone", f"8190{number:08}"),)),
            content=Content(text="Hello"),
        )
        for number in range(CHATS)
    ]
    await parts.inbound.receive("whatsapp", heard)
    async with parts.projectors.connection() as connection:
        cursor = await connection.execute(
            "SELECT substr(stream, 6) FROM trunkline.events"
            " WHERE org = %s AND type = 'chat.started'",
            [org.number],
        )
        return actor, [row[0] for row in await cursor.fetchall()]


async def statement_seconds(superuser: str) -> float:
    """The statement of a month of 100,000 conversations among twelve such months."""
    async with await psycopg.AsyncConnection.connect(superuser, autocommit=True) as connection:
        build = f"{Statements.name}_{Statements.version}_1"
        await connection.execute(f"SET search_path = {build}")
        await connection.execute(
            """INSERT INTO statements_lines (org, business_account, position, month, kind, at,
                      recorded_at, micro_usd, subject, unit, category, country, service, user_id,
                      free)
               SELECT 999, 'waba', n, '2026-' || to_char(1 + n / %(lines)s, 'FM00'), 'charge',
                      now(), now(), -8000, n::text, 'conversation',
                      (ARRAY['service', 'marketing', 'utility'])[1 + n %% 3],
                      (ARRAY['JP', 'US', 'BR', 'IN'])[1 + n %% 4], 'crm', 'user' || n %% 50, false
                 FROM generate_series(0, 12 * %(lines)s - 1) AS n""",
            {"lines": LINES},
        )
        await connection.execute("ANALYZE statements_lines")
        seconds = []
        for _ in range(3):
            began = time.perf_counter()
            sums = await queries.statement(
                connection, org=999, business_account="waba", month="2026-06"
            )
            seconds.append(time.perf_counter() - began)
            assert sum(each.count for each in sums if each.part == "unit") == LINES
        return min(seconds)


def recount_seconds(count: int) -> float:
    """How long it takes to price so many messages again."""
    began = time.perf_counter()
    _recount(count)
    return time.perf_counter() - began


def recount_memory(count: int) -> float:
    """The most memory that it takes, in KiB."""
    tracemalloc.start()
    _recount(count)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / 2**10


def _recount(count: int) -> None:
    priced = Recount("service-message/2026-10", DEFAULT_CARD, UTC)
    assert sum(priced.price(each).micro_usd for each in _messages(count)) > 0


def _messages(count: int) -> Iterator[Billable]:
    start = datetime(2026, 10, 1, tzinfo=UTC)
    for number in range(count):
        yield Billable(
            position=number,
            message_id=str(number),
            conversation_id=str(number - number % 7),
            at=start + timedelta(seconds=2.6 * number * 1_000_000 / count),
            platform="whatsapp",
            account_id="1",
            country=("JP", "US", "BR", None)[number % 4],
            category="service",
            is_template=False,
            in_window=True,
            message_void=number + 500 if number % 50 == 0 else None,
        )


def database_of(address: str, superuser: str) -> str:
    """The superuser's address of the database that an application's address names."""
    return make_conninfo(superuser, dbname=psycopg.conninfo.conninfo_to_dict(address)["dbname"])
