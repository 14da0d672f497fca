"""An account's message templates. Stream `template:{platform}:{account_id}` (C8)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import msgspec
from msgspec.structs import replace

from domain import languages, placeholders
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
    at: datetime | None = None


@stored_as("template.state_changed")
class TemplateStateChanged(Event, frozen=True, kw_only=True):
    """The platform's word on a template."""

    name: str
    language: str
    state: TemplateState
    at: datetime | None = None  # The platform's time.
    reason: str | None = None


@stored_as("template.category_changed")
class TemplateCategoryChanged(Event, frozen=True, kw_only=True):
    """The platform put a template into another category; later answers are priced by it."""

    name: str
    language: str
    category: Category
    at: datetime | None = None


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """One template in one language."""

    category: Category
    body: str
    parameters: tuple[str, ...]
    state: TemplateState
    reason: str | None = None  # Why it is in this state, where the platform says.
    state_at: datetime | None = None  # Since when, so that what is said late changes nothing.
    category_at: datetime | None = None


class Templates(msgspec.Struct, frozen=True, kw_only=True):
    """All templates of an account, by name and language."""

    by_name: dict[tuple[str, str], Template] = {}

    @property
    def approved(self) -> list[str]:
        """The names of what can be sent, for a refusal that says what is possible (N2)."""
        return sorted({key[0] for key, each in self.by_name.items() if each.state == "approved"})

    def languages(self, name: str, *, asked: str) -> list[str]:
        """The languages in which a template serves for the one that is asked for, best first."""
        return languages.in_order(asked, [key[1] for key in self.by_name if key[0] == name])


def evolve(templates: Templates, event: Event) -> Templates:
    """The templates after one more fact."""
    match event:
        case TemplateDefined():
            defined = Template(
                category=event.category,
                body=event.body,
                parameters=event.parameters,
                state=event.state,
                state_at=event.at,
                category_at=event.at,
            )
            key = (event.name, event.language)
            return replace(templates, by_name={**templates.by_name, key: defined})
        case TemplateStateChanged():
            changes = {"state": event.state, "reason": event.reason, "state_at": event.at}
            return _changed(templates, event.name, event.language, **changes)
        case TemplateCategoryChanged():
            changes = {"category": event.category, "category_at": event.at}
            return _changed(templates, event.name, event.language, **changes)
        case _:
            return templates


def _changed(templates: Templates, name: str, language: str, **changes: object) -> Templates:
    present = templates.by_name.get((name, language))
    if present is None:
        return templates
    changed = replace(present, **changes)
    return replace(templates, by_name={**templates.by_name, (name, language): changed})


def define(
    templates: Templates,
    *,
    name: str,
    language: str,
    template: Template,
    user_id: str,
    at: datetime | None = None,
) -> list[Event]:
    """Set a template; nothing if it stands so already."""
    for each in template.parameters:
        if template.parameters.count(each) > 1:
            raise Invalid("parameters", f"{each} stands twice")
    for each in placeholders.names_in(template.body):
        if each not in template.parameters:
            raise Invalid("parameters", f"the body has {{{{{each}}}}}, which is not among them")
    present = templates.by_name.get((name, language))
    if present and replace(present, reason=None, state_at=None, category_at=None) == template:
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
            at=at,
        )
    ]


class TemplateWord(msgspec.Struct, frozen=True, kw_only=True):
    """What a platform says of a template; what is None it does not speak of."""

    name: str
    language: str
    state: TemplateState | None = None
    reason: str | None = None
    category: Category | None = None


def take_word(templates: Templates, word: TemplateWord, *, at: datetime) -> list[Event]:
    """Follow the platform in what it says of a template of ours, unless later is known."""
    written = languages.spelled(word.language)
    served = templates.languages(word.name, asked=word.language)
    language = next((each for each in served if languages.spelled(each) == written), None)
    if language is None:
        return []
    present = templates.by_name[word.name, language]
    events: list[Event] = []
    if word.state and _is_news(word.state, present.state, at=at, since=present.state_at):
        changed = TemplateStateChanged(
            name=word.name, language=language, state=word.state, at=at, reason=word.reason
        )
        events.append(changed)
    if word.category and _is_news(
        word.category, present.category, at=at, since=present.category_at
    ):
        moved = TemplateCategoryChanged(
            name=word.name, language=language, category=word.category, at=at
        )
        events.append(moved)
    return events


def _is_news(said: str, known: str, *, at: datetime, since: datetime | None) -> bool:
    """Whether to write down what is said; the same is, where it is later: it may end a doubt."""
    if since is None or at > since:
        return True
    # Platforms tell whole seconds: what they say of this one may be later than what we know.
    return said != known and at >= since.replace(microsecond=0)


class FilledTemplate(msgspec.Struct, frozen=True, kw_only=True):
    """A template as it is sent: in which language, and the text that it comes to."""

    language: str
    template: Template
    text: str


def fill(
    templates: Templates, *, name: str, language: str, parameters: Mapping[str, str]
) -> FilledTemplate:
    """The text that is sent, in the best language that can be sent; the text is the fact. C8."""
    taken, template = _sendable(templates, name, language)
    # The text's own placeholders too: nothing is ever sent with a hole in it.
    needed = dict.fromkeys((*template.parameters, *placeholders.names_in(template.body)))
    missing = [each for each in needed if not placeholders.is_filled(parameters.get(each))]
    if missing:
        raise ParameterMissing(
            errors=[{"field": f"parameters.{each}", "message": "is missing"} for each in missing]
        )
    text = placeholders.filled(template.body, parameters)
    return FilledTemplate(language=taken, template=template, text=text)


def _sendable(templates: Templates, name: str, asked: str) -> tuple[str, Template]:
    served = [
        (each, templates.by_name[name, each]) for each in templates.languages(name, asked=asked)
    ]
    if not served:
        raise NotFound(f"This account has no template {name!r} in {asked!r}.")
    approved = [each for each in served if each[1].state == "approved"]
    if not approved:
        state = served[0][1].state
        raise TemplateNotApproved(f"The template {name!r} is {state}.", state=state)
    return approved[0]


def approved(templates: Templates, reference: str) -> Template:
    """The template `<name>/<language>`, to be sent again. Raises TemplateNotApproved."""
    name, _, language = reference.rpartition("/")
    present = templates.by_name.get((name, language))
    if present is None or present.state != "approved":
        state = present.state if present else None
        raise TemplateNotApproved(f"The template {name!r} is {state}.", state=state)
    return present
