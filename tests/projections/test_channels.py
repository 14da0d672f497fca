"""Channels, their services, health and decisions (S1, S8, S9, S10, S15)."""

from datetime import UTC, datetime

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import account, channel
from domain.event import Event, Sealed
from projections.channels.projection import Candidate, Channels
from projections.channels.queries import (
    ChannelRow,
    accounts_by_health,
    channels_page,
    decisions,
)
from projections.channels.queries import channel as channel_of
from tests.projections.histories import ACCOUNT, NOON, History, Projected


class Listed(Projected):
    """The channels of one org."""

    def __init__(self, connection: psycopg.AsyncConnection) -> None:
        super().__init__(connection, Channels())

    async def channel(self, channel_id: str = "shared") -> ChannelRow:
        row = await channel_of(self.connection, org=self.org, channel_id=channel_id)
        assert row is not None
        return row

    async def sharing(self) -> list[str]:
        """The services that share the channel, the parent marked."""
        row = await self.channel()
        return [
            each.service + " (parent)" * each.parent
            for each in row.services
            if each.state == "active"
        ]


@pytest.fixture
def listed(projector: psycopg.AsyncConnection) -> Listed:
    return Listed(projector)


class Decider:
    """A channel that decides as the real one does, onto a history."""

    def __init__(self) -> None:
        self.history = History()
        self.state = channel.Channel()

    def tell(self, events: list[Event]) -> None:
        for event in events:
            self.history.on_channel(event)
            self.state = channel.evolve(self.state, event)

    def connect(self, service: str) -> None:
        command = channel.Connect(
            channel_id="shared",
            service=service,
            platform="whatsapp",
            account_id=ACCOUNT,
            shared=True,
            name="Main",
            address="+81 3",
        )
        self.tell(channel.connect(self.state, command, user_id="root"))

    def disable(self, service: str) -> None:
        self.tell(channel.disable(self.state, service, user_id="root"))

    def enable(self, service: str) -> None:
        self.tell(channel.enable(self.state, service, user_id="root"))

    def delete(self, service: str) -> None:
        self.tell(channel.delete(self.state, service, user_id="root"))


async def test_the_five_steps_of_a_parent_who_leaves_s8(listed: Listed) -> None:
    decider = Decider()
    seen = []

    def connect_all() -> None:
        for each in ("crm", "desk", "salesiq"):
            decider.connect(each)

    for step in (
        connect_all,
        lambda: decider.disable("desk"),
        lambda: decider.delete("crm"),
        lambda: decider.enable("desk"),
        lambda: decider.connect("crm"),
    ):
        step()
        await listed.project(decider.history)
        seen.append(await listed.sharing())
    assert seen == [
        ["crm (parent)", "desk", "salesiq"],
        ["crm (parent)", "salesiq"],
        ["salesiq (parent)"],
        # In the order of connection, whoever is the parent.
        ["desk", "salesiq (parent)"],
        ["desk", "salesiq (parent)", "crm"],
    ]


async def test_a_channel_is_shown_with_its_facts(listed: Listed) -> None:
    decider = Decider()
    decider.history.claimed()
    decider.connect("crm")
    decider.connect("desk")
    decider.disable("desk")
    decider.tell([channel.ChannelRenamed(name="Support")])
    await listed.project(decider.history)
    row = await listed.channel()
    assert (row.id, row.platform, row.account_id) == ("shared", "whatsapp", ACCOUNT)
    assert (row.name, row.address, row.shared) == ("Support", "+81 3", True)
    assert (row.state, row.parent, row.verification) == ("active", "crm", "pending")
    crm, desk = row.services
    assert (crm.service, crm.state, crm.parent, crm.connected_at) == (
        "crm",
        "active",
        True,
        decider.history.log[2].recorded_at,
    )
    assert (desk.service, desk.state, desk.parent) == ("desk", "disabled", False)


async def test_the_last_that_leaves_makes_it_dormant_and_the_next_revives_it_s10(
    listed: Listed,
) -> None:
    decider = Decider()
    decider.connect("crm")
    decider.delete("crm")
    decider.tell([channel.ChannelReleased()])
    await listed.project(decider.history)
    row = await listed.channel()
    assert (row.state, row.parent, row.released, row.services) == ("dormant", None, True, ())
    decider.connect("desk")
    await listed.project(decider.history)
    row = await listed.channel()
    assert (row.state, row.parent, row.released) == ("active", "desk", False)


async def test_decisions_name_their_candidates_by_positions_s9(listed: Listed) -> None:
    decider = Decider()
    decider.history.claimed()  # So that positions differ from the stream's versions.
    decider.connect("crm")
    decider.history.claimed("other")
    decider.connect("desk")
    await listed.project(decider.history)
    decider.disable("desk")
    decider.enable("desk")
    decider.delete("crm")
    await listed.project(decider.history)
    first, second = await decisions(listed.connection, org=listed.org, channel_id="shared", limit=9)
    assert (first.position, first.cause, first.chosen, first.previous) == (
        4,
        "first_creation",
        "crm",
        None,
    )
    assert first.candidates == (Candidate("crm", created_position=3, joined_position=3),)
    assert (second.position, second.kind, second.rule) == (10, "parent", "earliest-created/1")
    assert (second.cause, second.chosen, second.previous) == ("succession", "desk", "crm")
    assert second.candidates == (Candidate("desk", created_position=6, joined_position=8),)
    later = await decisions(
        listed.connection, org=listed.org, channel_id="shared", after=4, limit=9
    )
    assert later == [second]


async def test_replaying_a_decision_by_positions_gives_the_recorded_choice_s9(
    listed: Listed,
) -> None:
    decider = Decider()
    for service in ("crm", "desk", "salesiq"):
        decider.connect(service)
    decider.disable("desk")
    decider.enable("desk")
    decider.delete("crm")
    await listed.project(decider.history)
    for item in await decisions(listed.connection, org=listed.org, channel_id="shared", limit=9):
        assert channel.replay_choice(item.event) == item.chosen
        what_if = channel.replay_choice(item.event, rule="earliest-joined/1")
        assert what_if == ("salesiq" if item.previous == "crm" else "crm")


async def test_verification_and_health_are_the_accounts_s15(listed: Listed) -> None:
    history = History()
    history.claimed()
    history.channel("shared")
    history.connected("crm")
    seen: list[object] = []
    for event in (
        account.VerificationFailed(reason="no permission"),
        account.AccountStopped(reason="token_expired"),
        account.AccountStopped(reason="token_expired"),
        account.CredentialsChanged(fields=("access_token",)),
        account.AccountVerified(),
        account.AccountStopped(reason="blocked"),
        account.AccountResumed(),
    ):
        history.on_account(event)
        await listed.project(history)
        row = await listed.channel()
        assert row.health is not None
        since = (row.health.since - NOON).seconds  # The position, in histories.
        seen.append(
            (row.verification, row.verification_reason, row.health.state, since, row.health.reason)
        )
    assert seen == [
        ("failed", "no permission", "ok", 1, None),
        ("failed", "no permission", "stopped", 5, "token_expired"),
        ("failed", "no permission", "stopped", 5, "token_expired"),
        ("pending", None, "ok", 7, None),
        ("verified", None, "ok", 7, None),
        ("verified", None, "stopped", 9, "blocked"),
        ("verified", None, "ok", 10, None),
    ]


async def test_an_impairment_shows_until_it_is_over_or_its_time_has_come(listed: Listed) -> None:
    history = History()
    history.claimed()
    history.channel("shared")
    long_ago, in_ages = datetime(2001, 1, 1, tzinfo=UTC), datetime(2999, 1, 1, tzinfo=UTC)
    seen = []
    for event in (
        account.AccountImpaired(state="unreachable", reason="not_reached"),
        account.AccountImpaired(state="limited", reason="rate_limited"),
        account.AccountResumed(),
        account.AccountImpaired(state="restricted", reason="policy", until=in_ages),
        account.AccountImpaired(state="restricted", reason="policy", until=long_ago),
    ):
        history.on_account(event)
        await listed.project(history)
        health = (await listed.channel()).health
        assert health is not None
        seen.append((health.state, health.reason))
    assert seen == [
        ("unreachable", "not_reached"),
        ("limited", "rate_limited"),
        ("ok", None),
        ("restricted", "policy"),
        ("ok", None),
    ]
    assert (health and health.since) == long_ago


async def test_an_account_that_is_told_nothing_shows_so_where_it_takes_messages(
    listed: Listed,
) -> None:
    history = History()
    history.claimed()
    history.channel("shared")
    seen: list[object] = []
    for event in (
        account.AccountUnsubscribed(reason="credentials"),
        account.AccountUnsubscribed(reason="permission"),
        account.AccountStopped(reason="blocked"),
        account.AccountResumed(),
        account.AccountResubscribed(),
    ):
        history.on_account(event)
        await listed.project(history)
        health = (await listed.channel()).health
        assert health is not None
        counted = await accounts_by_health(listed.connection)
        assert health.state in {each.health for each in counted}
        since = (health.since - NOON).seconds  # The position, in histories.
        seen.append((health.state, since, health.reason))
    assert seen == [
        ("unsubscribed", 3, "credentials"),
        ("unsubscribed", 3, "permission"),
        ("stopped", 5, "blocked"),
        ("unsubscribed", 3, "permission"),
        ("ok", 7, None),
    ]


async def test_accounts_are_counted_by_their_health_unless_they_were_released(
    listed: Listed,
) -> None:
    async def stopped() -> int:
        counted = await accounts_by_health(listed.connection)
        return sum(each.accounts for each in counted if each.health == "stopped")

    before = await stopped()
    history = History()
    history.claimed()
    history.channel("shared")
    history.on_account(account.AccountStopped(reason="blocked"))
    await listed.project(history)
    assert await stopped() == before + 1
    history.on_channel(channel.ChannelReleased())
    await listed.project(history)
    assert await stopped() == before


async def test_news_of_a_business_account_concerns_no_channel(listed: Listed) -> None:
    history = History()
    notice = account.NoticeReceived(kind="account.alert", notice=Sealed("user:x", b"0" * 16, b""))
    history.on_account(notice, "business-1")
    history.on_account(account.AccountStopped(reason="x"), "business-1")
    await listed.project(history)
    assert await channels_page(listed.connection, org=listed.org, limit=9) == []


async def test_channels_are_listed_in_the_order_of_their_making(listed: Listed) -> None:
    history = History()
    for name in ("b", "a", "c"):
        history.channel(name, shared=name != "c")
        history.connected("crm", name)
    history.disabled("crm", "a")
    await listed.project(history)
    first = await channels_page(listed.connection, org=listed.org, limit=2)
    rest = await channels_page(listed.connection, org=listed.org, limit=2, after=first[-1].cursor)
    assert [row.id for row in [*first, *rest]] == ["b", "a", "c"]
    assert rest[0].health is None


STEPS = st.tuples(
    st.sampled_from(["connect", "disable", "enable", "delete"]),
    st.sampled_from(["crm", "desk", "salesiq"]),
)


@settings(max_examples=30)
@given(steps=st.lists(STEPS, min_size=3, max_size=15), data=st.data())
async def test_it_shows_what_the_domain_decided_in_whatever_batches_it_came(
    projector: psycopg.AsyncConnection,
    steps: list[tuple[str, str]],
    data: st.DataObject,
) -> None:
    """S8, S9."""
    decider = Decider()
    decider.connect("crm")
    for step, service in steps:
        if step == "connect" or service in decider.state.connections:
            getattr(decider, step)(service)
    listed = Listed(projector)
    log = decider.history.log
    begin = 0
    for end in sorted(data.draw(st.sets(st.integers(1, len(log)), max_size=4)) | {len(log)}):
        await listed.fold(log[begin:end])
        begin = end
    row = await listed.channel()
    state = decider.state
    by_creation = sorted(state.connections, key=lambda name: state.connections[name].created)
    assert row.parent == state.parent
    assert [(each.service, each.state == "active") for each in row.services] == [
        (name, state.connections[name].active) for name in by_creation
    ]
    made = [each for each in log if isinstance(each.event, channel.ParentChosen)]
    items = await decisions(projector, org=listed.org, channel_id="shared", limit=99)
    assert [item.position for item in items] == [each.position for each in made]
    positions = {each.version: each.position for each in log}
    for item, each in zip(items, made, strict=True):
        assert isinstance(each.event, channel.ParentChosen)
        assert item.candidates == tuple(
            Candidate(ranked.service, positions[ranked.created], positions[ranked.joined])
            for ranked in each.event.candidates
        )
