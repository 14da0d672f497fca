"""The rules of the unread counters, one by one (C6, C7)."""

from collections.abc import AsyncIterator, Callable

import psycopg
import pytest

from domain import chat_events
from domain.organisation import Role
from projections.unread.projection import CHAT_COUNT_MAX
from tests.conftest import BUILDS, Database
from tests.projections.unread_scenario import (
    NOON,
    SEALED,
    Counters,
    Step,
    blocked,
    chat_visit,
    connected,
    created,
    deleted,
    disabled,
    enabled,
    message,
    reply,
    role_changed,
    services_changed,
    started,
    unblocked,
    user_added,
    visit,
)


@pytest.fixture(scope="module")
async def connection(database: Database) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
        await connection.execute("SET ROLE trunkline_project")
        await connection.execute(f"SET search_path = {BUILDS}")
        yield connection


@pytest.fixture
async def counters(connection: psycopg.AsyncConnection) -> Counters:
    """Ann works in CRM and Desk, which share one channel; the chats `a` and `b` are there."""
    counters = Counters(connection)
    await counters.happened_at_once(
        user_added("ann"),
        created("shared"),
        connected("crm"),
        connected("desk"),
        started("a"),
        started("b"),
    )
    return counters


# What counts.


async def test_c6_counts_per_service_and_per_chat(counters: Counters) -> None:
    await counters.happened(message("a"), message("b"), message("b"))
    assert await counters.of("ann", "crm") == (3, {"b": 2, "a": 1})
    assert await counters.of("ann", "desk") == (3, {"b": 2, "a": 1})


async def test_c6_the_list_begins_with_the_newest_message(counters: Counters) -> None:
    await counters.happened(message("b"), message("a"), message("b"))
    assert list((await counters.of("ann", "crm"))[1]) == ["b", "a"]


async def test_c6_only_customer_messages_count(counters: Counters) -> None:
    await counters.happened(
        ("chat:a", chat_events.ReactionReceived(target=b"", at=NOON)),
        ("chat:a", chat_events.EditReceived(target=b"", at=NOON, content=SEALED)),
        ("chat:a", chat_events.UnsendReceived(target=b"", at=NOON)),
        (
            "chat:a",
            chat_events.EchoReceived(message_id="e", kind="text", at=NOON, content=SEALED, key=b""),
        ),
        reply("a", "ben", "crm"),
    )
    assert await counters.of("ann", "crm") == (0, {})


async def test_c6_the_list_has_200_chats_and_the_total_is_exact(counters: Counters) -> None:
    chat_ids = [f"c{i:03}" for i in range(CHAT_COUNT_MAX + 5)]
    await counters.happened_at_once(*(started(each) for each in chat_ids))
    await counters.happened_at_once(*(message(each) for each in chat_ids))
    total, listed = await counters.of("ann", "crm")
    assert total == CHAT_COUNT_MAX + 5
    assert listed == dict.fromkeys(chat_ids[5:], 1)


async def test_a_page_of_an_inbox_has_a_number_for_every_chat(counters: Counters) -> None:
    await counters.happened(message("a"), message("b"), chat_visit("b", "ann", "crm"))
    page = await counters.page("ann", "crm", ["a", "b", "unknown"])
    assert page == {"a": 1, "b": 0, "unknown": 0}


# Visits.


async def test_c6_a_visit_of_the_service_has_seen_everything(counters: Counters) -> None:
    await counters.happened(message("a"), chat_visit("a", "ann", "crm"), message("b"))
    await counters.happened(visit("ann", "crm"))
    assert await counters.of("ann", "crm") == (0, {})
    assert await counters.total("ann", "desk") == 2
    await counters.happened(message("a"))
    assert await counters.of("ann", "crm") == (1, {"a": 1})


async def test_c6_a_visit_of_a_chat_has_seen_that_chat(counters: Counters) -> None:
    await counters.happened(message("a"), message("a"), message("b"))
    await counters.happened(chat_visit("a", "ann", "crm"), message("a"))
    assert await counters.of("ann", "crm") == (2, {"a": 1, "b": 1})
    assert await counters.total("ann", "desk") == 4


async def test_c6_a_reply_visits_its_chat_for_its_author_in_that_service(
    counters: Counters,
) -> None:
    await counters.happened(user_added("ben"), message("a"), message("b"), reply("a", "ann", "crm"))
    assert await counters.of("ann", "crm") == (1, {"b": 1})
    assert await counters.total("ann", "desk") == 2
    assert await counters.total("ben", "crm") == 2


async def test_c6_a_counter_is_per_user(counters: Counters) -> None:
    await counters.happened(user_added("ben"), message("a"), visit("ann", "crm"))
    assert await counters.total("ann", "crm") == 0
    assert await counters.total("ben", "crm") == 1


async def test_who_opens_every_chat_leaves_no_visits_behind(counters: Counters) -> None:
    await counters.happened(message("a"), message("b"))
    await counters.happened(chat_visit("a", "ann", "crm"), chat_visit("b", "ann", "crm"))
    assert await counters.of("ann", "crm") == (0, {})
    cursor = await counters.connection.execute(
        "SELECT count(*) FROM unread_visits WHERE org = %s", [counters.org]
    )
    assert await cursor.fetchone() == (0,)


# Access.


async def test_c6_counting_starts_where_the_user_was_added(counters: Counters) -> None:
    await counters.happened(message("a"), user_added("ben", services="crm"), message("a"))
    assert await counters.of("ben", "crm") == (1, {"a": 1})


@pytest.mark.parametrize("role", ["admin", "supervisor", "auditor"])
async def test_c6_these_roles_have_access_to_all_services(counters: Counters, role: Role) -> None:
    await counters.happened(message("a"), user_added("ben", role, services=""), message("b"))
    assert await counters.of("ben", "desk") == (1, {"b": 1})


async def test_c6_a_new_service_starts_anew_and_the_others_go_on(counters: Counters) -> None:
    await counters.happened(user_added("ben", services="crm"), message("a"))
    await counters.happened(services_changed("ben", "crm desk"), message("b"))
    assert await counters.total("ben", "crm") == 2
    assert await counters.total("ben", "desk") == 1


async def test_c6_losing_access_and_getting_it_again_starts_anew(counters: Counters) -> None:
    await counters.happened(message("a"), chat_visit("a", "ann", "crm"), message("a"))
    await counters.happened(services_changed("ann", "desk"), services_changed("ann", "crm desk"))
    assert await counters.of("ann", "crm") == (0, {})
    assert await counters.total("ann", "desk") == 2
    await counters.happened(message("a"))
    assert await counters.of("ann", "crm") == (1, {"a": 1})


async def test_c6_a_promotion_starts_only_the_services_it_adds(counters: Counters) -> None:
    await counters.happened(user_added("ben", services="crm"), message("a"))
    await counters.happened(role_changed("ben", "supervisor"))
    assert await counters.total("ben", "crm") == 1
    assert await counters.total("ben", "desk") == 0
    await counters.happened(message("a"), role_changed("ben", "agent"), message("a"))
    await counters.happened(role_changed("ben", "admin"))
    assert await counters.total("ben", "crm") == 3
    assert await counters.total("ben", "desk") == 0


# Services that join, leave and come back.


async def test_c6_messages_from_before_the_first_joining_do_not_count(counters: Counters) -> None:
    await counters.happened(message("a"), connected("bigin"), message("a"))
    await counters.happened(user_added("ben", "admin", services=""), message("b"))
    assert await counters.total("ben", "bigin") == 1
    await counters.happened(user_added("eve", services="bigin"))
    assert await counters.total("eve", "bigin") == 0


@pytest.mark.parametrize(("leave", "come_back"), [(disabled, enabled), (deleted, connected)])
async def test_c6_messages_that_came_while_the_service_was_away_count_on_its_return(
    counters: Counters, leave: Callable[..., Step], come_back: Callable[..., Step]
) -> None:
    await counters.happened(message("a"), visit("ann", "crm"), leave("crm"), message("b"))
    assert await counters.of("ann", "crm") == (0, {})
    await counters.happened(visit("ann", "crm"), message("b"), come_back("crm"))
    assert await counters.of("ann", "crm") == (2, {"b": 2})


async def test_s10_messages_for_a_dormant_channel_count_on_its_revival(counters: Counters) -> None:
    await counters.happened(disabled("crm"), deleted("desk"), message("a"), enabled("crm"))
    assert await counters.of("ann", "crm") == (1, {"a": 1})
    assert await counters.of("ann", "desk") == (0, {})


async def test_s2_a_separate_channel_counts_from_its_own_beginning(counters: Counters) -> None:
    await counters.happened(message("a"), created("own", shared=False), connected("bigin", "own"))
    await counters.happened(user_added("ben", services="bigin"), message("a"))
    assert await counters.of("ben", "bigin") == (1, {"a": 1})
    assert await counters.total("ann", "crm") == 2


async def test_two_accounts_of_a_service_add_up_and_are_visited_together(
    counters: Counters,
) -> None:
    await counters.happened(created("second", "2"), connected("crm", "second"), started("c", "2"))
    await counters.happened(message("a"), message("c"))
    assert await counters.of("ann", "crm") == (2, {"c": 1, "a": 1})
    assert await counters.total("ann", "desk") == 1
    await counters.happened(disabled("crm", "second"), visit("ann", "crm"))
    await counters.happened(enabled("crm", "second"))
    assert await counters.of("ann", "crm") == (1, {"c": 1})


async def test_two_channels_of_one_account_count_a_message_once(counters: Counters) -> None:
    await counters.happened(message("a"), created("own", shared=False), connected("crm", "own"))
    await counters.happened(message("a"))
    assert await counters.of("ann", "crm") == (2, {"a": 2})
    await counters.happened(deleted("crm", "shared"))
    assert await counters.of("ann", "crm") == (1, {"a": 1})


async def test_a_chat_stays_seen_on_the_channel_that_a_visit_missed(counters: Counters) -> None:
    await counters.happened(created("own", shared=False), connected("crm", "own"))
    await counters.happened(message("a"), message("b"), chat_visit("a", "ann", "crm"))
    await counters.happened(disabled("crm"), visit("ann", "crm"), enabled("crm"))
    assert await counters.of("ann", "crm") == (1, {"b": 1})


# Blocks.


async def test_c7_a_blocked_customers_messages_never_count(counters: Counters) -> None:
    await counters.happened(blocked("a", "crm"), message("a"), unblocked("a", "crm"), message("a"))
    assert await counters.of("ann", "crm") == (1, {"a": 1})
    assert await counters.total("ann", "desk") == 2


async def test_c7_what_was_unread_before_the_block_is_unread_after_it(counters: Counters) -> None:
    await counters.happened(message("a"), message("b"), blocked("a", "crm"), message("a"))
    assert await counters.of("ann", "crm") == (1, {"b": 1})
    await counters.happened(unblocked("a", "crm"))
    assert await counters.of("ann", "crm") == (2, {"b": 1, "a": 1})


async def test_c7_a_visited_chat_that_is_blocked_is_taken_off_once(counters: Counters) -> None:
    await counters.happened(message("a"), message("b"), chat_visit("a", "ann", "crm"))
    await counters.happened(message("a"), blocked("a", "crm"))
    assert await counters.of("ann", "crm") == (1, {"b": 1})


async def test_s16_chats_of_a_service_that_is_away_have_no_number(counters: Counters) -> None:
    await counters.happened(message("a"), disabled("crm"))
    assert await counters.page("ann", "crm", ["a"]) == {"a": 0}
