"""By which rule an account's customers may be written to, and choosing it (N1)."""

from datetime import datetime

import msgspec

from api.commands.context import Actor, Context, the_account, the_organisation
from api.commands.execute import Outcome
from api.commands.unit import Unit
from domain import chat as chats
from domain import chosen_rules, windows
from domain.chat_events import WindowOpened
from domain.chosen_rules import ChosenRules, WindowChosen
from domain.organisation import require_role
from domain.windows import WindowRule, is_selectable, window_rule


def window_rule_of(unit: Unit, platform: str, account_id: str, *, at: datetime) -> WindowRule:
    """The rule that holds for an account at a moment. Spec N1."""
    if not is_selectable(platform):
        return window_rule(platform)
    chosen = unit.state(chosen_rules.STREAM, ChosenRules)
    return chosen_rules.window_for(chosen, platform, account_id, at=at)


def note_opened(unit: Unit, platform: str, chat_id: str, kind: str, *, at: datetime) -> None:
    """Record that something opens the window that is no message, where it does. Spec N1."""
    by = windows.OPENED_BY.get(platform, {}).get(kind)
    if by is not None:
        unit.record(chats.stream_of(chat_id), [WindowOpened(at=at, by=by)])


class WindowRules:
    """Commands about them."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def choose(self, actor: Actor, wanted: WindowChosen) -> Outcome[None]:
        """Let a rule hold from a moment on, for an account or all of its platform.

        `ids` of the outcome say from when.
        """

        def decide(unit: Unit) -> None:
            require_role(the_organisation(unit), actor.user_id, "admin")
            if wanted.account_id is not None:
                the_account(unit, wanted.platform, wanted.account_id)
            unit.ids["effective_from"] = wanted.effective_from.isoformat()
            chosen = msgspec.structs.replace(wanted, user_id=actor.user_id)
            present = unit.state(chosen_rules.STREAM, ChosenRules)
            unit.record(chosen_rules.STREAM, chosen_rules.choose_window(present, chosen))

        return await self._context.executor.execute(actor.org, decide, request=actor.request)
