"""Who looks after a chat, in each service for itself (S5–S7, C3, C4, C7, C18)."""

from collections.abc import Callable
from typing import Any

import pytest

from domain.channel import Channel, ConnectionDeleted, ConnectionDisabled, ConnectionEnabled
from domain.chat import Chat
from domain.chat_events import (
    ChatAssigned,
    ChatClosed,
    ChatOpened,
    ChatUnassigned,
    CustomerBlocked,
    CustomerUnblocked,
)
from domain.event import Event
from domain.organisation import Organisation, UserAdded, UserServicesChanged
from domain.ownership import (
    Assign,
    OwnedElsewhereNotice,
    assign,
    block,
    close,
    open_again,
    owned_elsewhere,
    unassign,
    unblock,
)
from domain.refusal import (
    Forbidden,
    Invalid,
    NoSuchUser,
    NotConnected,
    NotFound,
    OwnedElsewhere,
    OwnedHere,
    Refusal,
    ViewOnly,
)
from tests.domain.world import (
    CHAT_EVENTS,
    HOUR,
    NOON,
    ORGANISATION,
    ORGANISATION_EVENTS,
    PROFILE,
    SECOND,
    SHARED,
    SHARED_EVENTS,
    assigned,
    reply,
    wrote,
)
from tests.scenario import Given, fold, given

LATER = NOON + HOUR


def to(owner: str, *, by: str | None = None, service: str = "crm", confirm: bool = False) -> Any:
    """The arguments of an assignment; to oneself unless it is said who does it."""
    return {
        "channel": SHARED,
        "organisation": ORGANISATION,
        "command": Assign(service=service, owner=owner, confirm=confirm),
        "user_id": by or owner,
        "now": LATER,
    }


def became_owner(
    owner: str, *, by: str | None = None, service: str = "crm", previous: str | None = None
) -> ChatAssigned:
    return ChatAssigned(
        service=service, owner=owner, at=LATER, user_id=by or owner, previous=previous
    )


def chat(*events: Event) -> Given:
    return given(*CHAT_EVENTS, *events)


IN_CRM = assigned("crm", "ann")
IN_DESK = assigned("desk", "dora")
HERE = (OwnedHere, {"owner": "ann", "since": NOON})
# Bob works in CRM only: he is told that there is an owner elsewhere, and no more.
ELSEWHERE = (OwnedElsewhere, {"notice": OwnedElsewhereNotice(owner=None, since=IN_DESK.at)})


# C18: the table.


@pytest.mark.parametrize(
    ("owners", "refused"),
    [
        ((), None),
        ((IN_CRM,), HERE),
        ((IN_DESK,), ELSEWHERE),
        ((IN_CRM, IN_DESK), HERE),
    ],
)
def test_c18_without_confirm_only_a_chat_without_any_owner_is_given(
    owners: tuple[Event, ...], refused: tuple[type[Refusal], dict[str, Any]] | None
) -> None:
    decided = chat(*owners).when(assign, **to("bob"))
    if refused is None:
        decided.then(became_owner("bob"))
    else:
        decided.then_refused(refused[0], **refused[1])


@pytest.mark.parametrize(
    ("owners", "previous"),
    [((), None), ((IN_CRM,), "ann"), ((IN_DESK,), None), ((IN_CRM, IN_DESK), "ann")],
)
def test_c18_with_confirm_the_owner_in_this_service_only_is_replaced(
    owners: tuple[Event, ...], previous: str | None
) -> None:
    history = (
        chat(*owners)
        .when(assign, **to("bob", confirm=True))
        .then(became_owner("bob", previous=previous))
    )
    after = {name: owner.user_id for name, owner in fold(Chat, *history.events).owners.items()}
    assert after == {"crm": "bob", **({"desk": "dora"} if IN_DESK in owners else {})}


@pytest.mark.parametrize("confirm", [False, True])
@pytest.mark.parametrize("owners", [(IN_CRM,), (IN_CRM, IN_DESK)])
def test_c18_assigning_to_the_present_owner_changes_nothing(
    owners: tuple[Event, ...], confirm: bool
) -> None:
    chat(*owners).when(assign, **to("ann", confirm=confirm)).then_nothing()


def test_c18_what_was_not_confirmed_in_so_many_words_is_not() -> None:
    arguments = to("bob") | {"command": Assign(service="crm", owner="bob")}
    chat(IN_CRM).when(assign, **arguments).then_refused(OwnedHere, owner="ann", since=NOON)


def test_c18_twenty_agents_at_once_give_one_winner_nineteen_conflicts_and_one_event() -> None:
    agents = [f"agent-{number}" for number in range(20)]
    organisation = fold(
        Organisation,
        *ORGANISATION_EVENTS,
        *(
            UserAdded(added_user_id=each, role="agent", services={"crm": "reply"}, profile=PROFILE)
            for each in agents
        ),
    )
    for winner in agents:
        # All have decided on the same chat; the winner is in the log, the others decide again.
        arguments = {each: to(each) | {"organisation": organisation} for each in agents}
        history = chat().when(assign, **arguments[winner]).then(became_owner(winner))
        for other in agents:
            if other != winner:
                history.when(assign, **arguments[other]).then_refused(
                    OwnedHere, owner=winner, since=LATER
                )
        history.when(assign, **arguments[winner]).then_nothing()


def test_s5_each_service_has_an_owner_of_its_own() -> None:
    history = (
        chat()
        .when(assign, **to("ann"))
        .then(became_owner("ann"))
        .when(assign, **to("dora", service="desk", confirm=True))
        .then(became_owner("dora", service="desk"))
    )
    owners = fold(Chat, *history.events).owners
    assert {name: owner.user_id for name, owner in owners.items()} == {"crm": "ann", "desk": "dora"}


# S6: the notice.


def notice(
    *events: Event,
    viewer: str = "ann",
    service: str = "crm",
    channel: Channel = SHARED,
    organisation: Organisation = ORGANISATION,
) -> OwnedElsewhereNotice | None:
    state = fold(Chat, *CHAT_EVENTS, *events)
    return owned_elsewhere(state, channel, organisation, service=service, viewer=viewer)


IN_SALESIQ = assigned("salesiq", "sam", at=NOON - HOUR)


def told(owner: str | None) -> OwnedElsewhereNotice:
    """Sam owns the chat in salesiq, Dora in desk."""
    owned = IN_SALESIQ if owner == "sam" else IN_DESK
    return OwnedElsewhereNotice(owner=owner, since=owned.at)


def test_s6_there_is_no_notice_where_nobody_else_owns_the_chat() -> None:
    assert notice() is None
    assert notice(IN_CRM) is None
    assert notice(IN_DESK, ChatUnassigned(service="desk", previous="dora")) is None


@pytest.mark.parametrize(
    ("viewer", "owner"),
    [
        ("ann", None),  # Works in crm and salesiq.
        ("bob", None),
        ("admin", "dora"),
        ("supervisor", "dora"),
        ("auditor", "dora"),
    ],
)
def test_s6_only_who_may_view_the_other_service_sees_whose_it_is(
    viewer: str, owner: str | None
) -> None:
    assert notice(IN_DESK, viewer=viewer) == told(owner)


def test_s6_of_several_owners_the_latest_is_named_by_the_order_of_events() -> None:
    # Sam's own clock was an hour behind; Sam was assigned later all the same.
    assert notice(IN_DESK, IN_SALESIQ, viewer="admin") == told("sam")
    assert notice(IN_SALESIQ, IN_DESK, viewer="admin") == told("dora")


def test_s6_of_several_owners_the_latest_that_the_viewer_may_know_is_named() -> None:
    # Ann may view salesiq and not desk.
    assert notice(IN_SALESIQ, IN_DESK, viewer="ann") == told("sam")


@pytest.mark.parametrize("left", [ConnectionDisabled, ConnectionDeleted])
def test_s6_services_that_left_do_not_count(left: Callable[..., Event]) -> None:
    channel = fold(Channel, *SHARED_EVENTS, left(service="desk"))
    assert notice(IN_DESK, viewer="admin", channel=channel) is None
    assert notice(IN_SALESIQ, IN_DESK, viewer="admin", channel=channel) == told("sam")


def test_s6_services_that_came_back_count_again() -> None:
    channel = fold(
        Channel,
        *SHARED_EVENTS,
        ConnectionDisabled(service="desk"),
        ConnectionEnabled(service="desk"),
    )
    assert notice(IN_DESK, viewer="admin", channel=channel) == told("dora")


def test_s6_access_counts_as_it_is_now() -> None:
    organisation = fold(
        Organisation,
        *ORGANISATION_EVENTS,
        UserServicesChanged(changed_user_id="bob", services={"crm": "reply", "desk": "view"}),
    )
    assert notice(IN_DESK, viewer="bob", organisation=organisation) == told("dora")


def test_s7_the_conflict_carries_the_notice_that_opening_the_chat_gives() -> None:
    chat(IN_DESK).when(assign, **to("ann", by="supervisor")).then_refused(
        OwnedElsewhere, notice=told("dora")
    )


def test_s7_a_service_that_left_does_not_stand_in_the_way() -> None:
    channel = fold(Channel, *SHARED_EVENTS, ConnectionDisabled(service="desk"))
    chat(IN_DESK).when(assign, **to("bob") | {"channel": channel}).then(became_owner("bob"))


# Who may.


@pytest.mark.parametrize(
    ("by", "owner", "service", "refused"),
    [
        ("bob", "bob", "crm", None),
        ("admin", "admin", "desk", None),
        ("supervisor", "supervisor", "crm", None),
        ("supervisor", "supervisor", "desk", ViewOnly),
        ("viewer", "viewer", "crm", ViewOnly),
        ("bob", "bob", "desk", Forbidden),
        ("auditor", "auditor", "crm", Forbidden),
        # Others are given chats by supervisors and admins, in every service.
        ("admin", "bob", "crm", None),
        ("supervisor", "bob", "crm", None),
        ("supervisor", "dora", "desk", None),
        ("bob", "ann", "crm", Forbidden),
        ("viewer", "ann", "crm", Forbidden),
        ("auditor", "ann", "crm", Forbidden),
        ("stranger", "ann", "crm", Forbidden),
    ],
)
def test_c3_who_may_assign_whom(
    by: str, owner: str, service: str, refused: type[Refusal] | None
) -> None:
    decided = chat().when(assign, **to(owner, by=by, service=service))
    if refused is None:
        decided.then(became_owner(owner, by=by, service=service))
    else:
        decided.then_refused(refused)


def test_c3_only_who_is_there_can_be_owner() -> None:
    chat().when(assign, **to("stranger", by="supervisor")).then_refused(
        NoSuchUser, errors=[{"field": "user_id", "message": "there is no such user"}]
    )


@pytest.mark.parametrize(
    ("owner", "problem"),
    [
        ("dora", "this user does not work in the service 'crm'"),
        ("auditor", "this user does not work in the service 'crm'"),
    ],
)
def test_c3_only_who_works_in_the_service_can_be_owner(owner: str, problem: str) -> None:
    chat().when(assign, **to(owner, by="supervisor")).then_refused(
        Invalid, errors=[{"field": "user_id", "message": problem}]
    )


@pytest.mark.parametrize(
    ("by", "refused"),
    [
        ("ann", None),
        ("supervisor", None),
        ("admin", None),
        ("bob", Forbidden),
        ("viewer", Forbidden),
        ("auditor", Forbidden),
    ],
)
def test_s5_the_owner_or_a_supervisor_takes_the_owner_off(
    by: str, refused: type[Refusal] | None
) -> None:
    decided = chat(IN_CRM, IN_DESK).when(
        unassign, channel=SHARED, organisation=ORGANISATION, service="crm", user_id=by
    )
    if refused is not None:
        decided.then_refused(refused)
        return
    history = decided.then(ChatUnassigned(service="crm", previous="ann", user_id=by))
    assert list(fold(Chat, *history.events).owners) == ["desk"]


def test_s5_a_chat_without_an_owner_has_none_to_take_off() -> None:
    chat(IN_DESK).when(
        unassign, channel=SHARED, organisation=ORGANISATION, service="crm", user_id="bob"
    ).then_nothing()


# C4, C7: status and block, in each service for itself.

Decision = Callable[..., list[Event]]
CLOSED = ChatClosed(service="crm")
BLOCKED = CustomerBlocked(service="crm")


def by(user: str, service: str = "crm") -> dict[str, Any]:
    return {
        "channel": SHARED,
        "organisation": ORGANISATION,
        "service": service,
        "user_id": user,
    }


@pytest.mark.parametrize(
    ("before", "decision", "event"),
    [
        ((), close, ChatClosed(service="crm", user_id="ann")),
        ((CLOSED,), open_again, ChatOpened(service="crm", user_id="ann")),
        ((), block, CustomerBlocked(service="crm", user_id="ann")),
        ((BLOCKED,), unblock, CustomerUnblocked(service="crm", user_id="ann")),
    ],
)
def test_c4_c7_what_an_agent_does_is_done_once(
    before: tuple[Event, ...], decision: Decision, event: Event
) -> None:
    chat(*before).when(decision, **by("ann")).then(event).when(decision, **by("ann")).then_nothing()


@pytest.mark.parametrize(
    ("before", "decision"),
    [((CLOSED,), close), ((), open_again), ((BLOCKED,), block), ((), unblock)],
)
def test_c4_c7_what_is_so_already_stays_so(before: tuple[Event, ...], decision: Decision) -> None:
    chat(*before).when(decision, **by("ann")).then_nothing()


@pytest.mark.parametrize("decision", [close, open_again, block, unblock, unassign])
@pytest.mark.parametrize(
    ("user", "service", "refused"),
    [
        ("viewer", "crm", ViewOnly),
        ("auditor", "crm", Forbidden),
        ("bob", "desk", Forbidden),
        ("admin", "bigin", NotConnected),
    ],
)
def test_c5_who_may_not_reply_changes_nothing(
    decision: Decision, user: str, service: str, refused: type[Refusal]
) -> None:
    chat().when(decision, **by(user, service)).then_refused(refused)


@pytest.mark.parametrize("left", [ConnectionDisabled, ConnectionDeleted])
@pytest.mark.parametrize("decision", [close, open_again, block, unblock, unassign])
def test_s16_a_service_that_left_changes_nothing(
    decision: Decision, left: Callable[..., Event]
) -> None:
    channel = fold(Channel, *SHARED_EVENTS, left(service="crm"))
    chat().when(decision, **by("ann") | {"channel": channel}).then_refused(NotConnected)


def test_s16_nor_does_it_assign() -> None:
    channel = fold(Channel, *SHARED_EVENTS, ConnectionDisabled(service="crm"))
    chat().when(assign, **to("ann") | {"channel": channel}).then_refused(NotConnected)


def test_a_service_that_the_organisation_does_not_have_is_not_found() -> None:
    without_crm = fold(Organisation, *ORGANISATION_EVENTS[:1], *ORGANISATION_EVENTS[2:])
    arguments = by("admin") | {"organisation": without_crm}
    chat().when(close, **arguments).then_refused(NotFound)


def closed_in(*events: Event) -> set[str]:
    return set(fold(Chat, *CHAT_EVENTS, *events).closed)


def test_c4_closing_is_per_service() -> None:
    assert closed_in(CLOSED) == {"crm"}
    assert closed_in(CLOSED, ChatClosed(service="desk"), ChatOpened(service="crm")) == {"desk"}


def test_c4_a_customers_message_opens_the_chat_in_every_service() -> None:
    assert closed_in(CLOSED, ChatClosed(service="desk"), wrote(LATER)) == set()


def test_c4_a_message_that_came_late_opens_it_too() -> None:
    assert closed_in(CLOSED, wrote(NOON - HOUR)) == set()


def test_c4_a_reply_opens_the_chat_in_its_own_service_only() -> None:
    assert closed_in(CLOSED, ChatClosed(service="desk"), reply(service="crm")) == {"desk"}


def test_c4_opening_keeps_the_owner() -> None:
    after = fold(Chat, *CHAT_EVENTS, IN_CRM, CLOSED, wrote(LATER + SECOND))
    assert after.owners["crm"].user_id == "ann"


def test_c7_blocking_is_per_service_and_outlives_messages_and_closing() -> None:
    after = fold(Chat, *CHAT_EVENTS, BLOCKED, CLOSED, wrote(LATER))
    assert after.blocked == {"crm"}
