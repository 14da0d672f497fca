"""Decisions about a channel's parent: what was chosen, from what, and what if (S9)."""

from datetime import datetime
from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath, JSONBody

from api.answers import Listing, Page, known_id
from api.authentication import Principal
from api.channels import PROJECTION, found
from api.parts import Part
from api.reading import Reading
from domain.channel import replay_choice
from domain.organisation import require_role
from domain.refusal import Invalid
from domain.rules import RULES
from projections.channels.queries import Decision, channel, decisions

AnyRequest = Request[Any, Any, Any]


class ReplayBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Without a rule each decision is replayed under its own."""

    rule: str | None = None


class CandidateView(msgspec.Struct, kw_only=True):
    """A service that could have been chosen, with the positions that rules look at."""

    service: str
    created_position: int
    joined_position: int


class DecisionView(msgspec.Struct, kw_only=True):
    """A choice that was made by itself, with all it was made from (S9)."""

    position: int
    at: datetime
    kind: str
    rule: str
    cause: str
    candidates: list[CandidateView]
    chosen: str | None
    previous: str | None


class ReplayedDecision(msgspec.Struct, kw_only=True):
    """What was chosen, and what the rule answers on the same inputs."""

    position: int
    recorded: str | None
    replayed: str | None
    same: bool


@get("/v1/channels/{channel_id:str}/decisions")
async def list_decisions(
    request: AnyRequest,
    channel_id: FromPath[str],
    principal: Part[Principal],
    reading: Part[Reading],
    page: Part[Page],
) -> Listing[DecisionView]:
    """Every choice of a parent, with its inputs, oldest first. Spec S9."""
    require_role(principal.organisation, principal.user_id, "admin", "auditor")
    rows, more = await _decisions(request, channel_id, principal, reading, page)
    return Listing([_decision_view(row) for row in rows], more)


@post("/v1/channels/{channel_id:str}/decisions/replay", status_code=200, opt={"only_reads": True})
async def replay_decisions(
    request: AnyRequest,
    channel_id: FromPath[str],
    principal: Part[Principal],
    reading: Part[Reading],
    page: Part[Page],
    data: JSONBody[ReplayBody | None] = None,
) -> Listing[ReplayedDecision]:
    """What a rule answers on each decision's own inputs. Nothing is written. Spec S9."""
    require_role(principal.organisation, principal.user_id, "admin", "auditor")
    rule = data.rule if data else None
    if rule is not None and rule not in RULES["parent"]:
        raise Invalid("rule", f"must be one of {', '.join(sorted(RULES['parent']))}")
    rows, more = await _decisions(request, channel_id, principal, reading, page)
    return Listing([_replayed(row, rule) for row in rows], more)


async def _decisions(
    request: AnyRequest, channel_id: str, principal: Principal, reading: Reading, page: Page
) -> tuple[list[Decision], str | None]:
    org = principal.keys.org.number
    after = (page.after(int) or (0,))[0]
    async with reading.of(request, principal, PROJECTION) as connection:
        found(await channel(connection, org=org, channel_id=known_id(channel_id)))
        rows = await decisions(
            connection, org=org, channel_id=channel_id, after=after, limit=page.limit + 1
        )
    shown = rows[: page.limit]
    return shown, page.cursor_of(shown[-1].position) if len(rows) > len(shown) else None


def _decision_view(row: Decision) -> DecisionView:
    return DecisionView(
        position=row.position,
        at=row.at,
        kind=row.kind,
        rule=row.rule,
        cause=row.cause,
        candidates=[
            CandidateView(
                service=each.service,
                created_position=each.created_position,
                joined_position=each.joined_position,
            )
            for each in row.candidates
        ],
        chosen=row.chosen,
        previous=row.previous,
    )


def _replayed(row: Decision, rule: str | None) -> ReplayedDecision:
    replayed = replay_choice(row.event, rule=rule)
    return ReplayedDecision(
        position=row.position,
        recorded=row.chosen,
        replayed=replayed,
        same=replayed == row.chosen,
    )


HANDLERS = (
    list_decisions,
    replay_decisions,
)
