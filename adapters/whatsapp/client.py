"""Sends through Meta's Cloud API, and asks it whether credentials are good."""

from typing import Any

from adapters.answers import is_plain
from adapters.meta_graph import GraphApi, JsonObject
from adapters.readers import identifier, objects
from adapters.unsendable import NotAsked
from adapters.whatsapp.errors import MEANINGS
from adapters.whatsapp.outgoing import request_body
from adapters.whatsapp.readers import phone_number
from domain.credentials import Credentials
from domain.inbound import Address, Content
from domain.outbound import Accepted, Deferred, OutboundFile, OutboundMessage
from domain.read_marking import Marked


class CloudApi(GraphApi):
    """The Cloud API for all accounts."""

    meanings = MEANINGS
    verification_fields = "id,display_phone_number,verified_name"

    async def body(self, message: OutboundMessage, access_token: str) -> JsonObject:
        """The body of `POST /{phone_number_id}/messages`. Raises Unsendable, NotAsked."""
        if message.file is None:
            return request_body(message)
        media_id = await self._media_id(message.account_id, message.file, access_token)
        return request_body(message, media_id=media_id)

    def accepted(self, document: JsonObject, message: OutboundMessage) -> Accepted | None:
        """What an answer to a message that was taken says; None if it is not understood."""
        sent = next(iter(objects(document.get("messages"))), {})
        platform_id = sent.get("id")
        if not is_plain(platform_id):
            return None
        contact = next(iter(objects(document.get("contacts"))), {})
        return Accepted(platform_id=platform_id, recipient=_recipient(contact, message))

    async def mark_read(
        self, account_id: str, message: Content, credentials: Credentials
    ) -> Marked | None:
        """Mark a customer's message, and all before it, as read."""
        read = {"status": "read", "message_id": message.platform_id}
        return await self.tell_read(
            account_id, {"messaging_product": "whatsapp", **read}, credentials
        )

    async def _media_id(self, account_id: str, file: OutboundFile, access_token: str) -> str:
        """WhatsApp's id of the file. Raises NotAsked."""
        uploaded = await self.upload(
            account_id,
            "media",
            {"messaging_product": "whatsapp", "type": file.mime_type},
            name="file",
            file=file,
            access_token=access_token,
        )
        media_id = identifier(uploaded.get("id"))
        if media_id is None:
            raise NotAsked(Deferred(reason="answer_not_understood"))
        return media_id


def _recipient(contact: dict[str, Any], message: OutboundMessage) -> tuple[Address, ...]:
    """The recipient as WhatsApp names it, which may be another number than we wrote to."""
    found: list[Address] = []
    number = phone_number(contact.get("wa_id"))
    if number is not None:
        found.append(Address("phone", number))
    user_id = identifier(contact.get("user_id"))
    kinds = (each.kind for each in message.recipient if each.kind.startswith("bsuid:"))
    kind = next(kinds, None)
    if user_id is not None and kind is not None:
        found.append(Address(kind, user_id))
    return tuple(found)
