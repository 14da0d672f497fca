"""An account's templates, as people set them (C8); what platforms say of them is in lessons.py."""

from typing import Any

import msgspec

from api.commands.context import Actor, Context, accounts_named, the_organisation
from api.commands.execute import Outcome
from api.commands.unit import Unit
from domain import template as templates
from domain.limits import require_template
from domain.organisation import require_role
from domain.ports import Org
from domain.refusal import NotFound
from domain.template import Template, Templates


class AccountTemplates:
    """Commands about templates."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def of_account(self, org: Org, account_id: str) -> Templates:
        """All templates of an account. Raises NotFound."""

        def look(unit: Unit) -> Templates:
            platform = _platform_of(unit, account_id)
            return unit.state(templates.stream_of(platform, account_id), Templates)

        return await self._context.executor.look(org, look)

    async def define(
        self,
        actor: Actor,
        *,
        account_id: str,
        name: str,
        language: str,
        given: dict[str, Any],
    ) -> Outcome[None]:
        """Set a template of an account; what is not given keeps its value. Spec C8.

        `ids["template"]` of the outcome is the template as it stands then, as JSON.
        """

        def decide(unit: Unit) -> None:
            require_role(the_organisation(unit), actor.user_id, "admin", "supervisor")
            platform = _platform_of(unit, account_id)
            require_template(platform, given["category"])
            stream = templates.stream_of(platform, account_id)
            known = unit.state(stream, Templates)
            defined = templates.define(
                known,
                name=name,
                language=language,
                template=_changed(known.by_name.get((name, language)), given),
                user_id=actor.user_id,
                at=self._context.clock.now(),
            )
            unit.record(stream, defined)
            stands = unit.state(stream, Templates).by_name[name, language]
            unit.ids["template"] = msgspec.json.encode(stands).decode()

        return await self._context.executor.execute(actor.org, decide, request=actor.request)


def _platform_of(unit: Unit, account_id: str) -> str:
    """Raises NotFound."""
    for platform, _ in accounts_named(unit, account_id):
        return platform
    raise NotFound("There is no such account in this organisation.")


def _changed(present: Template | None, given: dict[str, Any]) -> Template:
    """The template as it is wanted; why and since when it stands so is not for people to say."""
    if present is None:
        return Template(**{"parameters": (), "state": "draft", **given})
    unsaid = {"reason": None, "state_at": None, "category_at": None}
    return msgspec.structs.replace(present, **unsaid, **given)
