"""The OpenAPI document held against what is really answered: status, headers, body."""

import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx
from jsonschema import Draft202012Validator, FormatChecker

# What has no end, or one JSON text a line, is not read here.
STREAMS = ("text/event-stream", "application/x-ndjson")

_FORMATS = FormatChecker(formats=())


def _is_utc(value: object) -> bool:
    """Times are RFC 3339 in UTC, with a Z."""
    if not isinstance(value, str):
        return True
    datetime.fromisoformat(value)
    return re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", value) is not None


_FORMATS.checks("date-time", raises=ValueError)(_is_utc)


@dataclass
class OpenApiCheck:
    """An OpenAPI document, and which of its operations and statuses were seen to be true."""

    document: dict[str, Any]
    seen: set[tuple[str, str, int]] = field(default_factory=set)
    _validators: dict[str, Draft202012Validator] = field(default_factory=dict)

    @classmethod
    async def told_to(cls, http: httpx.AsyncClient) -> "OpenApiCheck":
        """The document as a client gets it; every answer that it gets is held against it."""
        openapi = cls((await http.get("/openapi.json")).json())
        http.event_hooks["response"].append(openapi.check)
        return openapi

    async def check(self, response: httpx.Response) -> None:
        """Raises AssertionError for an answer that the document does not promise."""
        request = response.request
        told = f"{request.method} {request.url} answered {response.status_code}"
        template = self._template_of(request.url.path)
        method = "get" if request.method == "HEAD" else request.method.lower()
        operation = self.document["paths"].get(template, {}).get(method)
        if request.method == "HEAD" and response.status_code == 405:
            return  # Most GETs have no HEAD.
        if operation is None:
            assert response.status_code in ((404,) if template is None else (204, 405)), told
            if response.status_code != 204 and request.method != "HEAD":
                await self._check_body(response, self._refusal, told)
            return
        promised = operation["responses"].get(str(response.status_code))
        assert promised is not None, f"{told}, which the document does not know"
        await self._check_body(response, self._resolved(promised), told)
        self.seen.add((request.method, str(template), response.status_code))

    @property
    def _refusal(self) -> dict[str, Any]:
        refusal: dict[str, Any] = self.document["components"]["responses"]["NotFound"]
        return refusal

    async def _check_body(
        self, response: httpx.Response, promised: dict[str, Any], told: str
    ) -> None:
        for name, header in promised.get("headers", {}).items():
            assert not header.get("required") or name in response.headers, f"{told} without {name}"
            if name in response.headers and header["schema"]["type"] == "integer":
                self._validate(int(response.headers[name]), header["schema"], told)
        media_type = _media_type(response.headers.get("content-type", ""))
        contents = {_media_type(name): each for name, each in promised.get("content", {}).items()}
        assert {media_type, "*/*"} & contents.keys(), f"{told} with {media_type}"
        if response.request.method == "HEAD":
            assert await response.aread() == b"", told
        elif media_type in contents and media_type.endswith("json") and media_type not in STREAMS:
            body = json.loads(await response.aread())
            self._validate(body, contents[media_type]["schema"], told)

    def _validate(self, value: Any, schema: dict[str, Any], told: str) -> None:
        key = json.dumps(schema)
        if key not in self._validators:
            whole = {**schema, "components": self.document["components"]}
            self._validators[key] = Draft202012Validator(_closed(whole), format_checker=_FORMATS)
        errors = [error.message for error in self._validators[key].iter_errors(value)]
        assert not errors, f"{told}: {errors}"

    def _resolved(self, promised: dict[str, Any]) -> dict[str, Any]:
        if "$ref" not in promised:
            return promised
        answer: dict[str, Any] = self.document
        for part in promised["$ref"].removeprefix("#/").split("/"):
            answer = answer[part]
        return answer

    def _template_of(self, path: str) -> str | None:
        """The path of the document that this one is an instance of; the most literal one."""
        parts = [part for part in path.split("/") if part]
        fitting = [
            template
            for template in self.document["paths"]
            if _fits(template.strip("/").split("/"), parts)
        ]
        return min(fitting, key=lambda template: template.count("{"), default=None)


def _fits(template: list[str], parts: list[str]) -> bool:
    return len(template) == len(parts) and all(
        named.startswith("{") or named == part for named, part in zip(template, parts, strict=True)
    )


def _media_type(text: str) -> str:
    return text.partition(";")[0].strip()


def _closed(schema: Any) -> Any:
    """The same, in which objects have no more than their properties."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(each) for name, each in schema.items()}
    if isinstance(closed.get("properties"), dict) and "additionalProperties" not in closed:
        closed["additionalProperties"] = False
    return closed
