"""What the whole history of chats comes to. Pure: no database, no clock.

The live projection meets a chat piece by piece, so what depends on earlier rows is settled in SQL
(projection.sql). Here all of it is at hand. The functions have the names of the statements whose
rules they follow; tests/projections/test_inbox_filling.py holds both to the same rows.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import dropwhile
from operator import attrgetter

import msgspec

from domain.chat_events import MessageReceived, ReplyRequested
from domain.event import Recorded
from domain.outgoing import STATUS_RANK
from projections.inbox.fold import Changes, Key
from projections.inbox.records import FAILED, WHOLE_ACCOUNT, Message, Receipt
from projections.inbox.rows import NO_RANK
from projections.inbox.services import Channel, Decided, Seats, decide

SEEN = (STATUS_RANK["read"], STATUS_RANK["played"])
_place = attrgetter("at", "position")  # In the timeline.


class Seen(msgspec.Struct):
    """What a channel shows of a chat: columns of inbox_chats."""

    last_message_id: str | None = None
    last_activity_at: datetime | None = None
    started_at: datetime | None = None
    answered: bool = False


def drop_echoes(changes: Changes) -> None:
    """An echo of what we sent ourselves is no second message (C17)."""
    own = {(each.chat_id, each.key) for each in changes.messages.values() if each.service}
    changes.messages = {
        name: message
        for name, message in changes.messages.items()
        if message.service or message.rank == NO_RANK or (message.chat_id, message.key) not in own
    }


def forget_edits(changes: Changes) -> None:
    """What is unsent leaves nothing of what it said (C17)."""
    for target in changes.unsends:
        changes.edits.pop(target, None)


def settle_by_key(changes: Changes, seats: Seats) -> dict[tuple[str, str], datetime]:
    """Join receipts, edits and unsendings to their messages, whichever came first.

    Returns when the customer last read, by chat and channel.
    """
    receipts = defaultdict[Key, list[Receipt]](list)
    for receipt in changes.receipts:
        receipts[receipt.chat_id, receipt.key].append(receipt)
    reads: dict[tuple[str, str], datetime] = {}
    for message in changes.messages.values():
        if message.key is None:
            continue
        target = (message.chat_id, message.key)
        if message.rank != NO_RANK and target in receipts:
            _take_receipts(message, receipts[target])
            for chat_and_channel, at in _reads(changes, seats, message, receipts[target]):
                reads[chat_and_channel] = max(reads.get(chat_and_channel, at), at)
        if target in changes.edits:
            message.edited_at, _, message.edit, message.edit_key = changes.edits[target]
        if target in changes.unsends:
            message.unsent_at, message.content = changes.unsends[target], None
    return reads


def _take_receipts(message: Message, receipts: list[Receipt]) -> None:
    """C15: the greatest status holds, and the failure that was known first."""
    message.rank = max(message.rank, *[receipt.rank for receipt in receipts])
    for failure in receipts:
        if failure.rank == FAILED:
            known = message.failed_position
            if known is None or failure.position < known:
                message.failed_position = failure.position
                message.failure_reason = failure.reason
                message.failure_code = failure.error_code
            return


def _reads(
    changes: Changes, seats: Seats, message: Message, receipts: list[Receipt]
) -> Iterator[tuple[tuple[str, str], datetime]]:
    """A separate channel sees an echo, and that it was read, from its creation on."""
    at = max((receipt.at for receipt in receipts if receipt.rank in SEEN), default=None)
    if at is None:
        return
    yield (message.chat_id, message.channel_id), at
    if message.channel_id == WHOLE_ACCOUNT:
        account = changes.threads[message.chat_id].account
        for channel in seats.channels.values():
            if (
                not channel.shared
                and channel.account == account
                and channel.created_position <= message.position
            ):
                yield (message.chat_id, channel.channel_id), at


def refresh_chats(changes: Changes, seats: Seats) -> Iterator[tuple[Decided, Channel, Seen]]:
    """Every chat as each service has it that sees something of it, or decided something."""
    messages = defaultdict[str, list[Message]](list)
    for message in changes.messages.values():
        messages[message.chat_id].append(message)
    nothing = Seen()
    for chat_id, thread in changes.threads.items():
        # Before anybody decided anything there is nothing to open.
        events = list(dropwhile(_only_opens, changes.decisive.get(chat_id, ())))
        shown: dict[str, Seen] = {}
        for service, channel in seats.on(thread.account).items():
            if channel.channel_id not in shown:
                shown[channel.channel_id] = _look(messages[chat_id], channel) or nothing
            seen = shown[channel.channel_id]
            row = Decided(chat_id, service)
            for recorded in events:
                decide(row, recorded)
            if seen is not nothing or row.decided_position > 0:
                yield row, channel, seen


def _only_opens(recorded: Recorded) -> bool:
    return isinstance(recorded.event, MessageReceived | ReplyRequested)


def _look(messages: Iterable[Message], channel: Channel) -> Seen | None:
    """What follows from the messages that a channel shows; None where it shows none."""
    shown = [
        each
        for each in messages
        if each.channel_id == channel.channel_id
        or (each.channel_id == WHOLE_ACCOUNT and each.position >= channel.sees_from)
    ]
    if not shown:
        return None
    newest = max(shown, key=_place)
    answer: Message | None = newest
    if newest.rank == FAILED:
        answer = max((each for each in shown if each.rank != FAILED), key=_place, default=None)
    return Seen(
        last_message_id=newest.message_id,
        last_activity_at=newest.at,
        started_at=min(each.at for each in shown),
        answered=answer is not None and answer.rank != NO_RANK,
    )
