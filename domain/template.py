"""An account's message templates. Stream `template:{platform}:{account_id}` (C8)."""

from collections.abc import Mapping
from typing import Literal

import msgspec
from msgspec.structs import replace

from domain import placeholders
from domain.event import Event, stored_as
from domain.refusal import Invalid, NotFound, ParameterMissing, TemplateNotApproved

Category = Literal["marketing", "utility", "authentication", "service"]
TemplateState = Literal["draft", "pending", "approved", "rejected", "paused"]


def stream_of(platform: str, account_id: str) -> str:
    """The stream that holds all templates of one account."""
    return f"template:{platform}:{account_id}"


@stored_as("template.defined")
class TemplateDefined(Event, frozen=True, kw_only=True):
    """A template as it stands from now on, with its approval state."""

    name: str
    language: str
    category: Category
    body: str
    parameters: tuple[str, ...]
    state: TemplateState
    user_id: str | None = None


@stored_as("template.state_changed")
class TemplateStateChanged(Event, frozen=True, kw_only=True):
    """The platform's word on a template."""

    name: str
    language: str
    state: TemplateState


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """One template in one language."""

    category: Category
    body: str
    parameters: tuple[str, ...]
    state: TemplateState


class Templates(msgspec.Struct, frozen=True, kw_only=True):
    """All templates of an account, by name and language."""

    by_name: dict[tuple[str, str], Template] = {}

    @property
    def approved(self) -> list[str]:
        """The names of what can be sent, for a refusal that says what is possible (N2)."""
        return sorted({key[0] for key, each in self.by_name.items() if each.state == "approved"})


def evolve(templates: Templates, event: Event) -> Templates:
    """The templates after one more fact."""
    match event:
        case TemplateDefined():
            defined = Template(
                category=event.category,
                body=event.body,
                parameters=event.parameters,
                state=event.state,
            )
            key = (event.name, event.language)
            return replace(templates, by_name={**templates.by_name, key: defined})
        case TemplateStateChanged():
            key = (event.name, event.language)
            present = templates.by_name.get(key)
            if present is None:
                return templates
            changed = replace(present, state=event.state)
            return replace(templates, by_name={**templates.by_name, key: changed})
        case _:
            return templates


def define(
    templates: Templates, *, name: str, language: str, template: Template, user_id: str
) -> list[Event]:
    """Set a template; nothing if it stands so already."""
    for each in placeholders.names_in(template.body):
        if each not in template.parameters:
            raise Invalid("parameters", f"the body has {{{{{each}}}}}, which is not among them")
    if templates.by_name.get((name, language)) == template:
        return []
    return [
        TemplateDefined(
            name=name,
            language=language,
            category=template.category,
            body=template.body,
            parameters=template.parameters,
            state=template.state,
            user_id=user_id,
        )
    ]


def fill(
    templates: Templates, *, name: str, language: str, parameters: Mapping[str, str]
) -> tuple[Template, str]:
    """The template and the text that is sent; the text is the fact. Spec C8."""
    template = templates.by_name.get((name, language))
    if template is None:
        raise NotFound(f"This account has no template {name!r} in {language!r}.")
    if template.state != "approved":
        raise TemplateNotApproved(
            f"The template {name!r} is {template.state}.", state=template.state
        )
    # The text's own placeholders too: nothing is ever sent with a hole in it.
    needed = dict.fromkeys((*template.parameters, *placeholders.names_in(template.body)))
    missing = [each for each in needed if not parameters.get(each)]
    if missing:
        raise ParameterMissing(
            errors=[{"field": f"parameters.{each}", "message": "is missing"} for each in missing]
        )
    return template, placeholders.filled(template.body, parameters)
