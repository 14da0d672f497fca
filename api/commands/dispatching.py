"""What the dispatcher writes down (N3, N4)."""

from api.commands.billing import settle
from api.commands.context import Context
from api.commands.lessons import heed_refusal, objection
from api.commands.marks import message_key
from api.commands.unit import Unit
from api.commands.window_rules import window_rule_of
from domain import account as accounts
from domain import channel as channels
from domain import chat as chats
from domain import sending
from domain.account import Account, Impairment
from domain.channel import Channel
from domain.chat import Chat
from domain.chat_events import MessageSent, SendStarted
from domain.dispatch_ports import DueMessage
from domain.event import Event, Sealed
from domain.outbound import Accepted, AccountUnusable, Rejected, SendAnswer


class Dispatching:
    """Commands of the processes that send."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def start_sending(self, due: DueMessage, *, dispatcher: str) -> bool:
        """Take a message to send it; False if it is not its turn or its time is over. Spec N4.

        Two dispatchers that try at once are decided one after the other: the second gets False.
        So does who has not seen yet that the message was tried and is to wait (N3).
        """

        keys = await self._context.directory.keys(due.org)
        stream = chats.stream_of(due.chat_id)

        def decide(unit: Unit) -> bool:
            chat = unit.state(stream, Chat)
            message = chat.outbound.get(due.message_id)
            if message is None or message.attempt != due.attempt:
                return False
            channel = unit.state(channels.stream_of(message.channel_id), Channel)
            now = self._context.clock.now()
            events = sending.start_sending(
                chat,
                channel,
                due.message_id,
                rule=window_rule_of(unit, chat.platform, chat.account_id, at=now),
                unwanted=objection(unit, chat, message.category, at=now),
                dispatcher=dispatcher,
                now=now,
            )
            self._record(unit, due, events)
            return any(isinstance(event, SendStarted) for event in events)

        outcome = await self._context.executor.execute(keys.org, decide)
        return outcome.value is True

    async def end_if_over(self, due: DueMessage) -> None:
        """End what waits in this chat and whose time is over. Spec N3."""
        keys = await self._context.directory.keys(due.org)
        stream = chats.stream_of(due.chat_id)

        def decide(unit: Unit) -> None:
            chat = unit.state(stream, Chat)
            now = self._context.clock.now()
            over: list[Event] = []
            for message_id in chat.queue:
                message = chat.outbound[message_id]
                channel = unit.state(channels.stream_of(message.channel_id), Channel)
                over += sending.end_if_over(
                    chat,
                    channel,
                    message_id,
                    rule=window_rule_of(unit, chat.platform, chat.account_id, at=now),
                    unwanted=objection(unit, chat, message.category, at=now),
                    now=now,
                )
            self._record(unit, due, over)

        await self._context.executor.execute(keys.org, decide)

    async def record_answer(self, due: DueMessage, answer: SendAnswer) -> None:
        """Write down what the platform answered."""
        keys = await self._context.directory.keys(due.org)
        stream = chats.stream_of(due.chat_id)

        def seal(unit: Unit, chat: Chat, name: str) -> Sealed:
            return self._context.people.seal(
                unit, keys, chat.contact_id, name.encode(), stream, MessageSent
            )

        def decide(unit: Unit) -> None:
            chat = unit.state(stream, Chat)
            key = platform = quote_token = None
            if isinstance(answer, Accepted):
                key = message_key(keys, chat.platform, chat.account_id, answer.platform_id)
                platform = seal(unit, chat, answer.platform_id)
                if answer.quote_token is not None:
                    quote_token = seal(unit, chat, answer.quote_token)
            events = sending.record_answer(
                chat,
                due.message_id,
                answer,
                key=key,
                platform=platform,
                quote_token=quote_token,
                now=self._context.clock.now(),
            )
            self._record(unit, due, events)
            if isinstance(answer, Rejected):
                now = self._context.clock.now()
                heed_refusal(
                    unit, due.chat_id, due.message_id, reason=answer.reason, at=now, now=now
                )
            account_stream = accounts.stream_of(chat.platform, chat.account_id)
            account = unit.state(account_stream, Account)
            if isinstance(answer, AccountUnusable):
                stopped = accounts.stop(account, reason=answer.reason, error_code=answer.code)
                unit.record(account_stream, stopped)
            elif isinstance(answer, Accepted):
                unit.record(account_stream, accounts.note_accepted(account))
            elif isinstance(answer, Rejected) and answer.code is not None:
                unit.record(account_stream, accounts.note_refused(account))

        await self._context.executor.execute(keys.org, decide)

    async def note_trouble(self, due: DueMessage, *, state: Impairment, reason: str) -> None:
        """The account's messages are deferred again and again. An event only when it is news."""
        keys = await self._context.directory.keys(due.org)
        stream = accounts.stream_of(due.platform, due.account_id)

        def decide(unit: Unit) -> None:
            account = unit.state(stream, Account)
            now = self._context.clock.now()
            unit.record(stream, accounts.impair(account, state=state, reason=reason, now=now))

        await self._context.executor.execute(keys.org, decide)

    async def give_up_claim(self, due: DueMessage) -> None:
        """The dispatcher that had the message is gone. Spec N3."""
        keys = await self._context.directory.keys(due.org)
        stream = chats.stream_of(due.chat_id)

        def decide(unit: Unit) -> None:
            chat = unit.state(stream, Chat)
            message = chat.outbound.get(due.message_id)
            if message is not None and message.attempt == due.attempt:
                now = self._context.clock.now()
                unit.record(stream, sending.give_up_claim(chat, due.message_id, now=now))

        await self._context.executor.execute(keys.org, decide)

    def _record(self, unit: Unit, due: DueMessage, events: list[Event]) -> None:
        """Write down what became of a message, and what has to be given back for it (L4)."""
        unit.record(chats.stream_of(due.chat_id), events)
        settle(unit, due.chat_id, at=self._context.clock.now())
