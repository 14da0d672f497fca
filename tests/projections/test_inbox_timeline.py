"""The rules of a chat's timeline, one by one (S2, S3, S13, C0, C15, C17, C19)."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from domain import chat_events
from projections.inbox.queries import chat, message, messages_page, receipts
from projections.inbox.rows import ChannelView, MessageRow
from tests.projections.histories import Projected, at, key, sealed, shared_by
from tests.projections.inbox_scenario import text


class Timelines(Projected):
    """What the services of one org see of the chat `a`."""

    async def view(self, service: str) -> ChannelView:
        row = await chat(self.connection, org=self.org, service=service, chat_id="a")
        assert row is not None
        return row.view

    async def of(self, service: str = "crm") -> list[MessageRow]:
        view = await self.view(service)
        return await messages_page(self.connection, org=self.org, chat_id="a", view=view, limit=50)

    async def names(self, service: str = "crm") -> list[str]:
        return [row.message_id for row in await self.of(service)]

    async def message(self, message_id: str, service: str = "crm") -> MessageRow | None:
        return await message(
            self.connection,
            org=self.org,
            chat_id="a",
            view=await self.view(service),
            message_id=message_id,
        )


@pytest.fixture
def timelines(projector: psycopg.AsyncConnection) -> Timelines:
    return Timelines(projector)


async def test_newest_first_by_the_platforms_time_then_by_position_c0(
    timelines: Timelines,
) -> None:
    history = shared_by("crm")
    history.customer("second", 2)
    history.customer("also second", 2)
    history.customer("first", 1)
    await timelines.project(history)
    assert await timelines.names() == ["also second", "second", "first"]


async def test_each_channel_has_its_own_replies_and_the_accounts_messages_s2_s3(
    timelines: Timelines,
) -> None:
    history = shared_by("crm", "desk")
    history.customer("m1", 1)
    history.channel("own", shared=False)
    history.connected("bigin", "own")
    history.customer("m2", 2)
    history.reply("r-crm", "crm", 3)
    history.reply("r-bigin", "bigin", 4, channel_id="own")
    history.echo("echo", 5)
    await timelines.project(history)
    assert await timelines.names("desk") == ["echo", "r-crm", "m2", "m1"]
    assert await timelines.names("bigin") == ["echo", "r-bigin", "m2"]
    assert await timelines.message("r-bigin", "crm") is None
    assert await timelines.message("m1", "bigin") is None
    assert await timelines.message("unknown") is None


async def test_a_message_is_shown_with_who_wrote_it(timelines: Timelines) -> None:
    history = shared_by("crm")
    history.customer("question", 1)
    history.reply("answer", "crm", 2, quotes=key("question"), retry_of="older")
    history.echo("echo", 3)
    await timelines.project(history)
    echo, answer, question = await timelines.of()
    assert (question.direction, question.status, question.service) == ("inbound", "received", None)
    assert (answer.direction, answer.status, answer.service) == ("outbound", "queued", "crm")
    assert (answer.user_id, answer.quotes, answer.retry_of) == ("crm-agent", "question", "older")
    assert (echo.direction, echo.status, echo.service, echo.channel_id) == (
        "outbound",
        "sent",
        None,
        None,
    )
    assert text(question.content) == "question"
    assert (question.key, answer.key) == (key("question"), None)


async def test_a_quoted_reply_of_another_channel_is_not_named_s2(timelines: Timelines) -> None:
    history = shared_by("crm")
    history.channel("own", shared=False)
    history.connected("bigin", "own")
    history.reply("r-bigin", "bigin", 1, channel_id="own")
    history.sent("r-bigin")
    history.customer("what?", 2, quotes=key("r-bigin"))
    await timelines.project(history)
    quoted = [await timelines.message("what?", service) for service in ("crm", "bigin")]
    assert [row and row.quotes for row in quoted] == [None, "r-bigin"]


# Status (C15).


async def test_a_status_only_grows_c15(timelines: Timelines) -> None:
    history = shared_by("crm")
    history.reply("r", "crm")
    lost = chat_events.SendUncertain(message_id="r", reason="timeout")
    seen = []
    steps: tuple[Callable[[], object], ...] = (
        lambda: history.on_chat(lost),
        lambda: history.sent("r"),
        lambda: history.receipt("r", "read", 1),
        lambda: history.receipt("r", "delivered", 2),
        lambda: history.receipt("r", "what is this", 3),
        lambda: history.receipt("r", "played", 4),
    )
    for tell in steps:
        tell()
        await timelines.project(history)
        seen.append((await timelines.of())[0].status)
    assert seen == ["uncertain", "sent", "read", "read", "read", "played"]


async def test_failed_ends_it_and_later_receipts_are_kept_c15(timelines: Timelines) -> None:
    history = shared_by("crm")
    history.reply("r", "crm")
    history.sent("r")
    history.receipt(
        "r", "failed", 1, error_code=131026, reason="undeliverable", detail=sealed("why")
    )
    history.receipt("r", "read", 2)
    await timelines.project(history)
    (row,) = await timelines.of()
    found = (row.status, row.failure_reason, row.failure_code)
    assert found == ("failed", "undeliverable", 131026)
    told = await receipts(timelines.connection, org=timelines.org, chat_id="a", message_id="r")
    assert [(each.status, each.at, text(each.detail)) for each in told] == [
        ("failed", at(1), "why"),
        ("read", at(2), None),
    ]


async def test_a_refusal_is_shown_with_its_reason(timelines: Timelines) -> None:
    history = shared_by("crm")
    history.reply("r", "crm")
    failed = chat_events.MessageFailed(message_id="r", reason="window_closed", error_code=131047)
    history.on_chat(failed)
    history.receipt("r", "failed", error_code=1)
    await timelines.project(history)
    (row,) = await timelines.of()
    assert (row.failure_reason, row.failure_code) == ("window_closed", 131047)


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_receipt_may_come_before_the_answer_to_the_send_c15(
    timelines: Timelines, at_once: bool
) -> None:
    history = shared_by("crm")
    history.reply("r", "crm")
    history.receipt("r", "delivered")
    if not at_once:
        await timelines.project(history)
        assert (await timelines.of())[0].status == "queued"
    history.sent("r")
    await timelines.project(history)
    assert (await timelines.of())[0].status == "delivered"


async def test_a_receipt_that_carries_our_mark_names_the_message_c15(
    timelines: Timelines,
) -> None:
    history = shared_by("crm")
    history.reply("r", "crm")
    await timelines.project(history)
    history.receipt("platform's", "delivered", message_id="r")
    history.receipt("platform's", "read", 1)
    await timelines.project(history)
    (row,) = await timelines.of()
    assert (row.status, row.key) == ("read", key("platform's"))


async def test_when_the_customer_last_saw_our_messages_c11(timelines: Timelines) -> None:
    history = shared_by("crm", "desk")
    history.channel("own", shared=False)
    history.connected("bigin", "own")
    history.customer("hello")
    history.reply("r-crm", "crm")
    history.reply("r-bigin", "bigin", channel_id="own")
    history.echo("echo")
    for name, minute in (("r-crm", 5), ("r-bigin", 7), ("echo", 6)):
        history.receipt(name, "read", minute)
    history.sent("r-crm")
    history.sent("r-bigin")
    await timelines.project(history)
    reads = []
    for service in ("desk", "bigin"):
        row = await chat(timelines.connection, org=timelines.org, service=service, chat_id="a")
        reads.append(row and row.customer_last_read_at)
    assert reads == [at(6), at(7)]


async def test_what_no_column_holds_stops_nothing(timelines: Timelines) -> None:
    history = shared_by("crm")
    history.reply("r", "crm")
    history.sent("r")
    history.receipt("r", "odd\0", error_code=2**40)
    history.receipt("r", "failed", error_code=-(2**31))
    await timelines.project(history)
    told = await receipts(timelines.connection, org=timelines.org, chat_id="a", message_id="r")
    assert [(each.status, each.error_code) for each in told] == [("odd", None), ("failed", None)]


# Echoes, edits, unsendings, reactions (C17).


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("echo_first", [True, False])
async def test_an_echo_of_our_own_message_is_no_second_copy_c17(
    timelines: Timelines, at_once: bool, echo_first: bool
) -> None:
    history = shared_by("crm")
    history.reply("r", "crm")
    first: tuple[Callable[[], object], ...] = (
        lambda: history.echo("echo", of="r"),
        lambda: history.sent("r"),
    )
    for tell in first if echo_first else reversed(first):
        tell()
        if not at_once:
            await timelines.project(history)
    await timelines.project(history)
    assert await timelines.names() == ["r"]


async def test_what_was_read_of_a_second_copy_was_read_of_the_first_c17(
    timelines: Timelines,
) -> None:
    """The echo was everybody's; what it repeats went through one channel only."""
    history = shared_by("crm")
    history.channel("own", shared=False)
    history.connected("bigin", "own")
    history.customer("hello")
    history.reply("r", "bigin", channel_id="own")
    history.echo("echo", of="r")
    history.receipt("r", "read", 5)
    await timelines.project(history)
    history.sent("r")
    await timelines.project(history)
    reads = []
    for service in ("crm", "bigin"):
        row = await chat(timelines.connection, org=timelines.org, service=service, chat_id="a")
        reads.append(row and row.customer_last_read_at)
    assert reads == [None, at(5)]
    assert await timelines.names("crm") == ["hello"]


@pytest.mark.parametrize("edit_first", [True, False])
@pytest.mark.parametrize("at_once", [True, False])
async def test_the_latest_edit_holds_also_when_it_comes_first_c17(
    timelines: Timelines, at_once: bool, edit_first: bool
) -> None:
    history = shared_by("crm")
    history.customer("anchor")
    written: list[Callable[[], object]] = [
        lambda: history.edited("m", "third", 3),
        lambda: history.edited("m", "second", 2),
        lambda: history.customer("m", 1),
    ]
    for tell in written if edit_first else reversed(written):
        tell()
        if not at_once:
            await timelines.project(history)
    await timelines.project(history)
    row = await timelines.message("m")
    assert row is not None
    assert (text(row.content), text(row.edited), row.edited_at) == ("m", "third", at(3))
    assert row.edited is not None
    assert row.edited.type == "chat.edit_received"


@pytest.mark.parametrize("unsent_first", [True, False])
@pytest.mark.parametrize("at_once", [True, False])
async def test_an_unsent_message_shows_as_such_and_leaves_nothing_c17(
    timelines: Timelines, at_once: bool, unsent_first: bool
) -> None:
    history = shared_by("crm")
    history.customer("anchor")
    written: list[Callable[[], object]] = [
        lambda: history.unsent("m", 4),
        lambda: history.edited("m", "changed", 2),
        lambda: history.reacted("m", "+", 2),
        lambda: history.customer("m", 1),
    ]
    for tell in written if unsent_first else reversed(written):
        tell()
        if not at_once:
            await timelines.project(history)
    await timelines.project(history)
    row = await timelines.message("m")
    assert row is not None
    assert (row.unsent, row.content, row.edited, row.reactions) == (True, None, None, ())
    for table, column in (("inbox_messages", "content"), ("inbox_edits", "content")):
        cursor = await timelines.connection.execute(
            f"SELECT {column} FROM {table} WHERE org = %s AND {column} IS NOT NULL",
            [timelines.org],
        )
        kept = [content for (content,) in await cursor.fetchall()]
        assert len(kept) == (table == "inbox_messages")  # The anchor's.


async def test_the_latest_reaction_of_each_author_is_shown_c17(timelines: Timelines) -> None:
    history = shared_by("crm")
    history.reacted("m", "+", 1)
    history.reacted("m", "*", 3)
    history.reacted("m", "late", 2)
    history.reacted("m", "ours", 4, echo=True)
    history.customer("m")
    await timelines.project(history)
    row = await timelines.message("m")
    assert row is not None
    shown = [(each.author, text(each.content), each.at) for each in row.reactions]
    assert shown == [("customer", "*", at(3)), ("business", "ours", at(4))]
    history.reacted("m", None, 5)
    await timelines.project(history)
    row = await timelines.message("m")
    assert row is not None
    assert [each.author for each in row.reactions] == ["business"]


# Groups (C19).


async def test_a_groups_messages_name_their_members_c19(timelines: Timelines) -> None:
    history = shared_by("crm")
    facts: dict[str, Any] = {"member": "ben", "content": sealed("hi all", "contact:ben")}
    history.customer("m", **facts)
    history.named("Ben", "ben")
    history.named("The group", "ann")
    await timelines.project(history)
    (row,) = await timelines.of()
    assert (row.member, text(row.member_name)) == ("ben", "Ben")
    assert row.member_name is not None
    assert row.member_name.stream == "contact:ben"
    group = await chat(timelines.connection, org=timelines.org, service="crm", chat_id="a")
    assert group is not None
    assert (group.contact_id, text(group.name)) == ("ann", "The group")
