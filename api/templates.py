"""Templates of an account, with their approval state (C8)."""

from operator import itemgetter
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, put
from litestar.params import FromPath, JSONBody

from api.answers import Listing, Page, answer, known_account
from api.authentication import Principal, actor_of
from api.commands.templates import AccountTemplates
from api.parts import Part
from domain.refusal import Invalid, NotFound
from domain.template import Category, Template, TemplateState

AnyRequest = Request[Any, Any, Any]

NAME_LENGTH_MAX = 512
LANGUAGE_LENGTH_MAX = 15
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_LENGTH_MAX)]


class TemplateBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A template as the platform knows it; placeholders in the body are `{{name}}`.

    What is left out keeps its value; at first there are no parameters, and it is a draft.
    """

    category: Category
    body: Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
    parameters: Annotated[list[Name], msgspec.Meta(max_length=50)] | msgspec.UnsetType = (
        msgspec.UNSET
    )
    state: TemplateState | msgspec.UnsetType = msgspec.UNSET

    @property
    def given(self) -> dict[str, Any]:
        """What was not left out."""
        fields = msgspec.structs.asdict(self)
        if self.parameters is not msgspec.UNSET:
            fields["parameters"] = tuple(self.parameters)
        return {name: value for name, value in fields.items() if value is not msgspec.UNSET}


class TemplateView(msgspec.Struct, kw_only=True):
    """A template in one language."""

    name: str
    language: str
    category: Category
    body: str
    parameters: list[str]
    state: TemplateState
    reason: str | None  # Why, where the platform says.


@put("/v1/accounts/{account_id:str}/templates/{name:str}/{language:str}")
async def put_template(
    request: AnyRequest,
    account_id: FromPath[str],
    name: FromPath[str],
    language: FromPath[str],
    data: JSONBody[TemplateBody],
    principal: Part[Principal],
    account_templates: Part[AccountTemplates],
) -> Response[TemplateView]:
    """Set a template of an account, with its approval state. Spec C8.

    WhatsApp has all categories, Messenger `utility` alone, WeChat all but `marketing`; there the
    name is WeChat's id of the template. LINE and Telegram have none.
    """
    actor = await actor_of(request, principal, scope="manage", status=200)
    _require_printable(name, field="name", length_max=NAME_LENGTH_MAX)
    _require_printable(language, field="language", length_max=LANGUAGE_LENGTH_MAX)
    outcome = await account_templates.define(
        actor,
        account_id=known_account(account_id),
        name=name,
        language=language,
        given=data.given,
    )
    template = msgspec.json.decode(outcome.ids["template"], type=Template)
    return answer(_template_view(name, language, template), outcome)


@get("/v1/accounts/{account_id:str}/templates/{name:str}/{language:str}")
async def get_template(
    account_id: FromPath[str],
    name: FromPath[str],
    language: FromPath[str],
    principal: Part[Principal],
    account_templates: Part[AccountTemplates],
) -> TemplateView:
    """One template."""
    principal.require_scope("read")
    known = await account_templates.of_account(principal.keys.org, known_account(account_id))
    template = known.by_name.get((name, language))
    if template is None:
        raise NotFound("There is no such template.")
    return _template_view(name, language, template)


@get("/v1/accounts/{account_id:str}/templates")
async def list_templates(
    account_id: FromPath[str],
    principal: Part[Principal],
    account_templates: Part[AccountTemplates],
    page: Part[Page],
) -> Listing[TemplateView]:
    """The account's templates by name and language, each with its approval state. Spec C8."""
    principal.require_scope("read")
    after = page.after(str, str) or ("", "")
    known = await account_templates.of_account(principal.keys.org, known_account(account_id))
    rest = [each for each in sorted(known.by_name.items(), key=itemgetter(0)) if each[0] > after]
    items = [_template_view(*key, template) for key, template in rest[: page.limit]]
    more = page.cursor_of(items[-1].name, items[-1].language) if len(rest) > len(items) else None
    return Listing(items, more)


def _require_printable(value: str, *, field: str, length_max: int) -> None:
    """What stands in a path is held to the same rules as what stands in a body."""
    if not value.isprintable() or len(value) > length_max:
        raise Invalid(field, f"must be printable, at most {length_max} characters")


def _template_view(name: str, language: str, template: Template) -> TemplateView:
    return TemplateView(
        name=name,
        language=language,
        category=template.category,
        body=template.body,
        parameters=list(template.parameters),
        state=template.state,
        reason=template.reason,
    )


HANDLERS = (
    put_template,
    get_template,
    list_templates,
)
