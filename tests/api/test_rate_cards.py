"""Rate cards that ship, and those of the operator (L2)."""

import json
from pathlib import Path
from typing import Any

import pytest

from api.rate_cards import load
from api.settings import SettingsError
from domain.rate_card import DEFAULT_CARD, require_whole

GENERAL = {"country": "any", "category": "any", "micro_usd": 8_000}


def test_what_ships_is_whole_and_samples_say_that_they_are() -> None:
    cards = load(None)
    assert cards["default/1"] == DEFAULT_CARD
    for name, card in cards.items():
        require_whole(card)
        if name != "default/1":
            assert name.startswith("sample-")
            assert "SAMPLE" in (card.note or "")


def test_the_operators_card_comes_beside_them_and_may_replace_a_sample(tmp_path: Path) -> None:
    sample = next(name for name in load(None) if name.startswith("sample-"))
    for name in (sample, "acme/1"):
        text = json.dumps({"name": name, "rates": [GENERAL]})
        (tmp_path / f"{name.replace('/', '-')}.json").write_text(text)
    cards = load(tmp_path)
    assert {name: len(cards[name].rates) for name in (sample, "acme/1")} == {sample: 1, "acme/1": 1}


def test_a_folder_that_there_is_not_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="TRUNKLINE_RATE_CARDS cannot be used: there is no"):
        load(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("card", "named"),
    [
        ({"name": "acme/1", "rates": []}, "rates"),
        ({"name": "acme/1", "rates": [{**GENERAL, "country": "JP"}]}, "rates"),
        ({"name": "acme/1", "rates": [{**GENERAL, "micro_usd": -1}]}, "rates[0].micro_usd"),
        ({"name": "acme/1", "rates": [{**GENERAL, "micro_usd": 0.5}]}, "rates[0].micro_usd"),
        ({"name": "acme/1", "rates": [{**GENERAL, "colour": "red"}]}, "colour"),
        ({"name": "acme", "rates": [GENERAL]}, "name"),
        ({"name": "default/1", "rates": [GENERAL]}, "name"),
        ({"rates": [GENERAL]}, "name"),
    ],
)
def test_a_card_with_a_fault_stops_the_start_and_names_file_and_field(
    tmp_path: Path, card: Any, named: str
) -> None:
    (tmp_path / "mine.json").write_text(json.dumps(card))
    with pytest.raises(SettingsError) as refused:
        load(tmp_path)
    assert "mine.json" in str(refused.value)
    assert named in str(refused.value)
