"""Makes the frames of live streams of a batch of news, each thing once for all who look on (E1)."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial

from api.authentication import Principal
from api.chats import viewer_of
from api.commands.execute import Executor
from api.commands.unit import Unit
from api.feeds import Batch, Place
from api.names import Names
from api.reading import Reading
from api.telling import Teller, Told, look_up
from api.views import Viewer, people_on
from domain import contact as contacts
from domain.contact import Contact
from domain.ports import Clock, Org
from projections.news import News, OfContact
from projections.unread.projection import unread_of_users


class Showing:
    """Looks up what news are about, masks it, opens what is left."""

    def __init__(self, reading: Reading, names: Names, executor: Executor, clock: Clock) -> None:
        self._reading = reading
        self._names = names
        self._executor = executor
        self._clock = clock

    async def frames(self, batch: Batch, principal: Principal, place: Place) -> bytes:
        """What of a batch goes to this user, who may look at the service. Raises Forbidden."""
        viewer = viewer_of(principal, place.service, self._clock)
        # Under another masking policy the same news look different.
        name = (viewer.service, viewer.policy)
        told = await batch.once(name, lambda: self._told(batch.news, principal, viewer))
        unread = await self._unread(batch, name, told, principal, place)
        return _framed((each for each in told if each.user_id in (None, principal.user_id)), unread)

    async def _told(self, news: Sequence[News], principal: Principal, viewer: Viewer) -> list[Told]:
        org = principal.keys.org
        chats_of_contacts = await self._chats_of_contacts(org, news)
        async with self._reading.now(org.number) as connection:
            rows = await look_up(
                connection,
                org=org.number,
                service=viewer.service,
                news=news,
                chats_of_contacts=chats_of_contacts,
            )
        people = people_on([*rows.chats.values(), *rows.messages.values()])
        profiles = await self._names.profiles(principal.keys, principal.organisation, people)
        return Teller(rows, viewer, principal, profiles).tell(news)

    async def _chats_of_contacts(self, org: Org, news: Iterable[News]) -> dict[str, list[str]]:
        chats: dict[str, list[str]] = {}
        for contact_id in {each.contact_id for each in news if isinstance(each, OfContact)}:
            chats[contact_id] = await self._executor.look(org, partial(_chats_of, contact_id))
        return chats

    async def _unread(
        self,
        batch: Batch,
        name: tuple[str, str],
        told: Sequence[Told],
        principal: Principal,
        place: Place,
    ) -> Mapping[str, int]:
        """How many messages of each chat the user has not read; the same query for all users."""
        chat_ids = {each.chat.id for each in told if each.chat is not None}
        if not chat_ids:
            return {}
        user_id = principal.user_id
        watchers = frozenset(place.feed.watchers[place.service])
        users, counts = await batch.once(
            ("unread", *name),
            lambda: self._count(principal.keys.org, place.service, watchers, chat_ids),
        )
        if user_id not in users:  # Came when it had been counted for the others.
            _, counts = await self._count(
                principal.keys.org, place.service, frozenset({user_id}), chat_ids
            )
        return counts.get(user_id, {})

    async def _count(
        self, org: Org, service: str, users: frozenset[str], chat_ids: Collection[str]
    ) -> tuple[frozenset[str], Mapping[str, Mapping[str, int]]]:
        async with self._reading.now(org.number) as connection:
            return users, await unread_of_users(
                connection, org=org.number, user_ids=users, service=service, chat_ids=chat_ids
            )


def _chats_of(contact_id: str, unit: Unit) -> list[str]:
    return list(unit.state(contacts.stream_of(contact_id), Contact).chats.values())


def _framed(told: Iterable[Told], unread: Mapping[str, int]) -> bytes:
    """Server-sent events. Of several with one position the last has the id.

    So a client that is cut off between them gets all of them when it comes back.
    """
    frames: list[bytes] = []
    events = list(told)
    for index, each in enumerate(events):
        is_last = index + 1 == len(events) or events[index + 1].position != each.position
        if is_last:
            frames.append(b"id: %d\n" % each.position)
        frames.append(each.lines(unread.get(each.chat.id, 0) if each.chat else 0))
        frames.append(b"\n")
    return b"".join(frames)
