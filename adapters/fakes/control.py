"""Lets somebody who develops against Trunkline play a fake's customers, with curl.

POST /_fake/customers/{address}/messages   {"text": "Hello"}            A customer writes.
GET  /_fake/messages                                                    What the fake has taken.
POST /_fake/trouble                        {"kind": "drops", "count": 3}    For what is sent next.
"""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from adapters.fakes.behaviour import Behaviour, accepts_then_drops, answers, drops
from adapters.fakes.fake import CONTROL_PATH, Fake
from adapters.fakes.server import Answer, Request, json_answer, read_json

TROUBLE: Mapping[str, Callable[[], Behaviour]] = {
    "drops": drops,
    "accepts_then_drops": accepts_then_drops,
    "is_down": lambda: answers(503),
}
COUNT_MAX = 1_000

# A customer's address and what they write; the platform's id of their message.
Says = Callable[[str, str], object]


class NotUnderstood(ValueError):
    """What was asked of the fake is not what it can do; it says what that is."""


class Control:
    """What stands under `/_fake/` of one fake."""

    def __init__(self, fake: Fake, says: Says) -> None:
        self._fake = fake
        self._says = says

    def answer(self, request: Request) -> Answer:
        """Do what was asked."""
        try:
            return json_answer(self._do(request))
        except NotUnderstood as error:
            return json_answer({"error": str(error)}, status=400)

    def _do(self, request: Request) -> Any:
        path = request.path.removeprefix(CONTROL_PATH)
        match (request.method, *path.strip("/").split("/")):
            case ("POST", "customers", address, "messages"):
                return self._write(unquote(address), _members(request))
            case ("GET", "messages"):
                return [_shown(each) for each in self._fake.accepted]
            case ("POST", "trouble"):
                return self._trouble(_members(request))
            case _:
                raise NotUnderstood(
                    "There are POST customers/{address}/messages, GET messages, POST trouble."
                )

    def _write(self, address: str, members: Mapping[str, Any]) -> Any:
        text = members.get("text")
        if not isinstance(text, str) or not text:
            raise NotUnderstood('The body is to be like {"text": "Hello"}.')
        try:
            return {"id": str(self._says(address, text))}
        except ValueError as error:
            raise NotUnderstood(f"{address!r} is no address of a customer here.") from error

    def _trouble(self, members: Mapping[str, Any]) -> Any:
        kind, count = str(members.get("kind")), members.get("count", 1)
        if kind not in TROUBLE or not isinstance(count, int) or not 0 < count <= COUNT_MAX:
            kinds = ", ".join(TROUBLE)
            raise NotUnderstood(f"`kind` is one of {kinds}; `count` is 1 to {COUNT_MAX}.")
        self._fake.next_requests(*(TROUBLE[kind]() for _ in range(count)))
        return {"kind": kind, "count": count}


def _members(request: Request) -> Mapping[str, Any]:
    document = read_json(request.body)
    return document if isinstance(document, dict) else {}


def _shown(each: Any) -> dict[str, Any]:
    return {"id": each.platform_id, "to": each.to, "kind": each.kind, "text": each.text}
