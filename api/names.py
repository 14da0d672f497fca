"""Names of users, opened for a viewer who may see them."""

from collections.abc import Iterable

import msgspec

from api.commands.organisations import UserProfile
from domain import organisation as organisations
from domain.organisation import Organisation, UserAdded
from domain.ports import Addresses, Keys, Unreadable


class Names:
    """Opens what is sealed of users."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses

    async def profiles(
        self, keys: Keys, organisation: Organisation, user_ids: Iterable[str]
    ) -> dict[str, UserProfile]:
        """Profiles by user; users who are unknown or erased are missing."""
        known = {user_id for user_id in user_ids if user_id in organisation.users}
        if not known:
            return {}
        key_ids = [organisation.users[user_id].profile.key for user_id in known]
        wrapped = await self._addresses.wrapped_keys(keys.org, key_ids)
        profiles = {}
        for user_id in known:
            sealed = organisation.users[user_id].profile
            try:
                data = keys.open(
                    sealed,
                    stream=organisations.STREAM,
                    stored_type=UserAdded.stored_type,
                    wrapped=wrapped.get(sealed.key),
                )
            except Unreadable:
                continue
            profiles[user_id] = msgspec.json.decode(data, type=UserProfile)
        return profiles
