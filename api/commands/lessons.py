"""What a platform says that concerns more than one message: of templates, of marketing (C8, N5)."""

from datetime import datetime

from api.commands.unit import Unit
from domain import chat as chats
from domain import contact as contacts
from domain import template as templates
from domain.chat import Chat
from domain.contact import Contact
from domain.template import Templates, TemplateWord


def heed_template_word(
    unit: Unit, platform: str, account_id: str, word: TemplateWord, *, at: datetime
) -> None:
    """Keep an account's template in step with the platform. Spec C8."""
    stream = templates.stream_of(platform, account_id)
    unit.record(stream, templates.take_word(unit.state(stream, Templates), word, at=at))


def heed_refusal(
    unit: Unit, chat_id: str, message_id: str | None, *, reason: str | None, at: datetime
) -> None:
    """What the refusal of one message means for those to come. Spec C8, N5."""
    if reason == "opted_out":
        _note_opt_out(unit, chat_id, at=at)
    elif reason == "template_paused" and message_id is not None:
        _pause_template(unit, chat_id, message_id, at=at)


def has_opted_out(unit: Unit, chat: Chat, category: str | None) -> bool:
    """Whether a message is marketing that the customer does not want. Spec N5."""
    if category != "marketing":
        return False
    contact = unit.state(contacts.stream_of(chat.contact_id), Contact)
    return not contact.takes_marketing(f"{chat.platform}:{chat.account_id}")


def _note_opt_out(unit: Unit, chat_id: str, *, at: datetime) -> None:
    chat = unit.state(chats.stream_of(chat_id), Chat)
    stream = contacts.stream_of(chat.contact_id)
    account = f"{chat.platform}:{chat.account_id}"
    contact = unit.state(stream, Contact)
    unit.record(stream, contacts.note_refused_marketing(contact, account, at=at))


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
