"""Every endpoint of the API: all that a client can ask, found in the OpenAPI document."""

import base64
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import httpx

from tests.api.conftest import Client

# Live streams do not end: what has come when nothing came for so long is their answer.
SILENCE_SECONDS = 0.5
PAGES_MAX = 20

_CURSOR = re.compile(r'"next_cursor":"([^"]+)"')


@dataclass(frozen=True)
class Answer:
    """What an endpoint answered, in all its parts."""

    endpoint: str  # Method and path with its query.
    status: int
    headers: tuple[tuple[str, str], ...]
    text: str

    def readable(self) -> str:
        """All of it as text, cursors decoded."""
        cursors = [
            base64.urlsafe_b64decode(each + "==").decode() for each in _CURSOR.findall(self.text)
        ]
        headers = [f"{name}: {value}" for name, value in self.headers]
        return "\n".join([*headers, self.text, *cursors])


async def ask(client: Client, method: str, path: str, **arguments: Any) -> Answer:
    """Ask, and read whatever comes, also from a stream that does not end."""
    headers = {"Authorization": f"Bearer {client.api_key}", "Last-Event-ID": "0"}
    timeout = httpx.Timeout(20)
    parts: list[bytes] = []
    async with client.http.stream(
        method, path, headers=headers, timeout=timeout, **arguments
    ) as response:
        is_endless = response.headers.get("content-type", "").startswith("text/event-stream")
        if is_endless:
            response.request.extensions["timeout"]["read"] = SILENCE_SECONDS
        try:
            async for part in response.aiter_bytes():
                parts.append(part)
        except httpx.ReadTimeout:
            assert is_endless, f"{method} {path} did not end"
    assert response.status_code < 500, f"{method} {path}"
    text = b"".join(parts).decode()
    return Answer(f"{method} {path}", response.status_code, tuple(response.headers.items()), text)


async def ask_everything(
    client: Client, names: dict[str, list[str]], document: dict[str, Any]
) -> AsyncIterator[Answer]:
    """Every GET of the document, with all that its path and its query may say, and all pages."""
    for template, methods in document["paths"].items():
        if "get" not in methods or template == "/openapi.json":
            continue
        for path in _paths(template, names):
            for query in _queries(methods["get"], names):
                async for answer in _pages(client, path, query):
                    yield answer


async def _pages(client: Client, path: str, query: dict[str, str]) -> AsyncIterator[Answer]:
    for _ in range(PAGES_MAX):
        answer = await ask(client, "GET", f"{path}?{httpx.QueryParams(query)}" if query else path)
        yield answer
        cursor = _CURSOR.search(answer.text)
        if cursor is None:
            return
        query = {**query, "cursor": cursor[1]}


def _paths(template: str, names: dict[str, list[str]]) -> Iterator[str]:
    name = re.search(r"{(\w+)}", template)
    if name is None:
        yield template
        return
    for value in names[name[1]]:
        yield from _paths(template.replace(name[0], value), names)


def _queries(operation: dict[str, Any], names: dict[str, list[str]]) -> Iterator[dict[str, str]]:
    yield {}
    for parameter in operation.get("parameters", ()):
        name = parameter["name"]
        if parameter["in"] == "query" and name != "cursor":
            for value in names.get(f"?{name}") or _values(parameter["schema"], names):
                yield {name: value}


def _values(schema: dict[str, Any], names: dict[str, list[str]]) -> list[str]:
    """Some of what a parameter of this schema may say."""
    schemas = [schema, *chain(schema.get("oneOf", ()), schema.get("anyOf", ()))]
    named = [str(value) for each in schemas for value in each.get("enum", ()) if value is not None]
    if named:
        return named
    if any(each.get("format") == "date-time" for each in schemas):
        return names["?time"]
    if any(each.get("type") == "integer" for each in schemas):
        return ["1"]
    return names["?text"]
