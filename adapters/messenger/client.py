"""Sends through Meta's Send API, and asks it whether credentials are good."""

import json

from adapters.answers import document_of, is_header_value, is_plain
from adapters.exchange import Reply
from adapters.messenger.errors import MEANINGS
from adapters.messenger.outgoing import FILES, envelope
from adapters.messenger.subscribing import SUBSCRIBED_FIELDS, is_subscribed
from adapters.meta_errors import read_error
from adapters.meta_graph import GraphApi, JsonObject, is_account_id
from adapters.meta_templates import template_of
from adapters.outgoing import file_of, text_of
from adapters.readers import identifier
from adapters.unsendable import NotAsked
from domain.credentials import Credentials
from domain.inbound import Content
from domain.outbound import Accepted, Deferred, OutboundMessage
from domain.read_marking import Marked
from domain.subscription import DeliveryCheck


class SendApi(GraphApi):
    """The Send API for all pages."""

    meanings = MEANINGS
    verification_fields = "id,name"

    async def body(self, message: OutboundMessage, access_token: str) -> JsonObject:
        """The body of `POST /{page}/messages`. Raises Unsendable, NotAsked.

        The echo gives our mark back, so it is never taken for somebody else's message (C17).
        """
        body = envelope(message)
        content = await self._content(message, access_token)
        return body | {"message": content | {"metadata": message.mark}}

    def accepted(self, document: JsonObject, _: OutboundMessage) -> Accepted | None:
        """What an answer to a message that was taken says; None if it is not understood."""
        platform_id = document.get("message_id")
        if not is_plain(platform_id):
            return None
        return Accepted(platform_id=platform_id)

    async def mark_read(
        self, account_id: str, message: Content, credentials: Credentials
    ) -> Marked | None:
        """Show a customer that all they wrote was read; single messages Messenger does not know."""
        if message.read_token is None:
            return "refused"
        seen = {"recipient": {"id": message.read_token}, "sender_action": "mark_seen"}
        return await self.tell_read(account_id, seen, credentials)

    async def renew_subscription(
        self, account_id: str, credentials: Credentials
    ) -> DeliveryCheck | None:
        """See whether the page's events are told to our app, and have it so if not."""
        access_token = credentials["access_token"]
        if not is_account_id(account_id) or not is_header_value(access_token):
            return None
        path = f"{account_id}/subscribed_apps"
        # The list may name other apps of the business beside the one that the token is of.
        app = document_of(await self.ask("GET", "app?fields=id", access_token))
        listed = document_of(await self.ask("GET", path, access_token))
        is_there = is_subscribed(listed, app)
        if is_there is None or is_there:
            return None if is_there is None else DeliveryCheck()
        fields = ",".join(SUBSCRIBED_FIELDS)
        reply = await self.ask("POST", f"{path}?subscribed_fields={fields}", access_token)
        if isinstance(reply, Reply) and reply.status < 300:
            return DeliveryCheck(had_ended=True)
        error = read_error(document_of(reply), secret=access_token)
        meaning = error.meaning(self.meanings) if error is not None else None
        if meaning is None or meaning.verdict not in ("reject", "stop"):
            return None
        return DeliveryCheck(had_ended=True, refusal=meaning.reason)

    async def _content(self, message: OutboundMessage, access_token: str) -> JsonObject:
        if message.kind == "text":
            return {"text": text_of(message, platform="messenger")}
        if message.kind == "template":
            return {"template": template_of(message)}
        named, file = file_of(message, FILES)
        # Given before the message and not with it: if the connection breaks meanwhile, it is
        # certain that nothing was sent.
        answer = await self.upload(
            message.account_id,
            "message_attachments",
            {"message": json.dumps(_attachment(named, {"is_reusable": True}))},
            name="filedata",
            file=file,
            access_token=access_token,
        )
        attachment_id = identifier(answer.get("attachment_id"))
        if attachment_id is None:
            raise NotAsked(Deferred(reason="answer_not_understood"))
        return _attachment(named, {"attachment_id": attachment_id})


def _attachment(named: str, payload: JsonObject) -> JsonObject:
    return {"attachment": {"type": named, "payload": payload}}
