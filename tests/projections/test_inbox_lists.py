"""The rules of the lists of chats, one by one (S5, C0, C1, C4, C7, C11, N5)."""

from typing import Any

import psycopg
import pytest

from projections.inbox.queries import View, counts
from tests.projections.histories import at, shared_by
from tests.projections.inbox_scenario import Lists, last, text


@pytest.fixture
def lists(projector: psycopg.AsyncConnection) -> Lists:
    return Lists(projector)


# What a list shows.


async def test_newest_activity_comes_first_and_a_late_message_moves_nothing_c0(
    lists: Lists,
) -> None:
    history = shared_by("crm")
    history.chat("b", "ben")
    history.customer("a1", 10)
    history.customer("b1", 20, "b")
    history.customer("late", 5)
    await lists.project(history)
    assert await lists.listed("crm") == ["b", "a"]
    assert last(await lists.chat("crm")) == ("a1", "received")
    assert (await lists.chat("crm")).started_at == at(5)


async def test_receipts_reactions_and_assignments_are_no_activity_c1(lists: Lists) -> None:
    history = shared_by("crm")
    history.customer("hello", 1)
    history.reply("welcome", "crm", 2)
    history.sent("welcome")
    history.receipt("welcome", "read", 9)
    history.reacted("welcome", "+", 9)
    history.assigned("crm", "ann", 9)
    await lists.project(history)
    row = await lists.chat("crm")
    assert (row.last_activity_at, last(row)) == (at(2), ("welcome", "read"))


async def test_answered_is_what_the_newest_message_says_c1(lists: Lists) -> None:
    history = shared_by("crm", "desk")
    history.customer("hello", 1)
    await lists.project(history)
    assert await lists.listed("desk", answered=False) == ["a"]
    history.reply("welcome", "crm", 2)
    await lists.project(history)
    assert await lists.listed("desk", answered=True) == ["a"]
    history.customer("thanks", 3)
    history.echo("from the phone", 4)
    await lists.project(history)
    assert await lists.listed("crm", answered=True) == ["a"]


async def test_a_reply_that_fails_answers_nothing_c1(lists: Lists) -> None:
    history = shared_by("crm")
    history.customer("hello", 1)
    history.reply("first", "crm", 2)
    history.reply("second", "crm", 3)
    history.failed("second")
    await lists.project(history)
    assert (await lists.chat("crm")).answered
    history.failed("first")
    await lists.project(history)
    row = await lists.chat("crm")
    assert (row.answered, last(row)) == (False, ("second", "failed"))


async def test_a_customers_message_opens_everywhere_and_a_reply_in_its_service_c4(
    lists: Lists,
) -> None:
    history = shared_by("crm", "desk")
    history.customer("hello", 1)
    history.closed("crm")
    history.closed("desk")
    history.reply("one more thing", "crm", 2)
    await lists.project(history)
    assert [await lists.listed(each, "closed") for each in ("crm", "desk")] == [[], ["a"]]
    assert await lists.listed("desk", status="closed") == ["a"]
    assert await lists.listed("crm", status="open") == ["a"]
    history.closed("crm")
    history.customer("yes?", 3)
    await lists.project(history)
    assert [await lists.listed(each, "closed") for each in ("crm", "desk")] == [[], []]


async def test_a_session_lasts_from_opening_to_closing_c11(lists: Lists) -> None:
    history = shared_by("crm", "desk")
    started = len(history.log)
    history.customer("hello", 1)
    await lists.project(history)
    row = await lists.chat("crm")
    assert (row.session_id, row.session_started_at) == (str(started), at(1))
    history.closed("crm")
    again = history.customer("hello again", 5)
    history.customer("and again", 6)
    await lists.project(history)
    row = await lists.chat("crm")
    assert (row.session_id, row.session_started_at) == (str(again), at(5))
    assert (await lists.chat("desk")).session_id == str(started)


async def test_blocked_chats_stand_under_blocked_only_c7(lists: Lists) -> None:
    history = shared_by("crm", "desk")
    history.customer("hello")
    history.closed("crm")
    history.blocked("crm")
    await lists.project(history)
    views: tuple[View, ...] = ("all", "mine", "unassigned", "closed", "blocked")
    assert [await lists.listed("crm", view) for view in views] == [[], [], [], [], ["a"]]
    assert await lists.listed("desk") == ["a"]
    history.unblocked("crm")
    await lists.project(history)
    assert await lists.listed("crm", "closed") == ["a"]


async def test_owners_are_those_of_the_service_s5(lists: Lists) -> None:
    history = shared_by("crm", "desk")
    history.customer("hello")
    history.assigned("crm", "ann", 1)
    await lists.project(history)
    assert await lists.listed("crm", "mine", viewer="ann") == ["a"]
    assert await lists.listed("crm", owner="ann") == ["a"]
    assert await lists.listed("crm", "mine", viewer="ben") == []
    assert await lists.listed("crm", "unassigned") == []
    assert await lists.listed("desk", "unassigned") == ["a"]
    assert (await lists.chat("crm")).owner_since == at(1)
    history.unassigned("crm")
    await lists.project(history)
    assert await lists.listed("crm", "unassigned") == ["a"]


async def test_a_chat_counts_from_its_first_message_and_not_from_a_decision(
    lists: Lists,
) -> None:
    async def counted() -> tuple[int, int]:
        row = await counts(lists.connection, org=lists.org, service="crm", viewer="ann")
        return row.all, row.mine

    history = shared_by("crm")
    history.assigned("crm", "ann")
    await lists.project(history)
    assert (await counted(), await lists.is_connected("crm")) == ((0, 0), None)
    history.customer("hello")
    await lists.project(history)
    assert await counted() == (1, 1)


async def test_dates_are_inclusive_from_and_exclusive_to_c1(lists: Lists) -> None:
    history = shared_by("crm")
    history.customer("first", 10)
    history.customer("newest", 20)
    await lists.project(history)
    assert await lists.listed("crm", first_from=at(10), first_to=at(11)) == ["a"]
    assert await lists.listed("crm", first_to=at(10)) == []
    assert await lists.listed("crm", last_from=at(20), last_to=at(21)) == ["a"]
    assert await lists.listed("crm", last_to=at(20)) == []
    assert await lists.listed("crm", last_from=at(10), last_to=at(20)) == []


async def test_platform_and_channel_filter(lists: Lists) -> None:
    history = shared_by("crm")
    history.channel("other", account_id="2066")
    history.connected("crm", "other")
    history.chat("b", "ben", account_id="2066")
    history.customer("a1", 1)
    history.customer("b1", 2, "b")
    await lists.project(history)
    assert await lists.listed("crm") == ["b", "a"]
    assert await lists.listed("crm", channel_id="other") == ["b"]
    assert await lists.listed("crm", platform="whatsapp") == ["b", "a"]
    assert await lists.listed("crm", platform="line") == []


# Who the customer is.


async def test_a_customer_is_shown_with_the_newest_name_and_a_phone_number(
    lists: Lists,
) -> None:
    history = shared_by("crm")
    history.customer("hello")
    await lists.project(history)
    row = await lists.chat("crm")
    assert (row.contact_id, row.name, row.address) == ("ann", None, None)
    history.named("Ann")
    history.address("phone", "+81 1")
    history.address("bsuid:55", "JP.1")
    history.named("Ann Sato")
    await lists.project(history)
    row = await lists.chat("crm")
    assert (text(row.name), row.address_kind, text(row.address)) == ("Ann Sato", "phone", "+81 1")
    history.no_address("+81 1")
    await lists.project(history)
    row = await lists.chat("crm")
    assert (row.address_kind, text(row.address)) == ("bsuid:55", "JP.1")


async def test_who_opted_out_of_marketing_did_so_on_one_account_n5(lists: Lists) -> None:
    history = shared_by("crm")
    history.channel("other", account_id="2066")
    history.connected("crm", "other")
    history.chat("b", account_id="2066")
    history.customer("a1", 1)
    history.customer("b1", 2, "b")
    history.wants_marketing(False, 2)
    await lists.project(history)
    history.wants_marketing(True, 1)  # An older word, that came late.
    await lists.project(history)
    assert [(await lists.chat("crm", each)).marketing_opt_out for each in "ab"] == [True, False]
    history.wants_marketing(True, 3)
    history.wants_marketing(False, 2.5)
    await lists.project(history)
    assert not (await lists.chat("crm")).marketing_opt_out


async def test_sealed_parts_come_with_what_opens_them(
    lists: Lists, projected_database: Any
) -> None:
    history = shared_by("crm")
    history.customer("hello")
    history.named("Ann")
    await lists.project(history)
    erased = await lists.chat("crm")
    assert (erased.name and erased.name.wrapped) is None
    with psycopg.connect(projected_database.superuser) as connection:
        connection.execute(
            "INSERT INTO trunkline.keys (org, id, wrapped) VALUES (%s, 'contact:ann', 'wrapped')",
            [lists.org],
        )
    row = await lists.chat("crm")
    content, name = row.last_message.content, row.name
    assert content is not None
    assert name is not None
    assert (content.stream, content.type, content.wrapped) == (
        "chat:a",
        "chat.message_received",
        b"wrapped",
    )
    assert (name.stream, name.type, name.wrapped) == (
        "contact:ann",
        "contact.named",
        b"wrapped",
    )


async def test_the_window_counts_from_the_customers_newest_message_on_the_account(
    lists: Lists,
) -> None:
    history = shared_by("crm")
    history.customer("hello", 10)
    await lists.project(history)
    history.customer("late", 5)
    history.channel("own", shared=False)
    history.connected("bigin", "own")
    history.reply("welcome", "bigin", 20, channel_id="own")
    await lists.project(history)
    assert (await lists.chat("bigin")).last_customer_message_at == at(10)


async def test_a_chat_that_the_business_started_is_there_before_any_answer(lists: Lists) -> None:
    history = shared_by("crm", "desk")
    history.reply("template", "crm", 1)
    await lists.project(history)
    row = await lists.chat("desk")
    assert (row.started_at, row.answered, row.last_customer_message_at) == (at(1), True, None)
