"""Canned replies: what a shortcut stands for, and the text that is sent (C8)."""

import pytest

from domain import canned
from domain.canned import (
    CANNED_REPLIES_MAX,
    CannedReplies,
    CannedReplyDefined,
    CannedReplyRemoved,
    define,
    fill,
    remove,
    shortcut_of,
)
from domain.refusal import Invalid, NotFound, ParameterMissing, Refusal
from tests.scenario import fold, given

GREETING = CannedReplyDefined(
    shortcut="hello", text="Hello {{ customer.name }}, your {{customer.name}} {{number}}."
)
KNOWN = {"customer.name": "Kim"}


def filled(**fields: str) -> str:
    return fill(fold(CannedReplies, GREETING), shortcut="hello", given=fields, known=KNOWN)


def test_c8_what_is_known_and_what_is_given_stand_in_the_text() -> None:
    assert filled(number="A-7") == "Hello Kim, your Kim A-7."


def test_c8_what_the_writer_gives_goes_before_what_is_known() -> None:
    assert filled(**{"customer.name": "Ms Kim", "number": "7"}) == "Hello Ms Kim, your Ms Kim 7."
    # Nothing given is as good as left out.
    for nothing in ("", " "):
        assert filled(**{"customer.name": nothing, "number": "7"}) == "Hello Kim, your Kim 7."


def test_c8_what_is_filled_in_is_not_read_again() -> None:
    assert filled(number=r"{{customer.name}} \1") == r"Hello Kim, your Kim {{customer.name}} \1."


def test_c8_a_field_that_nobody_fills_is_named() -> None:
    with pytest.raises(ParameterMissing) as caught:
        fill(fold(CannedReplies, GREETING), shortcut="hello", given={}, known={})
    missing = ["customer.name", "number"]
    assert caught.value.facts == {
        "errors": [{"field": f"fields.{each}", "message": "is missing"} for each in missing]
    }


def test_c8_blanks_fill_nothing() -> None:
    """Else a text could be sent of which nothing can be seen."""
    reply = CannedReplyDefined(shortcut="x", text="{{customer.name}}")
    for blank in (" ", "\n", "\u3000"):
        for given_fields, known in (({"customer.name": blank}, {}), ({}, {"customer.name": blank})):
            with pytest.raises(ParameterMissing):
                fill(fold(CannedReplies, reply), shortcut="x", given=given_fields, known=known)


@pytest.mark.parametrize("field", ["お名前", "order-number", "a.b.c", "1"])
def test_c8_a_field_may_be_called_anything_without_a_gap(field: str) -> None:
    reply = CannedReplyDefined(shortcut="x", text=f"<{{{{{field}}}}}>")
    text = fill(fold(CannedReplies, reply), shortcut="x", given={field: "y"}, known={})
    assert text == "<y>"


@pytest.mark.parametrize("written", ["hello", "#hello"])
def test_c8_a_shortcut_is_written_with_or_without_its_sign(written: str) -> None:
    assert shortcut_of(written) == "hello"


@pytest.mark.parametrize("written", ["", "#", "##a", "a#b", "a b", "a\u3000b", "a\n", "x" * 65])
def test_what_is_no_shortcut(written: str) -> None:
    with pytest.raises(Invalid):
        shortcut_of(written)


def test_c8_a_canned_reply_is_defined_once_and_can_be_edited() -> None:
    first = CannedReplyDefined(shortcut="bye", text="Bye", user_id="ann")
    edited = CannedReplyDefined(shortcut="bye", text="Goodbye", user_id="bob")
    given().when(define, shortcut="bye", text="Bye", user_id="ann").then(first).when(
        define, shortcut="bye", text="Bye", user_id="bob"
    ).then_nothing().when(define, shortcut="bye", text="Goodbye", user_id="bob").then(edited)


def test_what_is_removed_is_gone() -> None:
    gone = given(GREETING).when(remove, shortcut="hello", user_id="ann")
    removed = gone.then(CannedReplyRemoved(shortcut="hello", user_id="ann"))
    removed.when(remove, shortcut="hello", user_id="ann").then_refused(NotFound)
    with pytest.raises(Refusal) as caught:
        canned.text_of(fold(CannedReplies, *removed.events), "hello")
    assert isinstance(caught.value, NotFound)


def test_there_is_a_number_of_canned_replies_at_which_they_end() -> None:
    full = CannedReplies(texts={str(number): "x" for number in range(CANNED_REPLIES_MAX)})
    with pytest.raises(Invalid):
        define(full, shortcut="more", text="x", user_id="ann")
    assert define(full, shortcut="7", text="y", user_id="ann") != []
