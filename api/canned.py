"""Canned replies of a service, by shortcut (C8)."""

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, delete, get, put
from litestar.params import FromPath, JSONBody

from api.answers import Listing, Page, answer
from api.authentication import Principal, actor_of
from api.commands.canned import Canned
from api.parts import Part
from domain.canned import TEXT_LENGTH_MAX, bare, shortcut_of, text_of
from domain.organisation import require_view
from domain.refusal import Invalid

AnyRequest = Request[Any, Any, Any]


class CannedBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A text; what is filled in when it is sent stands as `{{field}}`."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=TEXT_LENGTH_MAX)]


class CannedView(msgspec.Struct, kw_only=True):
    """A canned reply; its shortcut without the `#`."""

    shortcut: str
    text: str


@put("/v1/services/{service:str}/canned/{shortcut:str}")
async def put_canned(
    request: AnyRequest,
    service: FromPath[str],
    shortcut: FromPath[str],
    data: JSONBody[CannedBody],
    principal: Part[Principal],
    canned: Part[Canned],
) -> Response[CannedView]:
    """Let a shortcut stand for a text, with `{{customer.name}}` and fields of your own. Spec C8."""
    actor = await actor_of(request, principal, scope="manage", status=200)
    name = shortcut_of(shortcut)
    if not data.text.strip():
        raise Invalid("text", "must not be empty")
    outcome = await canned.define(actor, service=service, shortcut=name, text=data.text)
    return answer(CannedView(shortcut=name, text=data.text), outcome)


@get("/v1/services/{service:str}/canned/{shortcut:str}")
async def get_canned(
    service: FromPath[str],
    shortcut: FromPath[str],
    principal: Part[Principal],
    canned: Part[Canned],
) -> CannedView:
    """One canned reply of the service. Spec S4."""
    principal.require_scope("read")
    require_view(principal.organisation, principal.user_id, service)
    name = bare(shortcut)
    known = await canned.replies(principal.keys.org, service)
    return CannedView(shortcut=name, text=text_of(known, name))


@get("/v1/services/{service:str}/canned")
async def list_canned(
    service: FromPath[str],
    principal: Part[Principal],
    canned: Part[Canned],
    page: Part[Page],
) -> Listing[CannedView]:
    """The service's canned replies by shortcut; nobody else's. Spec S4."""
    principal.require_scope("read")
    require_view(principal.organisation, principal.user_id, service)
    (after,) = page.after(str) or ("",)
    known = await canned.replies(principal.keys.org, service)
    rest = [each for each in sorted(known.texts.items()) if each[0] > after]
    items = [CannedView(shortcut=name, text=text) for name, text in rest[: page.limit]]
    more = page.cursor_of(items[-1].shortcut) if len(rest) > len(items) else None
    return Listing(items, more)


@delete("/v1/services/{service:str}/canned/{shortcut:str}", status_code=200)
async def delete_canned(
    request: AnyRequest,
    service: FromPath[str],
    shortcut: FromPath[str],
    principal: Part[Principal],
    canned: Part[Canned],
) -> Response[dict[str, str]]:
    """Let a shortcut stand for nothing; what was sent stays as it was. Spec C8."""
    actor = await actor_of(request, principal, scope="manage", status=200)
    name = bare(shortcut)
    outcome = await canned.remove(actor, service=service, shortcut=name)
    return answer({"shortcut": name}, outcome)


HANDLERS = (
    put_canned,
    get_canned,
    list_canned,
    delete_canned,
)
