"""Who shares a channel, who is its parent, and why (S1, S2, S8–S12, S15, S16)."""

from typing import Any

import msgspec
import pytest

from domain.channel import (
    ACCOUNTING_SERVICES,
    AgentsAssociated,
    Channel,
    ChannelCreated,
    ChannelReclaimed,
    ChannelReleased,
    ChannelRenamed,
    Connect,
    ConnectionConfigured,
    ConnectionCreated,
    ConnectionDeleted,
    ConnectionDisabled,
    ConnectionEnabled,
    ParentChosen,
    associate_agents,
    configure_connection,
    connect,
    delete,
    disable,
    enable,
    release,
    rename,
    replay_choice,
)
from domain.event import EVENT_CLASSES, Event
from domain.parent import Candidate, Cause
from domain.refusal import ChannelActive, NotConnected, NotFound, NotParent, ServiceNotEligible
from tests.domain.world import CREATED, FIRST_CHOSEN, SHARED, SHARED_EVENTS
from tests.scenario import Given, fold, given

ADMIN = "admin"


def to(service: str, *, shared: bool = True) -> Connect:
    """The wish of a service to use the account."""
    return Connect(
        channel_id="shared",
        service=service,
        platform="whatsapp",
        account_id="1055",
        shared=shared,
        name="Acme",
    )


def connected(service: str) -> ConnectionCreated:
    return ConnectionCreated(service=service, user_id=ADMIN)


def disabled(service: str) -> ConnectionDisabled:
    return ConnectionDisabled(service=service, user_id=ADMIN)


def enabled(service: str) -> ConnectionEnabled:
    return ConnectionEnabled(service=service, user_id=ADMIN)


def deleted(service: str) -> ConnectionDeleted:
    return ConnectionDeleted(service=service, user_id=ADMIN)


def chosen(
    service: str | None,
    cause: Cause,
    *candidates: tuple[str, int, int],
    previous: str | None = None,
) -> ParentChosen:
    """A decision; candidates are named with the places of creation and of last joining."""
    return ParentChosen(
        kind="parent",
        rule="earliest-created/1",
        cause=cause,
        candidates=tuple(Candidate(*each) for each in candidates),
        chosen=service,
        previous=previous,
    )


def sharing(history: Given) -> tuple[str | None, list[str]]:
    """The parent, and all who share, in the order of their joining."""
    channel = fold(Channel, *history.events)
    return channel.parent, channel.sharing


# S8: the table, step by step.


def test_s8_every_step_of_the_table() -> None:
    made = (
        given()
        .when(connect, command=to("crm"), user_id=ADMIN)
        .then(
            msgspec.structs.replace(CREATED, user_id=ADMIN),  # 1
            connected("crm"),  # 2
            chosen("crm", "first_creation", ("crm", 2, 2)),  # 3
        )
        .when(connect, command=to("desk"), user_id=ADMIN)
        .then(connected("desk"))  # 4
        .when(connect, command=to("salesiq"), user_id=ADMIN)
        .then(connected("salesiq"))  # 5
    )
    assert sharing(made) == ("crm", ["crm", "desk", "salesiq"])

    without_desk = made.when(disable, service="desk", user_id=ADMIN).then(disabled("desk"))  # 6
    assert sharing(without_desk) == ("crm", ["crm", "salesiq"])

    without_crm = without_desk.when(delete, service="crm", user_id=ADMIN).then(
        deleted("crm"),  # 7
        chosen("salesiq", "succession", ("salesiq", 5, 5), previous="crm"),  # 8
    )
    assert sharing(without_crm) == ("salesiq", ["salesiq"])

    desk_is_back = without_crm.when(enable, service="desk", user_id=ADMIN).then(
        enabled("desk")  # 9
    )
    assert sharing(desk_is_back) == ("salesiq", ["salesiq", "desk"])

    crm_is_back = desk_is_back.when(connect, command=to("crm"), user_id=ADMIN).then(
        connected("crm")  # 10
    )
    assert sharing(crm_is_back) == ("salesiq", ["salesiq", "desk", "crm"])


# S8, S9: each cause of a choice.


def test_s8_the_earliest_created_that_remains_succeeds_whenever_it_joined_last() -> None:
    given(*SHARED_EVENTS, disabled("desk"), enabled("desk")).when(
        delete, service="crm", user_id=ADMIN
    ).then(
        deleted("crm"),
        chosen("desk", "succession", ("salesiq", 5, 5), ("desk", 4, 7), previous="crm"),
    )


def test_s8_disabling_keeps_the_rank_and_deleting_forgets_it() -> None:
    by_disabling = given(*SHARED_EVENTS, disabled("desk"), enabled("desk"))
    by_deleting = given(*SHARED_EVENTS, deleted("desk"), connected("desk"))
    leave: dict[str, Any] = {"service": "crm", "user_id": ADMIN}
    by_disabling.when(disable, **leave).then(
        disabled("crm"),
        chosen("desk", "succession", ("salesiq", 5, 5), ("desk", 4, 7), previous="crm"),
    )
    by_deleting.when(disable, **leave).then(
        disabled("crm"),
        chosen("salesiq", "succession", ("salesiq", 5, 5), ("desk", 7, 7), previous="crm"),
    )


def test_s8_a_disabled_service_is_no_candidate() -> None:
    given(*SHARED_EVENTS, disabled("desk")).when(disable, service="crm", user_id=ADMIN).then(
        disabled("crm"), chosen("salesiq", "succession", ("salesiq", 5, 5), previous="crm")
    )


def test_s8_a_former_parent_that_comes_back_comes_back_as_a_child() -> None:
    history = (
        given(*SHARED_EVENTS)
        .when(disable, service="crm", user_id=ADMIN)
        .then(
            disabled("crm"),
            chosen("desk", "succession", ("desk", 4, 4), ("salesiq", 5, 5), previous="crm"),
        )
        .when(enable, service="crm", user_id=ADMIN)
        .then(enabled("crm"))
    )
    assert sharing(history) == ("desk", ["desk", "salesiq", "crm"])


def test_s10_when_the_last_service_leaves_nobody_is_left_to_choose() -> None:
    history = (
        given(CREATED, connected("crm"), FIRST_CHOSEN)
        .when(disable, service="crm", user_id=ADMIN)
        .then(disabled("crm"), chosen(None, "nobody_left", previous="crm"))
    )
    assert sharing(history) == (None, [])


DORMANT = (
    *(CREATED, connected("crm"), FIRST_CHOSEN, connected("desk"), disabled("desk")),
    *(disabled("crm"), chosen(None, "nobody_left", previous="crm")),
)


@pytest.mark.parametrize(
    ("decision", "service", "back", "candidate"),
    [
        (enable, {"service": "desk"}, enabled("desk"), ("desk", 4, 8)),
        (connect, {"command": to("desk")}, enabled("desk"), ("desk", 4, 8)),
        (connect, {"command": to("bigin")}, connected("bigin"), ("bigin", 8, 8)),
    ],
)
def test_s8_a_channel_without_a_parent_takes_the_first_that_comes(
    decision: Any, service: dict[str, Any], back: Event, candidate: tuple[str, int, int]
) -> None:
    given(*DORMANT).when(decision, **service, user_id=ADMIN).then(
        back, chosen(candidate[0], "revival", candidate)
    )


def test_s10_deleting_what_is_disabled_leaves_a_dormant_channel_as_it_is() -> None:
    given(*DORMANT).when(delete, service="desk", user_id=ADMIN).then(deleted("desk"))


def test_s8_deleting_a_disabled_former_parent_chooses_nobody_anew() -> None:
    gone = (
        disabled("crm"),
        chosen("desk", "succession", ("desk", 4, 4), ("salesiq", 5, 5), previous="crm"),
    )
    given(*SHARED_EVENTS, *gone).when(delete, service="crm", user_id=ADMIN).then(deleted("crm"))


# S9: a choice can be made again.

REJOINED = chosen("desk", "succession", ("salesiq", 5, 5), ("desk", 4, 7), previous="crm")


def test_s9_replaying_the_recorded_rule_gives_the_recorded_choice() -> None:
    assert replay_choice(REJOINED) == "desk"
    assert replay_choice(REJOINED, rule="earliest-created/1") == "desk"
    assert replay_choice(FIRST_CHOSEN) == "crm"
    assert replay_choice(chosen(None, "nobody_left", previous="crm")) is None


def test_s9_another_rule_tells_what_would_have_been_chosen() -> None:
    assert replay_choice(REJOINED, rule="earliest-joined/1") == "salesiq"
    assert replay_choice(FIRST_CHOSEN, rule="earliest-joined/1") == "crm"
    nobody = chosen(None, "nobody_left", previous="crm")
    assert replay_choice(nobody, rule="earliest-joined/1") is None


def test_s9_a_rule_that_nobody_registered_is_an_error() -> None:
    with pytest.raises(KeyError, match="youngest/1"):
        replay_choice(REJOINED, rule="youngest/1")


def test_s9_the_order_in_which_candidates_are_listed_does_not_matter() -> None:
    turned = msgspec.structs.replace(REJOINED, candidates=REJOINED.candidates[::-1])
    for rule in ("earliest-created/1", "earliest-joined/1"):
        assert replay_choice(turned, rule=rule) == replay_choice(REJOINED, rule=rule)


def test_s9_no_clock_can_matter_and_no_two_ranks_are_alike() -> None:
    # What a rule looks at are places in the stream, one for each event: no event holds a time.
    of_channels = [each for (name, _), each in EVENT_CLASSES.items() if name.startswith("channel.")]
    fields = [field for each in of_channels for field in msgspec.structs.fields(each)]
    assert [field.name for field in fields if "datetime" in str(field.type)] == []
    ranks = [(name, each.created, each.joined) for name, each in SHARED.connections.items()]
    assert ranks == [("crm", 2, 2), ("desk", 4, 4), ("salesiq", 5, 5)]


# S1, S2: connecting.


def test_s1_connecting_while_connected_changes_nothing() -> None:
    given(*SHARED_EVENTS).when(connect, command=to("desk"), user_id=ADMIN).then_nothing()


def test_s8_connecting_while_disabled_enables_and_keeps_the_rank() -> None:
    given(*SHARED_EVENTS, disabled("desk")).when(connect, command=to("desk"), user_id=ADMIN).then(
        enabled("desk")
    )


def test_s2_a_separate_channel_has_its_only_service_as_parent() -> None:
    history = (
        given()
        .when(connect, command=to("desk", shared=False), user_id=ADMIN)
        .then(
            ChannelCreated(
                channel_id="shared",
                platform="whatsapp",
                account_id="1055",
                shared=False,
                name="Acme",
                user_id=ADMIN,
            ),
            connected("desk"),
            chosen("desk", "first_creation", ("desk", 2, 2)),
        )
    )
    channel = fold(Channel, *history.events)
    assert (channel.shared, channel.parent, channel.sharing) == (False, "desk", ["desk"])


@pytest.mark.parametrize("service", sorted(ACCOUNTING_SERVICES))
def test_s2_accounting_services_are_refused_with_the_reason(service: str) -> None:
    given(*SHARED_EVENTS).when(connect, command=to(service), user_id=ADMIN).then_refused(
        ServiceNotEligible, reason="accounting_service"
    )


def test_s2_which_services_are_accounting() -> None:
    named = "books inventory invoice billing expense commerce checkout payroll"
    assert frozenset(named.split()) == ACCOUNTING_SERVICES


# S8: doing it twice is doing it once.


@pytest.mark.parametrize(
    ("decision", "history"),
    [
        (enable, SHARED_EVENTS),
        (disable, (*SHARED_EVENTS, disabled("desk"))),
    ],
)
def test_s8_what_is_so_already_stays_so(decision: Any, history: tuple[Event, ...]) -> None:
    given(*history).when(decision, service="desk", user_id=ADMIN).then_nothing()


@pytest.mark.parametrize("decision", [enable, disable, delete])
@pytest.mark.parametrize(
    "history", [SHARED_EVENTS, (*SHARED_EVENTS, connected("bigin"), deleted("bigin"))]
)
def test_s8_what_was_never_connected_cannot_be_changed(
    decision: Any, history: tuple[Event, ...]
) -> None:
    given(*history).when(decision, service="bigin", user_id=ADMIN).then_refused(NotFound)


def test_s8_deleting_twice_is_refused_the_second_time() -> None:
    given(*SHARED_EVENTS, deleted("desk")).when(delete, service="desk", user_id=ADMIN).then_refused(
        NotFound
    )


# S15: releasing the account.


def test_s15_a_dormant_channel_is_released_once() -> None:
    given(*DORMANT).when(release, user_id=ADMIN).then(ChannelReleased(user_id=ADMIN)).when(
        release, user_id=ADMIN
    ).then_nothing()


def test_s15_a_channel_in_use_is_not_released() -> None:
    given(*SHARED_EVENTS).when(release, user_id=ADMIN).then_refused(
        ChannelActive, services=["crm", "desk", "salesiq"]
    )


def test_s15_what_is_no_channel_cannot_be_released() -> None:
    given().when(release, user_id=ADMIN).then_refused(NotFound)


@pytest.mark.parametrize(
    ("decision", "service"), [(enable, {"service": "desk"}), (connect, {"command": to("desk")})]
)
def test_s10_coming_back_reclaims_a_released_channel(
    decision: Any, service: dict[str, Any]
) -> None:
    given(*DORMANT, ChannelReleased()).when(decision, **service, user_id=ADMIN).then(
        ChannelReclaimed(user_id=ADMIN),
        enabled("desk"),
        chosen("desk", "revival", ("desk", 4, 10)),
    ).when(disable, service="desk", user_id=ADMIN).then(
        disabled("desk"), chosen(None, "nobody_left", previous="desk")
    ).when(release, user_id=ADMIN).then(ChannelReleased(user_id=ADMIN))


# S12: who manages what.


def test_s12_the_parent_renames_the_channel() -> None:
    given(*SHARED_EVENTS).when(rename, service="crm", name="Support", user_id=ADMIN).then(
        ChannelRenamed(name="Support", user_id=ADMIN)
    ).when(rename, service="crm", name="Support", user_id=ADMIN).then_nothing()


def test_s12_a_child_is_told_who_the_parent_is() -> None:
    given(*SHARED_EVENTS).when(rename, service="desk", name="Support", user_id=ADMIN).then_refused(
        NotParent, parent="crm"
    )


@pytest.mark.parametrize(
    "history", [SHARED_EVENTS, (*SHARED_EVENTS, connected("bigin"), disabled("bigin"))]
)
def test_s16_who_does_not_share_manages_nothing(history: tuple[Event, ...]) -> None:
    here: dict[str, Any] = {"service": "bigin", "user_id": ADMIN}
    given(*history).when(rename, name="Support", **here).then_refused(NotConnected)
    given(*history).when(associate_agents, user_ids=("ann",), **here).then_refused(NotConnected)
    given(*history).when(
        configure_connection, department="sales", ticket_timer_hours=1, **here
    ).then_refused(NotConnected)


def test_s12_every_service_configures_its_own_connection() -> None:
    own: dict[str, Any] = {"service": "desk", "user_id": ADMIN}
    configured = (
        given(*SHARED_EVENTS)
        .when(configure_connection, department="sales", ticket_timer_hours=48, **own)
        .then(
            ConnectionConfigured(
                service="desk", department="sales", ticket_timer_hours=48, user_id=ADMIN
            )
        )
    )
    configured.when(
        configure_connection, department="sales", ticket_timer_hours=48, **own
    ).then_nothing()


def test_s12_what_is_left_out_keeps_its_value_and_null_takes_it_away() -> None:
    own: dict[str, Any] = {"service": "desk", "user_id": ADMIN}
    configured = ConnectionConfigured(service="desk", department="sales", ticket_timer_hours=48)
    given(*SHARED_EVENTS, configured).when(
        configure_connection, department=msgspec.UNSET, ticket_timer_hours=None, **own
    ).then(ConnectionConfigured(service="desk", department="sales", user_id=ADMIN))
    given(*SHARED_EVENTS, configured).when(
        configure_connection, department=msgspec.UNSET, ticket_timer_hours=msgspec.UNSET, **own
    ).then_nothing()


def test_c2_each_service_says_whom_it_gives_chats_to() -> None:
    own: dict[str, Any] = {"service": "desk", "user_id": ADMIN, "user_ids": ("dora", "bob")}
    given(*SHARED_EVENTS).when(associate_agents, **own).then(
        AgentsAssociated(service="desk", user_ids=("dora", "bob"), user_id=ADMIN)
    ).when(associate_agents, **own).then_nothing()


def test_s8_a_disabled_connection_keeps_its_settings_and_a_deleted_one_does_not() -> None:
    settings = (
        ConnectionConfigured(service="desk", department="sales", ticket_timer_hours=48),
        AgentsAssociated(service="desk", user_ids=("dora",)),
    )
    kept = fold(Channel, *SHARED_EVENTS, *settings, disabled("desk"), enabled("desk"))
    lost = fold(Channel, *SHARED_EVENTS, *settings, deleted("desk"), connected("desk"))
    assert _settings(kept, "desk") == ("sales", 48, ("dora",))
    assert _settings(lost, "desk") == (None, None, ())


def _settings(channel: Channel, service: str) -> tuple[str | None, int | None, tuple[str, ...]]:
    connection = channel.connections[service]
    return connection.department, connection.ticket_timer_hours, connection.agents
