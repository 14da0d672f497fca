"""Templates in Meta's words, which are the same on WhatsApp and on Messenger."""

from typing import Any

from adapters.unsendable import Unsendable
from domain.outbound import OutboundMessage

JsonObject = dict[str, Any]


def template_of(message: OutboundMessage) -> JsonObject:
    """A template by name and language, with `parameters` as pairs. Raises Unsendable.

    Whoever needs headers or buttons gives `components` as Meta wants them.
    """
    given = message.content.template or {}
    name, language = given.get("name"), given.get("language")
    if not isinstance(name, str) or not isinstance(language, str):
        raise Unsendable("template", "A template needs a name and a language.")
    components = given.get("components") or _components(given.get("parameters") or ())
    written: JsonObject = {"name": name, "language": {"code": language}}
    return {**written, "components": components} if components else written


def _components(parameters: Any) -> list[JsonObject]:
    try:
        pairs = [(str(name), str(value)) for name, value in parameters]
    except (TypeError, ValueError):
        raise Unsendable("template", "A template's parameters are pairs.") from None
    return [{"type": "body", "parameters": _parameters(pairs)}] if pairs else []


def _parameters(pairs: list[tuple[str, str]]) -> list[JsonObject]:
    """`{{1}}`, `{{2}}` go by their place, `{{order_id}}` by its name."""
    if all(name.isdecimal() for name, _ in pairs):
        in_order = sorted(pairs, key=lambda pair: int(pair[0]))
        return [{"type": "text", "text": value} for _, value in in_order]
    return [{"type": "text", "parameter_name": name, "text": value} for name, value in pairs]
