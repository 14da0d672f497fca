"""Finds or makes the contact behind the addresses that a webhook shows (P5, C10, C19)."""

from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from api.commands.unit import Missing, Unit
from domain import contact as contacts
from domain.contact import AddressAdded, AddressRemoved, Contact, ContactCreated, ContactNamed
from domain.country import country_of
from domain.event import Event, Sealed
from domain.identifiers import NewId
from domain.inbound import Address, Person
from domain.ports import AddressClaim, Addresses, Keys, Org, Unreadable

ADDRESSES_KEPT_MAX = 100_000


class Profile(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is sealed of a contact's name."""

    name: str


def key_of(contact_id: str) -> str:
    """The id of the key that seals what a contact says and is."""
    return f"contact:{contact_id}"


class People:
    """Contacts by address, with the newest ones kept at hand."""

    def __init__(self, addresses: Addresses, new_id: NewId) -> None:
        self._addresses = addresses
        self._new_id = new_id
        self._known: OrderedDict[tuple[int, bytes], str] = OrderedDict()

    def find(self, unit: Unit, keys: Keys, addresses: Sequence[Address]) -> str | None:
        """The contact that the first known address leads to."""
        found = self._look_up(unit, [_hash(keys, address) for address in addresses])
        return next(iter(found.values()), None)

    def find_or_make(self, unit: Unit, keys: Keys, person: Person, *, group: bool = False) -> str:
        """The contact, made if nobody is known by these addresses; all of them lead there now.

        Where two addresses led to two contacts, the preferred one wins and takes the other over.
        """
        hashes = {_hash(keys, address): address for address in person.addresses}
        found = self._look_up(unit, list(hashes))
        contact_id = next(iter(found.values()), None)
        if contact_id is None:
            contact_id = self._new_id()
            unit.keys.append(keys.new_key(key_of(contact_id)))
            stream = contacts.stream_of(contact_id)
            unit.begin(stream)
            unit.record(stream, [ContactCreated(contact_id=contact_id, group=group)])
        for key, address in hashes.items():
            if found.get(key) != contact_id:
                self.lead_to(unit, keys, contact_id, address, before=found.get(key))
        self._name(unit, keys, contact_id, person.name)
        return contact_id

    def lead_to(
        self, unit: Unit, keys: Keys, contact_id: str, address: Address, *, before: str | None
    ) -> None:
        """Let an address lead to this contact, and no longer to the one before."""
        key = _hash(keys, address)
        if before is not None:
            unit.dropped_addresses.append(key)
            unit.record(contacts.stream_of(before), [AddressRemoved(key=key)])
        unit.addresses.append(AddressClaim(key, contact_id))
        # At once, so that the next message needs no look-up; if this is lost, `_look_up` sees it.
        self._keep(unit.org.number, key, contact_id)
        sealed = self.seal(
            unit,
            keys,
            contact_id,
            address.value.encode(),
            contacts.stream_of(contact_id),
            AddressAdded,
        )
        added = AddressAdded(
            kind=address.kind, key=key, address=sealed, country=country_of(address)
        )
        unit.record(contacts.stream_of(contact_id), [added])

    def drop(self, unit: Unit, keys: Keys, contact_id: str, address: Address) -> None:
        """An address leads to nobody any more."""
        key = _hash(keys, address)
        unit.dropped_addresses.append(key)
        unit.record(contacts.stream_of(contact_id), [AddressRemoved(key=key)])

    def seal(
        self,
        unit: Unit,
        keys: Keys,
        contact_id: str,
        data: bytes,
        stream: str,
        event: type[Event],
    ) -> Sealed:
        """Seal something of a contact, for a stream. Raises Missing."""
        key_id = key_of(contact_id)
        if not keys.has(key_id):
            raise Missing(lambda: self._learn(unit, keys, key_id))
        return keys.seal(data, stream=stream, event=event, key_id=key_id)

    def name_of(self, unit: Unit, keys: Keys, contact_id: str) -> str | None:
        """Their name as the platform shows it; None where none is known. Raises Missing."""
        stream = contacts.stream_of(contact_id)
        profile = unit.state(stream, Contact).profile
        if profile is None:
            return None
        key_id = profile.key
        wrapped = unit.fact(("key", key_id), lambda: self.wrapped_keys(unit.org, [key_id]))
        try:
            data = keys.open(
                profile,
                stream=stream,
                stored_type=ContactNamed.stored_type,
                wrapped=wrapped.get(key_id),
            )
        except Unreadable:
            return None
        return msgspec.json.decode(data, type=Profile).name

    async def wrapped_keys(self, org: Org, ids: Sequence[str]) -> dict[str, bytes]:
        """People's keys as they are stored; those that are erased are missing."""
        return await self._addresses.wrapped_keys(org, ids)

    async def _learn(self, unit: Unit, keys: Keys, key_id: str) -> None:
        wrapped = await self._addresses.wrapped_keys(unit.org, [key_id])
        keys.learn(key_id, wrapped[key_id])

    def _name(self, unit: Unit, keys: Keys, contact_id: str, name: str | None) -> None:
        if not name:
            return
        stream = contacts.stream_of(contact_id)
        key = keys.hash_of_person("name", contact_id, name)
        if unit.state(stream, Contact).name_key == key:
            return
        data = msgspec.json.encode(Profile(name))
        sealed = self.seal(unit, keys, contact_id, data, stream, ContactNamed)
        unit.record(stream, [ContactNamed(key=key, profile=sealed)])

    def _look_up(self, unit: Unit, hashes: Sequence[bytes]) -> dict[bytes, str]:
        """Which hashes lead to which contact, in the order given."""
        number = unit.org.number
        known = {key: self._known.get((number, key)) for key in hashes}
        asked = ("addresses", *hashes)
        if None in known.values():
            looked_up = unit.fact(asked, lambda: self._addresses.contacts(unit.org, hashes))
            known = {key: looked_up.get(key) for key in hashes}
        found = {key: contact_id for key, contact_id in known.items() if contact_id}
        for key, contact_id in found.items():
            state = unit.state(contacts.stream_of(contact_id), Contact)
            if key not in state.addresses:
                # Another process led it elsewhere since it was kept here, or it was never written.
                self._known.pop((number, key), None)
                unit.doubt(asked)
                raise Missing(_nothing)
            self._keep(number, key, contact_id)
        return found

    def _keep(self, number: int, key: bytes, contact_id: str) -> None:
        self._known[number, key] = contact_id
        if len(self._known) > ADDRESSES_KEPT_MAX:
            self._known.popitem(last=False)


async def _nothing() -> None:
    return


def _hash(keys: Keys, address: Address) -> bytes:
    return keys.hash_of_person("address", address.kind, address.value)
