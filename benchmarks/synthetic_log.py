"""Logs of an organisation with two services on one number, made up.

Contents are random bytes of the length that sealed ones have. Written by COPY, since what is
measured is reading them.
"""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from domain import chain, channel, chat, chat_events, contact
from domain.event import Event, Sealed, encode
from domain.identifiers import identifier

BEGAN_AT = datetime(2026, 1, 5, 8, tzinfo=UTC)
ORG_ID = "synthetic"
ACCOUNT = ("whatsapp", "527719004413008")
SHARED = "sharedchannelofsynthetic00"
SERVICES = ("crm", "desk")
AGENTS = tuple(f"agent{number:02}" for number in range(20))
CHATS_AT_ONCE = 400

_COPY = (
    "COPY trunkline.events (org, position, stream, version, type, schema_version, recorded_at,"
    " command, data, hash) FROM STDIN (FORMAT binary)"
)
_TYPES = ["int4", "int8", "text", "int4", "text", "int2", "timestamptz", "bytea", "bytea", "bytea"]


Said = tuple[str, Event]  # A stream, and what happened there.


def write(superuser: str, story: Iterable[Said]) -> tuple[int, int]:
    """Write the log of a new organisation into a migrated database.

    Returns its number, and that of its events.
    """
    with psycopg.connect(superuser) as connection:
        org = _open(connection)
        head, position, at = chain.GENESIS, 0, BEGAN_AT
        with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
            copy.set_types(_TYPES)
            for row in _rows(org, story):
                copy.write_row(row)
                position, at, head = row[1], row[6], row[9]
        connection.execute(
            "UPDATE trunkline.heads SET position = %s, hash = %s, recorded_at = %s WHERE org = %s",
            [position, head, at, org],
        )
    with psycopg.connect(superuser, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE) trunkline.events")
        connection.execute("CHECKPOINT")
    return org, position


def _open(connection: psycopg.Connection) -> int:
    row = connection.execute(
        "INSERT INTO trunkline.organisations (id, partition, wrapping_key, identity_key)"
        " VALUES (%s, 0, '', '') RETURNING org",
        [ORG_ID],
    ).fetchone()
    assert row is not None
    connection.execute(
        "INSERT INTO trunkline.heads (org, partition, position, hash, recorded_at)"
        " VALUES (%s, 0, 0, %s, %s)",
        [row[0], chain.GENESIS, BEGAN_AT],
    )
    org: int = row[0]
    return org


def _rows(org: int, story: Iterable[Said]) -> Iterator[tuple[Any, ...]]:
    """Rows of the log, chained."""
    chance = random.Random(1)
    versions: dict[str, int] = {}
    previous, at = chain.GENESIS, BEGAN_AT
    for position, (stream, event) in enumerate(story, 1):
        version = versions[stream] = versions.get(stream, 0) + 1
        at += timedelta(milliseconds=chance.randrange(1, 400))
        command, data = chance.randbytes(32), encode(event)
        previous = chain.link(
            previous,
            org_id=ORG_ID.encode(),
            position=position,
            stream=stream.encode(),
            version=version,
            stored_type=event.stored_type.encode(),
            schema_version=event.schema_version,
            recorded_at=chain.microseconds(at),
            command=command,
            data=data,
        )
        kind = (event.stored_type, event.schema_version)
        yield org, position, stream, version, *kind, at, command, data, previous


def busy(count: int) -> Iterator[Said]:
    """As many events, of chats that go on at the same time, so that theirs lie far apart.

    A chat has about 20 events; a few have very many.
    """
    chance = random.Random(1)
    made = 0
    for said in connected():
        yield said
        made += 1
    going_on: list[Iterator[Said]] = []
    minutes = 0.0
    while made < count:
        minutes += 0.01
        if len(going_on) < CHATS_AT_ONCE:
            going_on.append(_Talk(chance, BEGAN_AT + timedelta(minutes=minutes)).events())
        # Those that began last go on first, mostly: a chat is lively for a while and then rests.
        place = -1 - int(len(going_on) * chance.random() ** 2)
        said_next = next(going_on[place], None)
        if said_next is None:
            del going_on[place]
        else:
            yield said_next
            made += 1


def greetings(chats: int) -> Iterator[Said]:
    """So many customers who have said one thing."""
    chance = random.Random(1)
    yield from connected()
    for number in range(chats):
        yield from _Talk(chance, BEGAN_AT + timedelta(seconds=number)).first_words()


def connected() -> Iterator[Said]:
    """A number that two services share."""
    stream = channel.stream_of(SHARED)
    platform, account_id = ACCOUNT
    yield (
        stream,
        channel.ChannelCreated(
            channel_id=SHARED, platform=platform, account_id=account_id, shared=True, name="Sales"
        ),
    )
    for service in SERVICES:
        yield stream, channel.ConnectionCreated(service=service)


@dataclass
class _Talk:
    """One customer's chat."""

    chance: random.Random
    now: datetime

    def events(self) -> Iterator[Said]:
        """From the first word to the last."""
        yield from self._customer()
        stream = chat.stream_of(self.chat_id)
        for _ in range(1 + int(self.chance.paretovariate(1.4))):
            service = self.chance.choice(SERVICES)
            for _ in range(self.chance.choice((1, 1, 2, 3))):
                yield stream, self._message()
            if self.chance.random() < 0.15:
                owner = self.chance.choice(AGENTS)
                yield (
                    stream,
                    chat_events.ChatAssigned(service=service, owner=owner, at=self._later()),
                )
            for event in self._reply(service):
                yield stream, event
            if self.chance.random() < 0.1:
                yield stream, chat_events.ChatClosed(service=service)

    def first_words(self) -> Iterator[Said]:
        """Of a new customer."""
        yield from self._customer()
        yield chat.stream_of(self.chat_id), self._message()

    def _customer(self) -> Iterator[Said]:
        self.contact_id, self.chat_id = self._id(), self._id()
        stream = contact.stream_of(self.contact_id)
        platform, account_id = ACCOUNT
        yield stream, contact.ContactCreated(contact_id=self.contact_id)
        address = self._sealed(28)
        key = self.chance.randbytes(32)
        yield stream, contact.AddressAdded(kind="phone", key=key, address=address)
        yield stream, contact.ContactNamed(key=key, profile=self._sealed(40))
        yield (
            chat.stream_of(self.chat_id),
            chat_events.ChatStarted(
                chat_id=self.chat_id,
                platform=platform,
                account_id=account_id,
                contact_id=self.contact_id,
            ),
        )

    def _message(self) -> Event:
        return chat_events.MessageReceived(
            message_id=self._id(),
            kind="text",
            at=self._later(),
            content=self._sealed(self.chance.randrange(60, 300)),
            key=self.chance.randbytes(32),
        )

    def _reply(self, service: str) -> Iterator[Event]:
        message_id, key = self._id(), self.chance.randbytes(32)
        yield chat_events.ReplyRequested(
            message_id=message_id,
            channel_id=SHARED,
            service=service,
            user_id=self.chance.choice(AGENTS),
            kind="text",
            at=self._later(),
            content=self._sealed(self.chance.randrange(60, 300)),
        )
        yield chat_events.SendStarted(message_id=message_id, attempt=1, dispatcher="dispatcher-1")
        yield chat_events.MessageSent(message_id=message_id, key=key, platform=self._sealed(80))
        for status in ("sent", "delivered", "read"):
            if status != "read" or self.chance.random() < 0.8:
                at = self._later()
                yield chat_events.ReceiptReceived(
                    key=key, status=status, at=at, message_id=message_id
                )

    def _id(self) -> str:
        return identifier(self.chance.randbytes(16))

    def _sealed(self, length: int) -> Sealed:
        box = self.chance.randbytes(length + 16)
        return Sealed(f"contact:{self.contact_id}", self.chance.randbytes(16), box)

    def _later(self) -> datetime:
        self.now += timedelta(seconds=self.chance.randrange(1, 90))
        return self.now
