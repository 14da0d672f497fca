"""The log for auditors: GET /v1/events, one event a line (E2)."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, get
from litestar.params import QueryParameter
from litestar.response import Stream

from api.answers import POSITION_MAX
from api.authentication import Principal
from api.parts import Part
from api.reading import Reading
from domain.organisation import require_role

LIMIT_MAX = 10_000

_EVENTS = (
    "SELECT position, stream, version, type, recorded_at, data, hash FROM trunkline.events"
    " WHERE org = %(org)s AND position > %(after)s"
    " AND (%(stream)s::text IS NULL OR stream = %(stream)s)"
    " AND (%(type)s::text IS NULL OR type = %(type)s)"
    " ORDER BY position LIMIT %(limit)s"
)


class EventLine(msgspec.Struct):
    """One event; what is sealed comes as {"sealed": true}."""

    position: int
    stream: str
    version: int
    type: str
    recorded_at: datetime
    data: Any
    hash: str


@get("/v1/events", media_type="application/x-ndjson")
async def list_events(
    request: Request[Any, Any, Any],
    principal: Part[Principal],
    reading: Part[Reading],
    after: Annotated[int, QueryParameter(ge=0, le=POSITION_MAX)] = 0,
    limit: Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX)] = 1000,
    stream: Annotated[str | None, QueryParameter()] = None,
    event_type: Annotated[str | None, QueryParameter(name="type")] = None,
) -> Stream:
    """Events in the order of the log. Sealed parts stay sealed."""
    require_role(principal.organisation, principal.user_id, "admin", "auditor")
    parameters = {
        "org": principal.keys.org.number,
        "after": after,
        "stream": stream,
        "type": event_type,
        "limit": limit,
    }
    async with reading.of(request, principal, scope="audit") as connection:
        rows = await (await connection.execute(_EVENTS, parameters)).fetchall()

    async def lines() -> AsyncIterator[bytes]:
        for position, of, version, stored_type, recorded_at, data, link in rows:
            shown = without_sealed(msgspec.json.decode(data))
            line = EventLine(position, of, version, stored_type, recorded_at, shown, link.hex())
            yield msgspec.json.encode(line) + b"\n"

    return Stream(lines(), media_type="application/x-ndjson")


def without_sealed(data: Any) -> Any:
    """Event data in which every sealed part only says that it is one."""
    if isinstance(data, dict):
        if data.keys() == {"key", "id", "box"}:
            return {"sealed": True}
        return {name: without_sealed(value) for name, value in data.items()}
    if isinstance(data, list):
        return [without_sealed(value) for value in data]
    return data


HANDLERS = (list_events,)
