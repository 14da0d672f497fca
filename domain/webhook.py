"""A request to the webhook of one account, as the adapter of its platform is given it."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from domain.credentials import Credentials


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """What came, and all credentials of the account that are live: during a change, several.

    An account that nobody holds has none; its deliveries are refused like any other forgery.
    """

    account_id: str
    body: bytes
    headers: Sequence[tuple[bytes, bytes]]  # Names in lower case.
    query: Sequence[tuple[str, str]]
    credentials: Sequence[Credentials]
    now: datetime

    def header(self, name: bytes) -> bytes:
        """The one value of a header: two are as good as none, for who knows which one counts."""
        values = [value for each, value in self.headers if each == name]
        return values[0] if len(values) == 1 else b""

    def parameter(self, name: str) -> str:
        """The one value of a query parameter."""
        values = [value for each, value in self.query if each == name]
        return values[0] if len(values) == 1 else ""

    def secrets(self, name: str) -> list[bytes]:
        """All live values of a credential; an empty one where there is none, to compare with."""
        values = [each[name].encode() for each in self.credentials if each.get(name)]
        return list(dict.fromkeys(values)) or [b""]
