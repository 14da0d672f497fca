"""Which messages wait to be sent, and which of them a dispatcher is given (N3, N4, C15, C19)."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import msgspec
import psycopg
import pytest

from domain import channel as channels
from domain import contact as contacts
from domain.dispatch_ports import PassedOver
from domain.event import Event, Sealed
from projections.outbox import projection as outbox
from projections.outbox.projection import Claim, Outgoing, Recipient, Waiting
from tests.conftest import BUILDS, Database
from tests.projections.outbox_scenario import (
    CHANNEL_CREATED,
    CONTENT,
    LATER,
    LEAVE,
    NEW_CREDENTIALS,
    NOON,
    RESUMED,
    SECOND,
    STOPPED,
    Mail,
    Step,
    deferred,
    failed,
    on_account,
    on_channel,
    receipt,
    requested,
    sending,
    sent,
    started,
    uncertain,
)

PHONE = Sealed("contact:kim", b"1" * 16, b"phone")
BSUID = Sealed("contact:kim", b"2" * 16, b"bsuid")


@pytest.fixture(scope="module")
async def connection(database: Database) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
        await connection.execute("SET ROLE trunkline_project")
        await connection.execute(f"SET search_path = {BUILDS}")
        yield connection


@pytest.fixture
async def mail(connection: psycopg.AsyncConnection, database: Database) -> AsyncIterator[Mail]:
    """One shared channel with CRM and Desk, and the chats `a` and `b` on it."""
    mail = Mail(connection, database)
    await mail.happened_at_once(
        CHANNEL_CREATED,
        on_channel(channels.ConnectionCreated(service="crm")),
        on_channel(channels.ConnectionCreated(service="desk")),
        started("a"),
        started("b"),
    )
    yield mail
    # Questions span all orgs, so each test leaves the outbox empty.
    await connection.execute("DELETE FROM outbox")


# What waits.


async def test_n3_a_requested_reply_is_due_with_all_that_sending_it_takes(mail: Mail) -> None:
    phone = contacts.AddressAdded(kind="phone", key=b"p", address=PHONE)
    bsuid = contacts.AddressAdded(kind="bsuid:2", key=b"a", address=BSUID)
    old = contacts.AddressAdded(kind="phone", key=b"o", address=PHONE)
    await mail.key("contact:kim", b"wrapped")
    await mail.happened_at_once(
        ("contact:kim", old),
        ("contact:kim", phone),
        ("contact:kim", bsuid),
        ("contact:kim", contacts.AddressRemoved(key=b"o")),
        requested("m", template="hello/en", category="marketing", quotes=b"q", tag="T"),
    )
    recipient = Recipient(
        kind="phone",
        address=PHONE,
        stream="contact:kim",
        stored_type="contact.address_added",
        wrapped_key=b"wrapped",
    )
    second = Recipient(
        kind="bsuid:2",
        address=BSUID,
        stream="contact:kim",
        stored_type="contact.address_added",
        wrapped_key=b"wrapped",
    )
    assert await mail.rows() == [
        Outgoing(
            org=mail.org,
            chat_id="a",
            message_id="m",
            platform="whatsapp",
            account_id="1",
            kind="text",
            content=CONTENT,
            wrapped_key=b"wrapped",
            tag="T",
            attempt=0,
            recipients=(recipient, second),
        )
    ]
    facts = "version, position, contact_id, channel_id, service, requested_at, due_at"
    assert await mail.stored(f"{facts}, template, category, quotes") == [
        (2, mail.position, "kim", "shared", "crm", NOON, NOON, "hello/en", "marketing", b"q")
    ]


async def test_n3_a_message_can_be_opened_until_it_is_settled(mail: Mail) -> None:
    async def found(message: str) -> Outgoing | None:
        return await outbox.outgoing(mail.connection, org=mail.org, chat_id="a", message_id=message)

    await mail.happened(requested("m"), requested("n"))
    (first,) = await mail.rows()
    assert await found("m") == first
    await mail.happened(sending("m"))
    assert await found("m") == msgspec.structs.replace(first, attempt=1)
    await mail.happened(sent("m"))
    assert await found("m") is None


async def test_e4_a_message_whose_key_is_destroyed_is_due_without_it(mail: Mail) -> None:
    address = contacts.AddressAdded(kind="phone", key=b"p", address=PHONE)
    await mail.happened(("contact:kim", address), requested("m"))
    (row,) = await mail.rows()
    assert (row.wrapped_key, row.recipients[0].wrapped_key) == (None, None)


async def test_an_address_that_was_removed_is_no_recipient(mail: Mail) -> None:
    address = contacts.AddressAdded(kind="phone", key=b"p", address=PHONE)
    await mail.happened(("contact:kim", address))
    await mail.happened(("contact:kim", contacts.AddressRemoved(key=b"p")), requested("m"))
    assert [row.recipients for row in await mail.rows()] == [()]


async def test_c19_a_reply_in_a_groups_chat_goes_to_the_group(mail: Mail) -> None:
    group = contacts.AddressAdded(kind="group:1", key=b"g", address=PHONE)
    await mail.happened(
        ("contact:family", group),
        started("g", contact="family", group=True),
        requested("m", chat="g"),
    )
    (row,) = await mail.rows()
    assert [(each.kind, each.stream) for each in row.recipients] == [("group:1", "contact:family")]


@pytest.mark.parametrize("settled", [sent, uncertain, failed, receipt])
async def test_n3_a_settled_message_waits_no_longer(
    mail: Mail, settled: Callable[[str], Step]
) -> None:
    await mail.happened(requested("m"), sending("m"), settled("m"))
    assert await mail.waiting() == []
    await mail.happened_at_once(requested("n"), sending("n"), settled("n"))
    assert await mail.waiting() == []


async def test_c15_a_receipt_for_another_message_settles_nothing(mail: Mail) -> None:
    await mail.happened(requested("m"), receipt(None), receipt("other"))
    assert await mail.due() == ["m"]


# Order and turns.


async def test_n4_only_the_first_message_of_a_chat_is_due(mail: Mail) -> None:
    await mail.happened(requested("m"), requested("n", service="desk"), requested("o", chat="b"))
    assert await mail.due() == ["m", "o"]
    await mail.happened(sending("m"), sent("m"))
    assert await mail.due() == ["n", "o"]


async def test_n4_a_chat_whose_message_is_being_sent_gives_none(mail: Mail) -> None:
    await mail.happened(requested("m"), sending("m"), requested("n"))
    assert await mail.due() == []


async def test_n4_a_deferred_message_is_not_overtaken(mail: Mail) -> None:
    until = NOON + timedelta(hours=1)
    await mail.happened(requested("m"), requested("n"), sending("m"), deferred("m", until=until))
    assert await mail.due(until - SECOND) == []
    assert await mail.due(until) == ["m"]
    assert [row.attempt for row in await mail.rows()] == [1]


@pytest.mark.parametrize("freed", [uncertain, failed])
async def test_n4_uncertain_and_failed_free_the_lane(
    mail: Mail, freed: Callable[[str], Step]
) -> None:
    await mail.happened(requested("m"), requested("n"), sending("m"), freed("m"))
    assert await mail.due() == ["n"]


async def test_n4_a_later_message_may_fail_before_the_first(mail: Mail) -> None:
    await mail.happened(requested("m"), requested("n"), failed("n"))
    assert await mail.due() == ["m"]


async def test_a_busy_account_does_not_starve_the_others(mail: Mail) -> None:
    busy = [f"busy{i}" for i in range(20)]
    await mail.happened_at_once(*(started(each) for each in busy))
    await mail.happened_at_once(*(requested(f"m{each}", chat=each) for each in busy))
    await mail.happened(started("other", account="2"), requested("n", chat="other"))
    found = await outbox.due(mail.connection, now=LATER, limit=10, limit_per_account=3)
    assert [each.account_id for each in found] == ["1", "2", "1", "1"]


async def test_who_cannot_be_sent_to_now_leaves_room_for_the_others(mail: Mail) -> None:
    for account in "12":
        for chat in "ab":
            await mail.happened(started(chat + account, account=account))
            await mail.happened(requested(f"m{chat}{account}", chat=chat + account))
    cases = (
        (PassedOver(), ["ma1", "ma2", "mb1", "mb2"]),
        (PassedOver(accounts=[(mail.org, "whatsapp", "1")]), ["ma2", "mb2"]),
        (PassedOver(chats=[(mail.org, "a1"), (mail.org, "b2")]), ["ma2", "mb1"]),
        (PassedOver(accounts=[(mail.org + 1, "whatsapp", "1")]), ["ma1", "ma2", "mb1", "mb2"]),
    )
    for passed_over, left in cases:
        found = await outbox.due(
            mail.connection, now=LATER, limit=10, limit_per_account=9, passed_over=passed_over
        )
        assert sorted(each.message_id for each in found) == left
    assert len(await outbox.due(mail.connection, now=LATER, limit=2, limit_per_account=3)) == 2


# Claims and times.


async def test_n3_a_claim_that_is_too_old_is_an_orphan(mail: Mail) -> None:
    await mail.happened(requested("m"), sending("m", attempt=2))
    claimed_at = mail.now
    assert await outbox.orphans(mail.connection, claimed_before=claimed_at, limit=10) == []
    late = claimed_at + SECOND
    assert await outbox.orphans(mail.connection, claimed_before=late, limit=10) == [
        Claim(
            org=mail.org,
            platform="whatsapp",
            account_id="1",
            chat_id="a",
            message_id="m",
            attempt=2,
        )
    ]
    assert await mail.stored("dispatcher, claimed_at") == [("one", claimed_at)]
    await mail.happened(deferred("m", until=LATER))
    assert await outbox.orphans(mail.connection, claimed_before=LATER, limit=10) == []


async def test_the_next_time_is_that_of_a_message_whose_turn_it_is(mail: Mail) -> None:
    assert await outbox.next_due(mail.connection) is None
    await mail.happened(requested("m"), requested("n"), sending("m"))
    assert await outbox.next_due(mail.connection) is None
    await mail.happened(deferred("m", until=LATER))
    assert await outbox.next_due(mail.connection) == LATER


# Services that leave, accounts that stop.


@pytest.mark.parametrize("leave", LEAVE)
async def test_n3_messages_of_a_service_that_leaves_are_due_at_once(
    mail: Mail, leave: Event
) -> None:
    await mail.happened(requested("m"), sending("m"), deferred("m", until=LATER))
    await mail.happened(requested("n", chat="b", service="desk"), sending("n", chat="b"))
    await mail.happened(deferred("n", chat="b", until=LATER), on_channel(leave))
    assert await mail.due(mail.now) == ["m"]


async def test_n3_a_message_deferred_while_its_service_leaves_is_due_at_once(mail: Mail) -> None:
    await mail.happened(requested("m"), sending("m"), on_channel(LEAVE[0]))
    await mail.happened(deferred("m", until=LATER))
    assert await mail.due(mail.now) == ["m"]


async def test_n3_a_stopped_account_holds_its_messages(mail: Mail) -> None:
    await mail.happened(requested("m"), on_account(STOPPED), requested("n", chat="b"))
    assert await mail.due() == []
    assert await outbox.next_due(mail.connection) is None
    await mail.happened(started("c", account="2"), requested("o", chat="c"))
    assert await mail.due() == ["o"]


@pytest.mark.parametrize("again", [RESUMED, NEW_CREDENTIALS])
async def test_n3_held_messages_are_due_at_once_when_the_account_takes_messages_again(
    mail: Mail, again: Event
) -> None:
    await mail.happened(requested("m"), sending("m"), deferred("m", until=LATER))
    await mail.happened(on_account(STOPPED), requested("n", chat="b"), on_account(again))
    assert await mail.due(mail.now) == ["m", "n"]
    await mail.happened(sending("n", chat="b"), sent("n", chat="b"), requested("o", chat="b"))
    assert await mail.due(mail.now) == ["m", "o"]


async def test_new_credentials_for_a_running_account_do_not_cut_a_pause_short(mail: Mail) -> None:
    await mail.happened(requested("m"), sending("m"), deferred("m", until=LATER))
    await mail.happened(on_account(NEW_CREDENTIALS))
    assert await mail.due(mail.now) == []


async def test_n3_a_leaving_services_messages_fail_also_on_a_stopped_account(mail: Mail) -> None:
    await mail.happened(requested("m"), on_account(STOPPED), on_channel(LEAVE[0]))
    assert await mail.due() == ["m"]
    await mail.happened(on_channel(channels.ConnectionEnabled(service="crm")))
    assert await mail.due() == []


async def waiting(mail: Mail, *, after: str = "") -> list[Waiting]:
    return await outbox.waiting(mail.connection, after=(mail.org, after), limit=10)


async def test_n3_what_waits_can_be_found_whatever_it_waits_for(mail: Mail) -> None:
    await mail.happened(requested("m"), requested("n"))
    found = Waiting(org=mail.org, platform="whatsapp", account_id="1", chat_id="a", message_id="m")
    assert await waiting(mail) == [found]
    assert await waiting(mail, after="a") == []
    await mail.happened(sending("m"))
    assert await waiting(mail) == []
    await mail.happened(deferred("m", until=LATER), on_account(STOPPED))
    assert await waiting(mail) == [found]
    await mail.happened(on_channel(LEAVE[0]))
    assert await waiting(mail) == [found]
