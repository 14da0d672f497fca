"""Where an item of a webhook stands, and what is said beside it."""

from datetime import datetime
from typing import Any

import msgspec

from adapters.readers import digest, identifier, moment
from adapters.whatsapp.readers import person as read_person
from domain.inbound import AccountNoticed, Address, NotUnderstood, Person


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where in a request an item stands, and what is said beside it."""

    business_account_id: str | None
    time: Any  # As Meta wrote it; only fields without times of their own have one.
    field: str
    account_id: str | None = None
    contacts: dict[str, dict[str, Any]] = {}
    error: dict[str, Any] | None = None

    def person(self, phone: Any, user_id: Any) -> Person:
        """A customer, with the name that the request gives beside the item."""
        return read_person(
            phone=phone,
            user_id=user_id,
            business_account_id=self.business_account_id,
            contacts=self.contacts,
        )

    def group(self, platform_id: Any) -> Address | None:
        """A group of this account."""
        group_id = identifier(platform_id)
        return None if group_id is None else Address(f"group:{self.account_id}", group_id)

    def bsuid(self, user_id: Any) -> tuple[Address, ...]:
        """A business-scoped user id, as the one address or none that it gives."""
        user = identifier(user_id)
        if user is None or self.business_account_id is None:
            return ()
        return (Address(f"bsuid:{self.business_account_id}", user),)

    def at(self, item: Any) -> datetime | None:
        """When it happened: the item's own time, else that of the entry."""
        return (moment(item.get("timestamp")) if isinstance(item, dict) else None) or moment(
            self.time
        )

    def dedupe(self, list_name: str, item: Any) -> tuple[str, ...]:
        """What makes an item without an id the one it is."""
        name = digest(
            self.business_account_id, self.time, self.field, self.account_id, list_name, item
        )
        return ("change", self.field, name)

    def not_understood(
        self,
        list_name: str,
        item: Any,
        *,
        dedupe: tuple[str, ...] | None = None,
        person: Person | None = None,
    ) -> NotUnderstood:
        """Keep an item as it came."""
        return NotUnderstood(
            kind="unknown",
            account_id=self.account_id,
            business_account_id=self.business_account_id,
            at=self.at(item),
            dedupe=dedupe or self.dedupe(list_name, item),
            raw=item,
            person=person if person is not None and person.addresses else None,
        )

    def account_error(self, error: dict[str, Any]) -> AccountNoticed:
        """An error of the whole account that belongs to no message, such as a limit reached."""
        return AccountNoticed(
            kind="account.error",
            account_id=self.account_id,
            business_account_id=self.business_account_id,
            at=self.at(error),
            dedupe=self.dedupe("errors", error),
            raw=error,
        )
