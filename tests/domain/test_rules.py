"""Rules by kind, name and version; those of kind `parent` (S8, S9)."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.parent import DEFAULT_RULE, Candidate
from domain.rules import RULES

LAW = settings(max_examples=40)
PARENT = sorted(RULES["parent"])

# Ranks are places in a stream, so no two of a kind are alike.
candidates = st.lists(
    st.builds(
        Candidate, st.sampled_from("abcdefghij"), st.integers(1, 1_000), st.integers(1, 1_000)
    ),
    unique_by=(
        lambda each: each.service,
        lambda each: each.created,
        lambda each: each.joined,
    ),
)


def test_s9_the_rules_that_choose_a_parent() -> None:
    assert PARENT == ["earliest-created/1", "earliest-joined/1"]
    assert DEFAULT_RULE == "earliest-created/1"


def test_every_rule_has_a_name_and_a_version() -> None:
    names = [name for rules in RULES.values() for name in rules]
    assert [name for name in names if not re.fullmatch(r"[a-z-]+/[0-9]+(-[0-9]{2})?", name)] == []


@pytest.mark.parametrize(
    ("rule", "chosen"), [("earliest-created/1", "crm"), ("earliest-joined/1", "salesiq")]
)
def test_s8_who_was_created_first_and_who_joined_first(rule: str, chosen: str) -> None:
    came_back = (
        Candidate("desk", created=4, joined=4),
        Candidate("crm", created=2, joined=9),
        Candidate("salesiq", created=3, joined=3),
    )
    assert RULES["parent"][rule](came_back) == chosen


@pytest.mark.parametrize("rule", PARENT)
def test_s10_of_nobody_nobody_is_chosen(rule: str) -> None:
    assert RULES["parent"][rule](()) is None


@pytest.mark.parametrize("rule", PARENT)
@LAW
@given(data=st.data())
def test_s9_a_rule_is_the_same_for_every_order_of_its_candidates(
    rule: str, data: st.DataObject
) -> None:
    listed = data.draw(candidates)
    decide = RULES["parent"][rule]
    assert decide(data.draw(st.permutations(listed))) == decide(listed)


@pytest.mark.parametrize("rule", PARENT)
@LAW
@given(data=st.data())
def test_s9_whom_a_rule_did_not_choose_does_not_matter_to_it(
    rule: str, data: st.DataObject
) -> None:
    listed = data.draw(candidates.filter(bool))
    decide = RULES["parent"][rule]
    others = [each for each in listed if each.service != decide(listed)]
    fewer = [each for each in listed if each not in others[::2]]
    assert decide(fewer) == decide(listed)
