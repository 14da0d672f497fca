"""Places in a text that are filled in when it is sent: `{{name}}`, `{{customer.name}}` (C8)."""

import re
from collections.abc import Mapping

_PLACEHOLDER = re.compile(r"\{\{\s*([^{}\s]+)\s*\}\}")


def names_in(text: str) -> list[str]:
    """What has to be filled in, in its order, each once."""
    return list(dict.fromkeys(_PLACEHOLDER.findall(text)))


def is_filled(value: str | None) -> bool:
    """Whether it fills a place: blanks do not, and a text of nothing else is not sent."""
    return bool(value and value.strip())


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text with all its places filled. What is filled in is not looked at again."""
    return _PLACEHOLDER.sub(lambda found: values[found[1]], text)
