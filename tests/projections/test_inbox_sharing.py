"""Who sees a chat: sharing, separate channels, joining late, being away (S2, S3, S13, S16)."""

import psycopg
import pytest

from projections.inbox.queries import chat, counts
from tests.projections.histories import at, shared_by
from tests.projections.inbox_scenario import Lists, last


@pytest.fixture
def lists(projector: psycopg.AsyncConnection) -> Lists:
    return Lists(projector)


async def test_a_customers_message_is_in_every_service_s3(lists: Lists) -> None:
    history = shared_by("crm", "desk")
    history.channel("own", shared=False)
    history.connected("bigin", "own")
    history.customer("hello")
    await lists.project(history)
    assert [await lists.listed(service) for service in ("crm", "desk", "bigin")] == [["a"]] * 3


async def test_a_reply_through_another_channel_does_not_exist_s2(lists: Lists) -> None:
    history = shared_by("crm")
    history.channel("own", shared=False)
    history.connected("bigin", "own")
    history.customer("hello", 1)
    history.reply("from crm", "crm", 2)
    history.reply("from bigin", "bigin", 3, channel_id="own")
    await lists.project(history)
    assert last(await lists.chat("crm")) == ("from crm", "queued")
    assert last(await lists.chat("bigin")) == ("from bigin", "queued")
    assert (await lists.chat("crm")).last_activity_at == at(2)


async def test_a_separate_channel_begins_with_its_connection_s2(lists: Lists) -> None:
    history = shared_by("crm")
    history.customer("before", 1)
    history.echo("echo before", 2)
    history.channel("own", shared=False)
    history.connected("bigin", "own")
    await lists.project(history)
    assert await lists.is_connected("bigin") is None
    history.customer("after", 3)
    await lists.project(history)
    row = await lists.chat("bigin")
    assert (row.started_at, row.last_activity_at) == (at(3), at(3))


async def test_a_late_message_from_before_is_new_to_a_separate_channel(lists: Lists) -> None:
    """What was kept while nobody was there is delivered then (S10): the log's order decides."""
    history = shared_by("crm")
    history.channel("own", shared=False)
    history.connected("bigin", "own")
    history.customer("written before", -60)
    await lists.project(history)
    assert await lists.listed("bigin") == ["a"]


async def test_a_service_that_joins_late_has_all_chats_s13(lists: Lists) -> None:
    history = shared_by("crm")
    history.customer("hello", 1)
    history.reply("welcome", "crm", 2)
    await lists.project(history)
    history.connected("desk")
    await lists.project(history)
    row = await lists.chat("desk")
    assert (last(row), row.started_at, row.answered) == (("welcome", "queued"), at(1), True)


async def test_a_service_that_is_away_has_an_empty_list_and_no_gap_later_s16(
    lists: Lists,
) -> None:
    history = shared_by("crm", "desk")
    history.customer("hello", 1)
    history.assigned("desk", "dan")
    history.disabled("desk")
    history.customer("anybody?", 2)
    await lists.project(history)
    assert (await lists.listed("desk"), await lists.is_connected("desk")) == ([], False)
    assert (await counts(lists.connection, org=lists.org, service="desk", viewer="dan")).all == 0
    assert await lists.listed("crm") == ["a"]
    history.enabled("desk")
    await lists.project(history)
    row = await lists.chat("desk")
    assert (row.connected, row.owner, last(row)) == (True, "dan", ("anybody?", "received"))


async def test_a_deleted_connection_is_not_connected_s16(lists: Lists) -> None:
    history = shared_by("crm", "desk")
    history.customer("hello")
    history.deleted("desk")
    await lists.project(history)
    assert await lists.is_connected("desk") is False
    assert await lists.is_connected("salesiq") is None
    assert await lists.is_connected("crm", "unknown") is None


async def test_a_service_that_moves_to_the_shared_channel_sees_its_history(lists: Lists) -> None:
    history = shared_by("crm")
    history.customer("before", 1)
    history.channel("own", shared=False)
    history.connected("desk", "own")
    history.customer("hello", 2)
    history.reply("from its own", "desk", 3, channel_id="own")
    await lists.project(history)
    history.deleted("desk", "own")
    history.connected("desk")
    await lists.project(history)
    row = await lists.chat("desk")
    assert (row.view.channel_id, last(row)[0], row.started_at) == ("shared", "hello", at(1))


async def test_a_service_that_moves_to_a_separate_channel_leaves_its_chats(lists: Lists) -> None:
    history = shared_by("crm", "desk")
    history.customer("hello", 1)
    await lists.project(history)
    history.deleted("desk")
    history.channel("own", shared=False)
    history.connected("desk", "own")
    await lists.project(history)
    assert (await lists.listed("desk"), await lists.is_connected("desk")) == ([], None)
    assert await lists.listed("crm") == ["a"]


async def test_a_service_on_two_channels_of_an_account_sees_through_one_it_is_on(
    lists: Lists,
) -> None:
    history = shared_by("crm", "desk")
    history.customer("hello", 1)
    history.channel("own", shared=False)
    history.connected("desk", "own")
    await lists.project(history)
    assert await lists.listed("desk") == []
    history.deleted("desk", "own")
    await lists.project(history)
    row = await lists.chat("desk")
    assert (row.connected, row.view.channel_id) == (True, "shared")


async def test_row_security_shows_one_org(lists: Lists, reader: psycopg.AsyncConnection) -> None:
    history = shared_by("crm")
    history.customer("hello")
    await lists.project(history)
    seen = []
    for org in (lists.org, lists.org + 1):
        await reader.execute("SELECT set_config('app.org', %s, false)", [str(org)])
        row = await chat(reader, org=lists.org, service="crm", chat_id="a")
        seen.append(row is not None)
    assert seen == [True, False]
