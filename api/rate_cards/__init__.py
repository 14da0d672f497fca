"""Rate cards as data files: those that ship, and the operator's own (L2).

A card has a name, a note and rates; the file's name means nothing. What ships beside the default
are samples. A card with a hole is refused with the field's name, before anything is served.
"""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated

import msgspec

from api.bodies import END
from api.settings import SettingsError
from domain.rate_card import DEFAULT_CARD, Rate, RateCard, require_whole
from domain.refusal import Invalid

CardName = Annotated[str, msgspec.Meta(pattern=rf"^[a-z0-9][a-z0-9-]{{0,60}}/[0-9]{{1,6}}{END}")]
RateCards = Mapping[str, RateCard]


class RateBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A rate; `any` stands for every country, or category, that has none of its own."""

    country: str
    category: str
    micro_usd: int
    effective_from: date | None = None
    platform: Annotated[str, msgspec.Meta(pattern=rf"^[a-z]{{1,20}}{END}")] = "whatsapp"

    def rate(self) -> Rate:
        """As the domain has it."""
        return Rate(**msgspec.structs.asdict(self))


class _CardFile(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    name: CardName
    note: str | None = None
    rates: list[RateBody]


def load(folder: Path | None) -> RateCards:
    """Every card by its name; the operator's come last and may replace a sample.

    Raises SettingsError, naming file and field.
    """
    if folder is not None and not folder.is_dir():
        raise SettingsError(f"TRUNKLINE_RATE_CARDS cannot be used: there is no folder {folder}.")
    cards = {DEFAULT_CARD.name: DEFAULT_CARD}
    for each in (Path(__file__).parent, folder):
        for path in sorted(each.glob("*.json")) if each else ():
            card = _read(path)
            if card.name == DEFAULT_CARD.name:
                raise SettingsError(f"{path}: name: {card.name} is taken; bills rest on it.")
            cards[card.name] = card
    return cards


def _read(path: Path) -> RateCard:
    try:
        read = msgspec.json.decode(path.read_bytes(), type=_CardFile)
        rates = tuple(each.rate() for each in read.rates)
        card = RateCard(name=read.name, rates=rates, note=read.note)
        require_whole(card)
    except (msgspec.MsgspecError, Invalid, UnicodeDecodeError) as error:
        raise SettingsError(f"The rate card {path} cannot be used: {error}.") from error
    return card
