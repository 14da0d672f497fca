"""Which of several languages to take for the one that was asked for (C8)."""

from collections.abc import Iterable


def in_order(asked: str, known: Iterable[str]) -> list[str]:
    """Those of the known languages that serve for `asked`, the best first.

    The language itself; itself in another spelling (`ja-JP`, `ja_jp`); then what it is a form of,
    step by step (`zh_Hant_TW`, `zh_Hant`, `zh`). Where a language without a region was asked for,
    its regions follow by name. One region never stands for another: zh_TW is not zh_CN.
    """
    wanted = spelled(asked)
    by_spelling: dict[str, list[str]] = {}
    for each in sorted(known, key=lambda name: (name != asked, name)):
        by_spelling.setdefault(spelled(each), []).append(each)
    found = [each for form in _forms(wanted) for each in by_spelling.get(form, ())]
    if "_" not in wanted:
        regions = (form for form in by_spelling if form.startswith(f"{wanted}_"))
        found += [each for form in sorted(regions) for each in by_spelling[form]]
    return found


def spelled(language: str) -> str:
    """One spelling for all: platforms write `en_US`, browsers `en-US`."""
    return language.replace("-", "_").lower()


def _forms(language: str) -> list[str]:
    parts = language.split("_")
    return ["_".join(parts[:length]) for length in range(len(parts), 0, -1)]
