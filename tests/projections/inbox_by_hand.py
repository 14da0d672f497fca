"""The inbox, worked out by hand from a whole history: slow, and simple enough to believe."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from domain import channel as channels
from domain import chat_events
from domain.event import Recorded
from domain.outgoing import STATUS_RANK

RANKS = STATUS_RANK


@dataclass
class Message:
    chat_id: str
    message_id: str
    channel_id: str | None
    position: int
    at: datetime
    service: str | None
    statuses: list[str]
    key: bytes | None

    @property
    def place(self) -> tuple[datetime, int]:
        return self.at, self.position

    @property
    def status(self) -> str:
        return max(self.statuses, key=lambda each: RANKS.get(each, -1))


@dataclass
class ByHand:
    """Everything that a history says."""

    log: list[Recorded]
    channels: dict[str, tuple[bool, int]] = field(default_factory=dict)  # Shared? since when?
    connections: dict[tuple[str, str], tuple[bool, int]] = field(default_factory=dict)
    started: dict[str, int] = field(default_factory=dict)
    messages: dict[str, Message] = field(default_factory=dict)
    receipts: list[tuple[str, chat_events.ReceiptReceived]] = field(default_factory=list)
    edits: dict[bytes, tuple[datetime, int, str]] = field(default_factory=dict)
    unsent: set[bytes] = field(default_factory=set)
    opened: list[tuple[str, datetime]] = field(default_factory=list)  # Windows, by chat.
    reactions: dict[bytes, dict[str, tuple[datetime, int, str | None]]] = field(
        default_factory=dict
    )

    def __post_init__(self) -> None:
        for recorded in self.log:
            self._note(recorded, recorded.stream.split(":")[1])
        self._join()

    def _note(self, recorded: Recorded, subject: str) -> None:
        position, event = recorded.position, recorded.event
        match event:
            case channels.ChannelCreated():
                self.channels[subject] = (event.shared, position)
            case channels.ConnectionCreated() | channels.ConnectionEnabled():
                self.connections[event.service, subject] = (True, position)
            case channels.ConnectionDisabled() | channels.ConnectionDeleted():
                _, joined = self.connections[event.service, subject]
                self.connections[event.service, subject] = (False, joined)
            case chat_events.ChatStarted():
                self.started[subject] = position
            case chat_events.MessageReceived():
                self._add(subject, position, event, None, None, ["received"], event.key)
            case chat_events.EchoReceived():
                self._add(subject, position, event, None, None, ["sent"], event.key)
            case chat_events.ReplyRequested():
                channel, service = event.channel_id, event.service
                self._add(subject, position, event, channel, service, ["queued"], None)
            case chat_events.MessageSent():
                message = self.messages[event.message_id]
                message.statuses.append("sent")
                message.key = message.key or event.key
            case chat_events.SendUncertain():
                self.messages[event.message_id].statuses.append("uncertain")
            case chat_events.MessageFailed():
                self.messages[event.message_id].statuses.append("failed")
            case chat_events.ReceiptReceived():
                self.receipts.append((subject, event))
                if event.message_id is not None:
                    message = self.messages[event.message_id]
                    message.key = message.key or event.key
            case chat_events.EditReceived():
                edit = (event.at, position, event.content.box.decode())
                self.edits[event.target] = max(self.edits.get(event.target, edit), edit)
            case chat_events.UnsendReceived():
                self.unsent.add(event.target)
            case chat_events.WindowOpened():
                self.opened.append((subject, event.at))
            case chat_events.ReactionReceived():
                text = event.content.box.decode() if event.content else None
                known = self.reactions.setdefault(event.target, {})
                author = "business" if event.echo else "customer"
                latest = (event.at, position, text)
                known[author] = max(known.get(author, latest), latest, key=lambda r: r[:2])

    def _add(
        self,
        chat_id: str,
        position: int,
        event: Any,
        channel_id: str | None,
        service: str | None,
        statuses: list[str],
        key: bytes | None,
    ) -> None:
        self.messages[event.message_id] = Message(
            chat_id, event.message_id, channel_id, position, event.at, service, statuses, key
        )

    def _join(self) -> None:
        ours = {each.key for each in self.messages.values() if each.service and each.key}
        for message in list(self.messages.values()):
            is_echo = message.channel_id is None and message.statuses == ["sent"]
            if is_echo and message.key in ours:
                del self.messages[message.message_id]
        for _, receipt in self.receipts:
            for message in self.messages.values():
                if message.key == receipt.key and message.statuses != ["received"]:
                    message.statuses.append(receipt.status)

    # What a service sees.

    def seat(self, service: str) -> tuple[str, int, bool] | None:
        """Its channel, the position it sees from, and whether it is there now."""
        mine = [
            (active, joined, channel_id)
            for (name, channel_id), (active, joined) in self.connections.items()
            if name == service
        ]
        if not mine:
            return None
        active, _, channel_id = max(mine)
        shared, created = self.channels[channel_id]
        return channel_id, 0 if shared else created, active

    def timeline(self, chat_id: str, channel_id: str, sees_from: int) -> list[Message]:
        """Newest first."""
        seen = [
            each
            for each in self.messages.values()
            if each.chat_id == chat_id
            and (
                each.channel_id == channel_id
                or (each.channel_id is None and each.position >= sees_from)
            )
        ]
        return sorted(seen, key=lambda each: each.place, reverse=True)

    def chat(self, service: str, chat_id: str) -> dict[str, Any] | None:
        """What a list shows of a chat."""
        seat = self.seat(service)
        timeline = self.timeline(chat_id, seat[0], seat[1]) if seat else []
        if not timeline or not seat:
            return None
        known = [each for each in timeline if each.status != "failed"]
        reads = [
            receipt.at
            for _, receipt in self.receipts
            for each in timeline
            if each.key == receipt.key
            and receipt.status in ("read", "played")
            and each.status != "received"
        ]
        asked = [
            each.at
            for each in self.messages.values()
            if each.chat_id == chat_id and each.status == "received"
        ] + [at for opened, at in self.opened if opened == chat_id]
        session = max(self.started[chat_id], seat[1])
        return {
            "connected": seat[2],
            "channel_id": seat[0],
            "last_message": timeline[0].message_id,
            "last_activity_at": timeline[0].at,
            "started_at": min(each.at for each in timeline),
            "answered": bool(known) and known[0].status != "received",
            "last_customer_message_at": max(asked, default=None),
            "customer_last_read_at": max(reads, default=None),
            "session_id": str(session),
            **self._decided(service, chat_id),
        }

    def _decided(self, service: str, chat_id: str) -> dict[str, Any]:
        decided: dict[str, Any] = {"status": "open", "owner": None, "blocked": False}
        for recorded in self.log:
            event = recorded.event
            if recorded.stream != f"chat:{chat_id}":
                continue
            here = getattr(event, "service", None) == service
            opens = isinstance(event, chat_events.MessageReceived) or (
                here and isinstance(event, chat_events.ReplyRequested | chat_events.ChatOpened)
            )
            if opens and decided["status"] == "closed":
                decided |= {"status": "open", "session_id": str(recorded.position)}
            elif here:
                match event:
                    case chat_events.ChatClosed():
                        decided["status"] = "closed"
                    case chat_events.ChatAssigned():
                        decided["owner"] = event.owner
                    case chat_events.ChatUnassigned():
                        decided["owner"] = None
                    case chat_events.CustomerBlocked():
                        decided["blocked"] = True
                    case chat_events.CustomerUnblocked():
                        decided["blocked"] = False
        return decided

    def shown(self, message: Message) -> dict[str, Any]:
        """What a timeline shows of a message, opened."""
        gone = message.key in self.unsent
        edit = self.edits.get(message.key or b"") if not gone else None
        reactions = self.reactions.get(message.key or b"", {}) if not gone else {}
        return {
            "message_id": message.message_id,
            "status": message.status,
            "text": None if gone else message.message_id,
            "edited": edit[2] if edit else None,
            "unsent": gone,
            "reactions": {name: text for name, (_, _, text) in reactions.items() if text},
        }
