"""Templates: what may be sent, and the text that is sent (C8)."""

from typing import Any

import pytest

from domain.event import Event
from domain.refusal import Invalid, NotFound, ParameterMissing, Refusal, TemplateNotApproved
from domain.template import (
    Template,
    TemplateDefined,
    Templates,
    TemplateState,
    TemplateStateChanged,
    define,
    fill,
)
from tests.scenario import fold, given

BODY = "{{name}}様、ご注文{{ number }}は{{name}}様へ発送しました。"


def defined(
    name: str = "shipped",
    language: str = "ja",
    *,
    state: TemplateState = "approved",
    body: str = BODY,
    parameters: tuple[str, ...] = ("name", "number"),
    user_id: str | None = None,
) -> TemplateDefined:
    return TemplateDefined(
        name=name,
        language=language,
        category="utility",
        body=body,
        parameters=parameters,
        state=state,
        user_id=user_id,
    )


def filled(*events: Event, language: str = "ja", **parameters: str) -> str:
    templates = fold(Templates, *events)
    return fill(templates, name="shipped", language=language, parameters=parameters)[1]


def refused(*events: Event, language: str = "ja", **parameters: str) -> Refusal:
    with pytest.raises(Refusal) as caught:
        filled(*events, language=language, **parameters)
    return caught.value


def test_c8_every_placeholder_is_filled_however_often_it_stands() -> None:
    text = filled(defined(), name="田中", number="A-7")
    assert text == "田中様、ご注文A-7は田中様へ発送しました。"


def test_c8_what_is_filled_in_is_not_read_as_a_template_again() -> None:
    text = filled(defined(), name="{{number}}", number=r"\1")
    assert text == r"{{number}}様、ご注文\1は{{number}}様へ発送しました。"


def test_c8_a_template_comes_with_its_text() -> None:
    template, text = fill(
        fold(Templates, defined(body="Hello.", parameters=())),
        name="shipped",
        language="ja",
        parameters={},
    )
    assert text == "Hello."
    assert template == Template(category="utility", body="Hello.", parameters=(), state="approved")


@pytest.mark.parametrize(
    ("given_parameters", "missing"),
    [
        ({}, ["name", "number"]),
        ({"name": "田中"}, ["number"]),
        ({"name": "", "number": "A-7"}, ["name"]),
        ({"other": "x", "number": "A-7"}, ["name"]),
    ],
)
def test_c8_every_parameter_must_be_filled(
    given_parameters: dict[str, str], missing: list[str]
) -> None:
    refusal = refused(defined(), **given_parameters)
    assert type(refusal) is ParameterMissing
    assert refusal.facts == {
        "errors": [{"field": f"parameters.{each}", "message": "is missing"} for each in missing]
    }


def test_c8_a_parameter_that_the_text_does_not_show_is_needed_too() -> None:
    # It may stand in the header or behind a button.
    refusal = refused(defined(parameters=("name", "number", "link")), name="田中", number="A-7")
    assert refusal.facts == {"errors": [{"field": "parameters.link", "message": "is missing"}]}


def test_c8_nothing_is_sent_with_a_hole_in_it() -> None:
    refusal = refused(defined(parameters=("name",)), name="田中")
    assert refusal.facts == {"errors": [{"field": "parameters.number", "message": "is missing"}]}


@pytest.mark.parametrize("state", ["draft", "pending", "rejected", "paused"])
def test_c8_only_an_approved_template_is_sent(state: TemplateState) -> None:
    refusal = refused(defined(state=state), name="田中", number="A-7")
    assert type(refusal) is TemplateNotApproved
    assert refusal.facts == {"state": state}


def test_c8_a_template_is_found_by_name_and_language() -> None:
    assert type(refused(language="ja")) is NotFound
    assert type(refused(defined(), language="en")) is NotFound


def test_c8_the_platforms_word_changes_what_can_be_sent() -> None:
    paused = TemplateStateChanged(name="shipped", language="ja", state="paused")
    assert refused(defined(), paused, name="田中", number="A-7").facts == {"state": "paused"}
    approved = TemplateStateChanged(name="shipped", language="ja", state="approved")
    assert filled(defined(), paused, approved, name="田中", number="A-7").startswith("田中様")


def test_the_platforms_word_on_a_template_we_do_not_know_changes_nothing() -> None:
    word = TemplateStateChanged(name="unknown", language="ja", state="approved")
    assert fold(Templates, defined(), word) == fold(Templates, defined())


def test_n2_a_refusal_can_name_what_could_be_sent_instead() -> None:
    templates = fold(
        Templates,
        defined("shipped", "ja"),
        defined("shipped", "en"),
        defined("ask", "ja"),
        defined("old", "ja", state="paused"),
    )
    assert templates.approved == ["ask", "shipped"]


# Defining.

DEFINE: dict[str, Any] = {"name": "shipped", "language": "ja", "user_id": "ann"}
SHIPPED = Template(category="utility", body=BODY, parameters=("name", "number"), state="approved")


def test_c8_a_template_is_defined_once() -> None:
    given().when(define, template=SHIPPED, **DEFINE).then(defined(user_id="ann")).when(
        define, template=SHIPPED, **DEFINE
    ).then_nothing()


def test_c8_a_changed_template_is_defined_anew() -> None:
    given(defined(state="draft")).when(define, template=SHIPPED, **DEFINE).then(
        defined(user_id="ann")
    )


def test_c8_the_text_names_no_parameter_that_the_template_does_not_have() -> None:
    short = Template(category="utility", body=BODY, parameters=("name",), state="draft")
    given().when(define, template=short, **DEFINE).then_refused(
        Invalid,
        errors=[
            {
                "field": "parameters",
                "message": "the body has {{number}}, which is not among them",
            }
        ],
    )
