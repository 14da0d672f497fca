"""Services, users, and who may do what (S4, S16, C5)."""

from collections.abc import Callable
from typing import Any

import pytest

from domain.event import Event
from domain.organisation import (
    AddUser,
    ApiKeyCreated,
    ApiKeyRevoked,
    ChangeUser,
    ConfigureService,
    LastAdmin,
    MaskingChanged,
    Organisation,
    ReplyOwnershipChanged,
    Service,
    ServiceAdded,
    SubscriptionChanged,
    TicketTimerChanged,
    User,
    UserAdded,
    UserAwayChanged,
    UserRoleChanged,
    UserServicesChanged,
    add_user,
    change_user,
    configure_service,
    may_view,
    require_reply,
    require_role,
    require_view,
    require_visit,
)
from domain.refusal import Forbidden, Invalid, NotFound, Refusal, ViewOnly
from tests.domain.world import ORGANISATION, ORGANISATION_EVENTS, PROFILE
from tests.scenario import fold, given

ADMIN = "admin"
YES = None

# Who may, of the world's users: supervisor {crm: reply, desk: view}, ann {crm: reply},
# viewer {crm: view}.
Check = Callable[[Organisation, str, str], None]


@pytest.mark.parametrize(
    ("check", "user", "service", "refused"),
    [
        # Reading: admins, supervisors and auditors everywhere, agents in their services.
        (require_view, "admin", "desk", YES),
        (require_view, "supervisor", "desk", YES),
        (require_view, "supervisor", "bigin", YES),
        (require_view, "auditor", "desk", YES),
        (require_view, "ann", "crm", YES),
        (require_view, "ann", "desk", Forbidden),
        (require_view, "viewer", "crm", YES),
        (require_view, "viewer", "desk", Forbidden),
        (require_view, "stranger", "crm", Forbidden),
        # Writing: admins everywhere, supervisors and agents where they have `reply`.
        (require_reply, "admin", "desk", YES),
        (require_reply, "supervisor", "crm", YES),
        (require_reply, "supervisor", "desk", ViewOnly),
        (require_reply, "supervisor", "bigin", ViewOnly),
        (require_reply, "ann", "crm", YES),
        (require_reply, "ann", "desk", Forbidden),
        (require_reply, "viewer", "crm", ViewOnly),
        (require_reply, "viewer", "desk", Forbidden),
        (require_reply, "auditor", "crm", Forbidden),
        (require_reply, "stranger", "crm", Forbidden),
        # Visiting: everybody who reads, but the auditor.
        (require_visit, "admin", "desk", YES),
        (require_visit, "supervisor", "bigin", YES),
        (require_visit, "ann", "crm", YES),
        (require_visit, "viewer", "crm", YES),
        (require_visit, "viewer", "desk", Forbidden),
        (require_visit, "auditor", "crm", Forbidden),
        # A service that the org does not have is unknown to everybody alike.
        (require_view, "admin", "books", NotFound),
        (require_reply, "viewer", "books", NotFound),
        (require_visit, "auditor", "books", NotFound),
    ],
)
def test_c5_who_may_read_write_and_visit(
    check: Check, user: str, service: str, refused: type[Refusal] | None
) -> None:
    assert _refusal(check, user, service) is refused


def _refusal(check: Callable[..., None], *arguments: str) -> type[Refusal] | None:
    try:
        check(ORGANISATION, *arguments)
    except Refusal as refusal:
        return type(refusal)
    return None


@pytest.mark.parametrize(
    ("user", "allowed"),
    [("admin", True), ("supervisor", True), ("ann", False), ("auditor", False), ("no one", False)],
)
def test_what_needs_a_role_is_refused_to_the_others(user: str, allowed: bool) -> None:
    refused = _refusal(require_role, user, "admin", "supervisor")
    assert refused is (None if allowed else Forbidden)


def test_c5_an_auditor_stays_one_even_with_services_of_their_own() -> None:
    organisation = fold(
        Organisation,
        *ORGANISATION_EVENTS,
        UserServicesChanged(changed_user_id="auditor", services={"crm": "reply"}),
    )
    with pytest.raises(Forbidden):
        require_reply(organisation, "auditor", "crm")


def test_may_view_knows_no_strangers() -> None:
    assert not may_view(ORGANISATION, "stranger", "crm")


# Services.


def test_at_first_masking_is_full_and_ownership_demanded_for_desk_only() -> None:
    assert ORGANISATION.services == {
        "crm": Service(subscription="bundled", masking="full", owner_replies=False),
        "desk": Service(subscription="bundled", masking="full", owner_replies=True),
        "salesiq": Service(subscription="bundled", masking="full", owner_replies=False),
        "bigin": Service(subscription="bundled", masking="full", owner_replies=False),
    }


def configure(service: str = "crm", subscription: Any = "bundled", **settings: Any) -> Any:
    command = ConfigureService(service=service, subscription=subscription, **settings)
    return {"command": command, "user_id": ADMIN}


def test_a_new_service_is_added_with_an_event_for_each_setting_that_is_not_the_default() -> None:
    given(*ORGANISATION_EVENTS).when(
        configure_service,
        **configure(
            "forms", "standalone", masking="none", owner_replies=True, ticket_timer_hours=24
        ),
    ).then(
        ServiceAdded(service="forms", subscription="standalone", user_id=ADMIN),
        MaskingChanged(service="forms", masking="none", user_id=ADMIN),
        ReplyOwnershipChanged(service="forms", required=True, user_id=ADMIN),
        TicketTimerChanged(service="forms", hours=24, user_id=ADMIN),
    ).when(
        configure_service,
        **configure(
            "forms", "standalone", masking="none", owner_replies=True, ticket_timer_hours=24
        ),
    ).then_nothing()


def test_a_new_service_with_the_defaults_is_one_event() -> None:
    given(*ORGANISATION_EVENTS).when(
        configure_service,
        **configure("forms", masking="full", owner_replies=False, ticket_timer_hours=None),
    ).then(ServiceAdded(service="forms", subscription="bundled", user_id=ADMIN))


def test_c5_ownership_can_be_switched_off_where_it_is_the_default() -> None:
    given(*ORGANISATION_EVENTS).when(
        configure_service, **configure("desk", owner_replies=False)
    ).then(ReplyOwnershipChanged(service="desk", required=False, user_id=ADMIN))


def test_s16_a_changed_subscription_is_an_event_of_its_own() -> None:
    given(*ORGANISATION_EVENTS).when(configure_service, **configure("crm", "upgraded")).then(
        SubscriptionChanged(service="crm", subscription="upgraded", user_id=ADMIN)
    )


def test_what_is_left_out_keeps_its_value() -> None:
    set_before = (
        MaskingChanged(service="crm", masking="none"),
        ReplyOwnershipChanged(service="crm", required=True),
        TicketTimerChanged(service="crm", hours=24),
    )
    given(*ORGANISATION_EVENTS, *set_before).when(
        configure_service, **configure("crm")
    ).then_nothing()


def test_a_timer_is_taken_away_with_null() -> None:
    given(*ORGANISATION_EVENTS, TicketTimerChanged(service="crm", hours=24)).when(
        configure_service, **configure("crm", ticket_timer_hours=None)
    ).then(TicketTimerChanged(service="crm", hours=None, user_id=ADMIN))


@pytest.mark.parametrize("user", ["supervisor", "ann", "viewer", "auditor", "stranger"])
def test_only_an_admin_configures_services_and_users(user: str) -> None:
    world = given(*ORGANISATION_EVENTS)
    service = ConfigureService(service="forms", subscription="bundled")
    world.when(configure_service, command=service, user_id=user).then_refused(Forbidden)
    new = AddUser(new_user_id="new", role="agent", services={}, profile=PROFILE)
    world.when(add_user, command=new, user_id=user).then_refused(Forbidden)
    role = ChangeUser(changed_user_id="bob", role="supervisor")
    world.when(change_user, command=role, user_id=user).then_refused(Forbidden)
    absence = ChangeUser(changed_user_id="bob", away=True)
    world.when(change_user, command=absence, user_id=user).then_refused(Forbidden)


# Users.


def test_a_user_is_added_with_what_they_may_do_in_each_service() -> None:
    command = AddUser(
        new_user_id="new", role="agent", services={"crm": "view", "desk": "reply"}, profile=PROFILE
    )
    history = (
        given(*ORGANISATION_EVENTS)
        .when(add_user, command=command, user_id=ADMIN)
        .then(
            UserAdded(
                added_user_id="new",
                role="agent",
                services={"crm": "view", "desk": "reply"},
                profile=PROFILE,
                user_id=ADMIN,
            )
        )
    )
    assert fold(Organisation, *history.events).users["new"] == User(
        role="agent", services={"crm": "view", "desk": "reply"}, profile=PROFILE, away=False
    )


def test_users_get_only_services_that_there_are() -> None:
    problem = {"field": "services.books", "message": "there is no such service; add it first"}
    new = AddUser(new_user_id="new", role="agent", services={"books": "view"}, profile=PROFILE)
    world = given(*ORGANISATION_EVENTS)
    world.when(add_user, command=new, user_id=ADMIN).then_refused(Invalid, errors=[problem])
    moved = ChangeUser(changed_user_id="bob", services={"books": "view"})
    world.when(change_user, command=moved, user_id=ADMIN).then_refused(Invalid, errors=[problem])


def test_a_users_role_services_and_absence_change_each_by_an_event() -> None:
    command = ChangeUser(
        changed_user_id="bob", role="supervisor", services={"desk": "reply"}, away=True
    )
    given(*ORGANISATION_EVENTS).when(change_user, command=command, user_id=ADMIN).then(
        UserRoleChanged(changed_user_id="bob", role="supervisor", user_id=ADMIN),
        UserServicesChanged(changed_user_id="bob", services={"desk": "reply"}, user_id=ADMIN),
        UserAwayChanged(changed_user_id="bob", away=True, user_id=ADMIN),
    ).when(change_user, command=command, user_id=ADMIN).then_nothing()


def test_everybody_may_say_themselves_that_they_are_away() -> None:
    given(*ORGANISATION_EVENTS).when(
        change_user, command=ChangeUser(changed_user_id="bob", away=True), user_id="bob"
    ).then(UserAwayChanged(changed_user_id="bob", away=True, user_id="bob"))


@pytest.mark.parametrize(
    "more", [{"role": "admin"}, {"services": {"desk": "reply"}}, {"role": "agent"}]
)
def test_nobody_gives_themselves_rights_along_with_their_absence(more: dict[str, Any]) -> None:
    command = ChangeUser(changed_user_id="bob", away=True, **more)
    given(*ORGANISATION_EVENTS).when(change_user, command=command, user_id="bob").then_refused(
        Forbidden
    )


def test_a_user_that_there_is_not_cannot_be_changed() -> None:
    given(*ORGANISATION_EVENTS).when(
        change_user, command=ChangeUser(changed_user_id="stranger", away=True), user_id=ADMIN
    ).then_refused(NotFound)


def test_the_last_admin_stays_one() -> None:
    step_down = ChangeUser(changed_user_id=ADMIN, role="agent")
    world = given(*ORGANISATION_EVENTS)
    world.when(change_user, command=step_down, user_id=ADMIN).then_refused(LastAdmin)
    second = UserRoleChanged(changed_user_id="ann", role="admin")
    given(*ORGANISATION_EVENTS, second).when(change_user, command=step_down, user_id=ADMIN).then(
        UserRoleChanged(changed_user_id=ADMIN, role="agent", user_id=ADMIN)
    ).when(
        change_user, command=ChangeUser(changed_user_id="ann", role="agent"), user_id="ann"
    ).then_refused(LastAdmin)


def test_the_last_admin_may_be_called_admin_again() -> None:
    given(*ORGANISATION_EVENTS).when(
        change_user, command=ChangeUser(changed_user_id=ADMIN, role="admin"), user_id=ADMIN
    ).then_nothing()


# The state copes with every fact.


@pytest.mark.parametrize(
    "event",
    [
        MaskingChanged(service="books", masking="none"),
        SubscriptionChanged(service="books", subscription="upgraded"),
        UserRoleChanged(changed_user_id="stranger", role="admin"),
        UserAwayChanged(changed_user_id="stranger", away=True),
        ApiKeyCreated(key_id="k", for_user_id="ann", name="script", scopes=("read",)),
        ApiKeyRevoked(key_id="k"),
    ],
)
def test_what_decisions_do_not_look_at_changes_nothing(event: Event) -> None:
    assert fold(Organisation, *ORGANISATION_EVENTS, event) == ORGANISATION


def test_a_refusal_says_in_words_what_is_wrong() -> None:
    with pytest.raises(ViewOnly, match="You may read this service's chats but not answer them"):
        require_reply(ORGANISATION, "viewer", "crm")
    with pytest.raises(Forbidden, match="You have no access to the service 'desk'"):
        require_view(ORGANISATION, "ann", "desk")
    with pytest.raises(NotFound, match="There is no service 'books' in this organisation"):
        require_view(ORGANISATION, "ann", "books")
