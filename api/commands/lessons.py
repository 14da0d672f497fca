"""What a platform says that concerns more than one message: of templates, of marketing (C8, N5)."""

from collections.abc import Callable
from datetime import datetime

from api.commands.unit import Unit
from domain import account as accounts
from domain import chat as chats
from domain import contact as contacts
from domain import template as templates
from domain.account import Account
from domain.chat import Chat
from domain.contact import Contact
from domain.event import Event
from domain.refusal import EnoughMarketing, OptedOut, Refusal
from domain.template import Templates, TemplateWord


def heed_template_word(
    unit: Unit, platform: str, account_id: str, word: TemplateWord, *, at: datetime
) -> None:
    """Keep an account's template in step with the platform. Spec C8."""
    stream = templates.stream_of(platform, account_id)
    unit.record(stream, templates.take_word(unit.state(stream, Templates), word, at=at))


def heed_refusal(
    unit: Unit,
    chat_id: str,
    message_id: str | None,
    *,
    reason: str | None,
    at: datetime,
    now: datetime,
) -> None:
    """What the refusal of one message at a moment means for those to come. Spec C8, N5."""
    match reason:
        case "opted_out":
            _note_marketing(unit, chat_id, contacts.note_refused_marketing, at=at)
        case "marketing_limited":
            _note_marketing(unit, chat_id, contacts.note_limited_marketing, at=at)
        case "restricted_country":
            _note_restriction(unit, chat_id, at=at, now=now)
        case "template_paused" if message_id is not None:
            _pause_template(unit, chat_id, message_id, at=at)


def objection(unit: Unit, chat: Chat, category: str | None, *, at: datetime) -> Refusal | None:
    """Why the customer is to get no message of this category at a moment. Spec N5."""
    if category != "marketing":
        return None
    contact = unit.state(contacts.stream_of(chat.contact_id), Contact)
    account = f"{chat.platform}:{chat.account_id}"
    if not contact.takes_marketing(account):
        return OptedOut()
    until = contact.marketing_paused_until(account)
    return None if until is None or at >= until else EnoughMarketing(until=until)


def _note_marketing(
    unit: Unit, chat_id: str, note: Callable[..., list[Event]], *, at: datetime
) -> None:
    chat = unit.state(chats.stream_of(chat_id), Chat)
    stream = contacts.stream_of(chat.contact_id)
    contact = unit.state(stream, Contact)
    unit.record(stream, note(contact, f"{chat.platform}:{chat.account_id}", at=at))


def _note_restriction(unit: Unit, chat_id: str, *, at: datetime, now: datetime) -> None:
    chat = unit.state(chats.stream_of(chat_id), Chat)
    stream = accounts.stream_of(chat.platform, chat.account_id)
    account = unit.state(stream, Account)
    unit.record(stream, accounts.note_restricted_country(account, at=at, now=now))


def _pause_template(unit: Unit, chat_id: str, message_id: str, *, at: datetime) -> None:
    chat = unit.state(chats.stream_of(chat_id), Chat)
    message = chat.outbound.get(message_id)
    if message is None or message.template is None:
        return
    name, _, language = message.template.rpartition("/")
    stream = templates.stream_of(chat.platform, chat.account_id)
    known = unit.state(stream, Templates)
    present = known.by_name.get((name, language))
    # A whole queue may be refused for it: it is paused once.
    if present is not None and present.state == "approved":
        word = TemplateWord(name=name, language=language, state="paused")
        unit.record(stream, templates.take_word(known, word, at=at))
