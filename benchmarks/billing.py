"""What billing costs: a reply inside an open conversation, a statement, a month priced again."""

import asyncio
import secrets
import time
import tracemalloc
from collections.abc import Awaitable, Callable
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
from domain.recount import Recount
from projections.statements import queries
from projections.statements.projection import Statements

CHATS = 200
REPLIES_PER_CHAT = 50
IN_FLIGHT = 32
LINES = 100_000
MESSAGES = 1_000_000
MONTH_BEGAN = datetime(2026, 10, 1, tzinfo=UTC)


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
    async with parts.all_orgs.connection() as connection:
        cursor = await connection.execute(
            "SELECT substr(stream, 6) FROM trunkline.events"
            " WHERE org = %s AND type = 'chat.started'",
            [org.number],
        )
        return actor, [row[0] for row in await cursor.fetchall()]


async def statement_seconds(superuser: str) -> float:
    """The statement of a month of 100,000 conversations among twelve such months."""
    async with await _statements(superuser) as connection:
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


async def fill_a_month(superuser: str, count: int = MESSAGES) -> None:
    """So many messages, one a second, five in a conversation; one in fifty was refused."""
    async with await _statements(superuser) as connection:
        await connection.execute(
            """INSERT INTO statements_conversations (org, conversation_id, business_account,
                      platform, account_id, country)
               SELECT 998, n::text, 'waba', 'whatsapp', '1',
                      (ARRAY['JP', 'US', 'BR', NULL])[1 + n %% 4]
                 FROM generate_series(0, %(count)s - 1, 5) AS n""",
            {"count": count},
        )
        await connection.execute(
            """INSERT INTO statements_messages (org, message_id, business_account, at, position,
                      conversation_id, chat_id, service, user_id, category, is_template,
                      in_window, in_entry_point, refused_position)
               SELECT 998, n::text, 'waba', %(start)s + interval '1 second' * n, 2 * n,
                      (n - n %% 5)::text, 'chat' || n / 50, 'crm', 'user' || n %% 50, 'service',
                      false, true, false, CASE WHEN n %% 50 = 0 THEN 2 * n + 501 END
                 FROM generate_series(0, %(count)s - 1) AS n""",
            {"count": count, "start": MONTH_BEGAN},
        )
        await connection.execute("ANALYZE statements_messages, statements_conversations")


async def recount_seconds(superuser: str, count: int = MESSAGES) -> float:
    """How long it takes to price so many messages of that month again."""
    began = time.perf_counter()
    await _recount(superuser, count)
    return time.perf_counter() - began


async def recount_memory(superuser: str, count: int) -> float:
    """The most memory that it takes here, in KiB."""
    tracemalloc.start()
    await _recount(superuser, count)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / 2**10


async def _recount(superuser: str, count: int) -> None:
    """As a replay does it: read from the projection as a stream, priced one by one."""
    priced, seen, total = Recount("service-message/2026-10", DEFAULT_CARD, UTC), 0, 0
    async with await _statements(superuser) as connection, connection.transaction():
        async for charge in queries.charges(
            connection,
            org=998,
            business_account="waba",
            start=MONTH_BEGAN,
            end=MONTH_BEGAN + timedelta(seconds=count),
        ):
            total += priced.price(charge.answer).micro_usd
            seen += 1
    assert seen == count
    assert total > 0


async def _statements(superuser: str) -> psycopg.AsyncConnection:
    connection = await psycopg.AsyncConnection.connect(superuser, autocommit=True)
    build = f"{Statements.name}_{Statements.version}_1"
    await connection.execute(f"SET search_path = {build}")
    return connection


def database_of(address: str, superuser: str) -> str:
    """The superuser's address of the database that an application's address names."""
    return make_conninfo(superuser, dbname=psycopg.conninfo.conninfo_to_dict(address)["dbname"])
