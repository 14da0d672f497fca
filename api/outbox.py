"""What the dispatcher needs of the projections, opened for sending."""

from collections.abc import Collection
from datetime import datetime

import msgspec
from msgspec.structs import replace

from api import links
from api.commands.attachments import file_in
from api.commands.credentials import AccountCredentials
from api.commands.marks import mark_of
from domain import chat as chats
from domain.chat_events import ReplyRequested
from domain.credentials import Credentials
from domain.dispatch_ports import DueMessage, PassedOver, WaitingAccount
from domain.inbound import Address, Content
from domain.media_ports import MediaStore
from domain.outbound import OutboundFile, OutboundMessage
from domain.ports import Clock, Directory, Keys, Unreadable
from domain.read_marking import WaitingMarking
from projections import markings, verifications
from projections.engine.builds import LiveBuilds
from projections.outbox import projection as outbox
from projections.outbox.projection import Claim, Outgoing, Waiting

AT_ONCE_MAX = 64
# One busy account leaves room for the others.
AT_ONCE_PER_ACCOUNT_MAX = 16


class ProjectedOutbox:
    """What waits for platforms in the projections, with what is sealed opened for them."""

    def __init__(
        self,
        live: LiveBuilds,
        directory: Directory,
        credentials: AccountCredentials,
        media: MediaStore,
        clock: Clock,
        *,
        public_url: str | None,
    ) -> None:
        """`live` is of role trunkline_project: it sees all organisations."""
        self._live = live
        self._directory = directory
        self._credentials = credentials
        self._media = media
        self._clock = clock
        self._public_url = public_url

    async def due(self, now: datetime, passed_over: PassedOver) -> list[DueMessage]:
        """The next message of each chat that has one, as many as can be sent at once.

        Every account that has one comes before the second of any.
        """
        async with self._live.within(None) as connection:
            outgoing = await outbox.due(
                connection,
                now=now,
                limit=AT_ONCE_MAX,
                limit_per_account=AT_ONCE_PER_ACCOUNT_MAX,
                passed_over=passed_over,
            )
        return [
            replace(_due(each, attempt=each.attempt), is_group=_is_to_group(each))
            for each in outgoing
        ]

    async def orphans(self, claimed_before: datetime) -> list[DueMessage]:
        """Messages that a dispatcher took long ago and never settled."""
        async with self._live.within(None) as connection:
            claims = await outbox.orphans(
                connection, claimed_before=claimed_before, limit=AT_ONCE_MAX
            )
        return [_due(each, attempt=each.attempt) for each in claims]

    async def waiting(self, *, after: tuple[int, str]) -> list[DueMessage]:
        """The next message of each chat, whatever it waits for: a page, by org and chat."""
        async with self._live.within(None) as connection:
            waiting = await outbox.waiting(connection, after=after, limit=AT_ONCE_MAX)
        return [_due(each) for each in waiting]

    async def next_due(self) -> datetime | None:
        """When the next message that waits for a time is due."""
        async with self._live.within(None) as connection:
            return await outbox.next_due(connection)

    async def open(self, due: DueMessage) -> OutboundMessage | None:
        """The message in clear; None if what it says or whom it goes to was erased."""
        # With the keys as they are at this moment: what was erased meanwhile is not sent (E4).
        async with self._live.within(None) as connection:
            outgoing = await outbox.outgoing(
                connection, org=due.org, chat_id=due.chat_id, message_id=due.message_id
            )
        if outgoing is None:
            return None
        keys = await self._directory.keys(due.org)
        try:
            data = keys.open(
                outgoing.content,
                stream=chats.stream_of(due.chat_id),
                stored_type=ReplyRequested.stored_type,
                wrapped=outgoing.wrapped_key,
            )
            recipient = tuple(
                Address(
                    each.kind,
                    keys.open(
                        each.address,
                        stream=each.stream,
                        stored_type=each.stored_type,
                        wrapped=each.wrapped_key,
                    ).decode(),
                )
                for each in outgoing.recipients
            )
        except Unreadable:
            return None
        content = msgspec.json.decode(data, type=Content)
        return OutboundMessage(
            mark=mark_of(due.chat_id, due.message_id),
            account_id=due.account_id,
            recipient=_preferred(recipient),
            kind=outgoing.kind,
            content=content,
            quotes=content.quotes,
            tag=outgoing.tag,
            file=self._file(keys, due, content),
        )

    def _file(self, keys: Keys, due: DueMessage, content: Content) -> OutboundFile | None:
        """The file that goes with it, to be read from the store as it is sent."""
        file = file_in(content)
        if file is None:
            return None
        url = None
        if self._public_url is not None:
            link = links.link_to(keys, due.chat_id, due.message_id, now=self._clock.now())
            url = f"{self._public_url.rstrip('/')}/media/{link}"
        return OutboundFile(
            mime_type=file.mime_type,
            byte_count=file.byte_count,
            name=file.name,
            read=lambda: self._media.read(keys.org, file),
            url=url,
        )

    async def unverified(
        self, platforms: Collection[str], left_alone: Collection[WaitingAccount]
    ) -> list[WaitingAccount]:
        """Accounts whose credentials have not been checked yet, some of each of these platforms."""
        async with self._live.within(None) as connection:
            return await verifications.pending(
                connection, platforms=platforms, left_alone=left_alone, limit=AT_ONCE_MAX
            )

    async def unmarked(self, platforms: Collection[str]) -> list[WaitingMarking]:
        """Messages of these platforms that are to be marked as read, the newest wish first."""
        async with self._live.within(None) as connection:
            return await markings.waiting(connection, platforms=platforms, limit=AT_ONCE_MAX)

    async def credentials(self, org: int, platform: str, account_id: str) -> Credentials:
        """What the account's messages are sent with, as it is now; empty for no such account."""
        return await self._credentials.current(org, platform, account_id)


def _preferred(recipient: tuple[Address, ...]) -> tuple[Address, ...]:
    """Telephone numbers first, then the ids that a platform gave, of which the newest holds."""
    phones = tuple(each for each in recipient if each.kind == "phone")
    return (*phones, *(each for each in reversed(recipient) if each.kind != "phone"))


def _is_to_group(outgoing: Outgoing) -> bool:
    return any(each.kind.startswith("group:") for each in outgoing.recipients)


def _due(each: Outgoing | Claim | Waiting, *, attempt: int = 0) -> DueMessage:
    return DueMessage(
        org=each.org,
        platform=each.platform,
        account_id=each.account_id,
        chat_id=each.chat_id,
        message_id=each.message_id,
        attempt=attempt,
    )
