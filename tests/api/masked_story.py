"""What one service writes that others may not read, and everybody who would like to."""

from dataclasses import dataclass, field
from typing import Any

from adapters.fakes.behaviour import accepts_then_drops
from adapters.whatsapp.fake_behaviour import fails
from tests.api.conftest import Client, Trunkline
from tests.api.deliveries import delivery, eventually, new_wamid, now, status_delivery
from tests.api.files import upload
from tests.api.operations import Office, office_of
from tests.api.test_sending import statuses

PHONE = "12025550143"
CHAT = "/v1/services/{service}/chats/{chat_id}"
# The first two may see nothing of CRM; the others may read it too, but as CRM's, not as Desk's.
OTHERS = {
    "desk reply": ("agent", {"desk": "reply"}),
    "desk view": ("agent", {"desk": "view"}),
    "supervisor": ("supervisor", {"desk": "reply"}),
    "auditor": ("auditor", {}),
}
AGENTS = ("desk reply", "desk view")
# All words begin with this, so that one can search for them without saying them.
BEGINNING = "zinnober"
PLACES = (
    "text",
    "parameter",
    "lost",
    "refused",
    "answered detail",
    "reported detail",
    "replaced",
    "edit",
    "unsent",
    "reacted",
    "reaction",
    "caption",
    "file name",
    "file",
    "last",
)


@dataclass
class Told:
    """An office in which CRM has written, and everyone who may not read it."""

    office: Office
    words: dict[str, str]  # By the place where they stand.
    author: Client  # Who wrote it, an agent of CRM.
    masked: list[str] = field(default_factory=list)  # The messages.
    media: list[str] = field(default_factory=list)  # The files in them.
    others: dict[str, Client] = field(default_factory=dict)

    def names(self, service: str) -> dict[str, list[str]]:
        """What endpoints ask for, by the names of parameters: `?` begins those of queries."""
        names = self.office.names
        return {
            **{name: [value] for name, value in names.items()},
            "service": [service],
            "message_id": self.masked,
            "media_id": self.media,
            "?q": [BEGINNING],
            "?text": [BEGINNING],
            "?owner": [self.author.user_id, self.others["desk reply"].user_id],
            "?channel": [names["channel_id"]],
            "?platform": ["whatsapp"],
            "?stream": [f"chat:{names['chat_id']}"],
            "?type": ["chat.reply_requested"],
            "?time": ["2000-01-01T00:00:00Z", "2100-01-01T00:00:00Z"],
        }

    def found_in(self, text: str) -> list[str]:
        """The places whose words are in it, or the beginnings of what stood there."""
        return [place for place, word in self.words.items() if word.split()[0] in text]


async def tell(trunkline: Trunkline, *, short: bool) -> Told:
    """Let CRM write in every way there is, in few words or in many."""
    words = {
        place: f"{BEGINNING}-{place.replace(' ', '-')}" + ("" if short else " and a lot more" * 20)
        for place in PLACES
    }
    with statuses(trunkline):  # What is reported when is not left to chance.
        office = await office_of(trunkline, "crm", "desk")
        author = await office.admin.user("agent", {"crm": "reply"}, name="Zoraida Quill")
        told = Told(office, words, author)
        for name, (role, services) in OTHERS.items():
            told.others[name] = await office.admin.user(role, services, name=name)
        await author.post(office.path(f"{CHAT}/assign"), {})
        await _write(told, as_template=not short)
    await office.admin.settled()
    return told


async def _write(told: Told, *, as_template: bool) -> None:
    words, fake = told.words, told.office.trunkline.fake
    quoted = await _sent(told, words["text"])
    await _happens(told, {"type": "text", "text": {"body": "Really?"}, "context": {"id": quoted}})
    await _sent(told, words["parameter"], as_template=as_template)
    fake.next_requests(accepts_then_drops())
    await _write_one(told, words["lost"], "uncertain")
    retry = f"{CHAT}/messages/{told.masked[-1]}/retry"
    told.masked.append((await told.author.post(told.office.path(retry), expect=202))["id"])
    await _becomes(told, "sent")
    fake.next_requests(fails(131026, details=words["answered detail"]))
    await _write_one(told, words["refused"], "failed")
    error = {"code": 131026, "title": "No", "error_data": {"details": words["reported detail"]}}
    await _report_failure(told, await _sent(told, "and then"), error)
    edited, unsent = await _sent(told, words["replaced"]), await _sent(told, words["unsent"])
    new = {"type": "text", "text": {"body": words["edit"]}}
    edit = {"type": "edit", "edit": {"original_message_id": edited, "message": new}}
    await _happens(told, edit, echo=True)
    revoke = {"type": "revoke", "revoke": {"original_message_id": unsent}}
    await _happens(told, revoke, echo=True)
    for is_ours in (False, True):
        reacted = await _sent(told, words["reacted"])
        reaction = {"message_id": reacted, "emoji": words["reaction"]}
        await _happens(told, {"type": "reaction", "reaction": reaction}, echo=is_ours)
    await _send_a_file(told)
    await _sent(told, words["last"])


async def _send_a_file(told: Told) -> None:
    words, name = told.words, f"{told.words['file name'].split()[0]}.pdf"
    data = f"%PDF-1.7 {words['file']}".encode()
    told.media.append(await upload(told.author, data, name, "application/pdf"))
    body = {"kind": "document", "media_id": told.media[-1], "caption": words["caption"]}
    path = told.office.path(f"{CHAT}/messages")
    told.masked.append((await told.author.post(path, body, expect=202))["id"])
    await _becomes(told, "sent")


async def _sent(told: Told, text: str, *, as_template: bool = False) -> str:
    """Write it, wait until the platform has it, and return the platform's id."""
    await _write_one(told, text, "sent", as_template=as_template)
    mark = f"{told.office.names['chat_id']}.{told.masked[-1]}"
    accepted = told.office.trunkline.fake.accepted
    return next(each.platform_id for each in accepted if each.mark == mark)


async def _write_one(told: Told, text: str, status: str, *, as_template: bool = False) -> None:
    body: dict[str, Any] = {"kind": "text", "text": text}
    if as_template:
        body = {"kind": "template", "name": "greeting", "language": "en"}
        body["parameters"] = {"customer": text}
    path = told.office.path(f"{CHAT}/messages")
    told.masked.append((await told.author.post(path, body, expect=202))["id"])
    await _becomes(told, status)


async def _becomes(told: Told, status: str) -> None:
    async def present() -> str:
        await told.office.admin.settled()
        timeline = await told.office.admin.messages("crm", told.office.names["chat_id"])
        return str({each["id"]: each["status"] for each in timeline}[told.masked[-1]])

    await eventually(present, status)


async def _happens(told: Told, item: dict[str, Any], *, echo: bool = False) -> None:
    """The platform tells what the customer, or the business on its phone, did a minute ago.

    So its place in the timeline does not depend on where in a second it was told.
    """
    name, kind = ("smb_message_echoes", "message_echoes") if echo else ("messages", "messages")
    people = {"from": "15550783881", "to": PHONE} if echo else {"from": PHONE}
    whole = {**people, "id": new_wamid("door"), "timestamp": str(now() - 60), **item}
    account_id = told.office.names["account_id"]
    value: dict[str, Any] = {kind: [whole]}
    await told.office.trunkline.deliver(delivery(account_id=account_id, field=name, **value))


async def _report_failure(told: Told, wamid: str, error: dict[str, Any]) -> None:
    webhook = status_delivery(
        "failed",
        wamid=wamid,
        phone=PHONE,
        timestamp=now(),
        account_id=told.office.names["account_id"],
        errors=[error],
    )
    await told.office.trunkline.deliver(webhook)
    await _becomes(told, "failed")
