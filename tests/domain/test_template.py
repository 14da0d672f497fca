"""Templates: what may be sent, and the text that is sent (C8)."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from domain.event import Event
from domain.refusal import Invalid, NotFound, ParameterMissing, Refusal, TemplateNotApproved
from domain.template import (
    FilledTemplate,
    Template,
    TemplateCategoryChanged,
    TemplateDefined,
    Templates,
    TemplateState,
    TemplateStateChanged,
    TemplateWord,
    approved,
    define,
    fill,
    take_word,
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
    return fill(templates, name="shipped", language=language, parameters=parameters).text


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
    filled = fill(
        fold(Templates, defined(body="Hello.", parameters=())),
        name="shipped",
        language="ja",
        parameters={},
    )
    assert filled == FilledTemplate(
        language="ja",
        template=Template(category="utility", body="Hello.", parameters=(), state="approved"),
        text="Hello.",
    )


@pytest.mark.parametrize(
    ("given_parameters", "missing"),
    [
        ({}, ["name", "number"]),
        ({"name": "田中"}, ["number"]),
        ({"name": "", "number": "A-7"}, ["name"]),
        ({"name": " \u3000", "number": "A-7"}, ["name"]),
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


# Languages.


def taken(*events: Event, asked: str) -> str:
    templates = fold(Templates, *events)
    parameters = {"name": "x", "number": "y"}
    return fill(templates, name="shipped", language=asked, parameters=parameters).language


@pytest.mark.parametrize(
    ("asked", "language"),
    [
        ("ja", "ja"),
        ("ja_JP", "ja"),
        ("ja-JP", "ja"),
        ("en-US", "en_US"),
        ("EN_us", "en_US"),
        ("zh_Hant_HK", "zh_Hant"),
        ("en", "en_GB"),  # Any English serves whom English was asked for.
    ],
)
def test_c8_the_nearest_language_is_taken(asked: str, language: str) -> None:
    known = [defined(language=each) for each in ("ja", "en_US", "en_GB", "zh_Hant", "pt_BR")]
    assert taken(*known, asked=asked) == language


@pytest.mark.parametrize("asked", ["pt_PT", "zh_CN", "zh", "fr", "j", "ja_", "_"])
def test_c8_one_region_does_not_stand_for_another(asked: str) -> None:
    known = [defined(language=each) for each in ("pt_BR", "zh_TW")]
    regions = {"zh": "zh_TW"}
    if asked in regions:
        assert taken(*known, asked=asked) == regions[asked]
        return
    with pytest.raises(NotFound):
        taken(*known, asked=asked)


def test_c8_a_language_that_cannot_be_sent_gives_way_to_one_that_can() -> None:
    paused = defined(language="ja_JP", state="paused")
    assert taken(paused, defined(), asked="ja-JP") == "ja"
    with pytest.raises(TemplateNotApproved) as caught:
        taken(paused, defined(state="draft"), asked="ja-JP")
    assert caught.value.facts == {"state": "paused"}


# What the platform says.

TEN = datetime(2026, 3, 1, 10, tzinfo=UTC)
LATER = TEN + timedelta(minutes=1)


def word(state: TemplateState | None = None, language: str = "ja", **more: Any) -> TemplateWord:
    return TemplateWord(name="shipped", language=language, state=state, **more)


def changed(state: TemplateState, at: datetime, reason: str | None = None) -> TemplateStateChanged:
    return TemplateStateChanged(name="shipped", language="ja", state=state, at=at, reason=reason)


def test_c8_the_platforms_word_is_followed() -> None:
    said = word("rejected", reason="invalid_format")
    given(defined()).when(take_word, word=said, at=TEN).then(
        changed("rejected", TEN, "invalid_format")
    )


def test_c8_what_was_said_earlier_and_is_heard_later_changes_nothing() -> None:
    given(defined(), changed("paused", LATER)).when(
        take_word, word=word("approved"), at=TEN
    ).then_nothing()


def test_c8_the_same_word_again_changes_nothing_but_is_the_newer() -> None:
    approved = given(defined(), changed("approved", TEN))
    approved.when(take_word, word=word("approved"), at=TEN).then_nothing()
    again = approved.when(take_word, word=word("approved"), at=LATER).then(
        changed("approved", LATER)
    )
    between = TEN + timedelta(seconds=30)
    again.when(take_word, word=word("paused"), at=between).then_nothing()


def test_c8_what_a_person_set_holds_until_the_platform_says_something_later() -> None:
    own = msgspec.structs.replace(defined(), at=LATER + timedelta(milliseconds=300))
    given(own).when(take_word, word=word("paused"), at=TEN).then_nothing()
    # The platform cuts its times down to seconds.
    given(own).when(take_word, word=word("paused"), at=LATER).then(changed("paused", LATER))


def test_c8_a_category_has_a_time_of_its_own() -> None:
    said = word(category="marketing")
    moved = TemplateCategoryChanged(name="shipped", language="ja", category="marketing", at=TEN)
    after = given(defined(), changed("paused", LATER)).when(take_word, word=said, at=TEN)
    templates = fold(Templates, *after.then(moved).events)
    template = templates.by_name["shipped", "ja"]
    assert (template.state, template.category) == ("paused", "marketing")


def test_c8_the_platform_spells_a_language_as_it_likes() -> None:
    given(defined(language="en-US")).when(
        take_word, word=word("paused", language="en_US"), at=TEN
    ).then(TemplateStateChanged(name="shipped", language="en-US", state="paused", at=TEN))
    # But one language is not another that would serve for it.
    given(defined(language="en")).when(
        take_word, word=word("paused", language="en_US"), at=TEN
    ).then_nothing()


def test_c8_what_is_sent_again_must_be_approved_still() -> None:
    assert approved(fold(Templates, defined()), "shipped/ja") == SHIPPED
    for events in ((), (defined(state="paused"),), (defined(language="en"),)):
        with pytest.raises(TemplateNotApproved):
            approved(fold(Templates, *events), "shipped/ja")


# Defining.

DEFINE: dict[str, Any] = {"name": "shipped", "language": "ja", "user_id": "ann"}
SHIPPED = Template(category="utility", body=BODY, parameters=("name", "number"), state="approved")


def test_c8_a_parameter_is_named_once() -> None:
    """The platform counts them: one that is sent twice is refused each time."""
    twice = msgspec.structs.replace(SHIPPED, parameters=("name", "number", "name"))
    with pytest.raises(Invalid, match="parameters: name stands twice"):
        define(Templates(), template=twice, **DEFINE)


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
