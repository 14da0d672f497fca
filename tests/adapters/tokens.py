"""Access tokens as one process would keep them."""

from domain.access_token import AccessToken


class MemoryTokens:
    """Keeps tokens for ever; time does not pass here."""

    def __init__(self) -> None:
        self.kept: dict[str, AccessToken] = {}
        self._renewing: set[str] = set()

    async def find(self, holder: str) -> AccessToken | None:
        return self.kept.get(holder)

    async def begin_renewal(self, holder: str, *, after: int) -> bool:
        if holder in self._renewing or self._number(holder) != after:
            return False
        self._renewing.add(holder)
        return True

    async def may_demand(self, holder: str) -> bool:
        return True

    async def keep(self, holder: str, *, after: int, value: str, lifetime_seconds: float) -> None:
        self._renewing.discard(holder)
        if self._number(holder) == after:
            self.kept[holder] = AccessToken(
                value=value, number=after + 1, good_for_seconds=lifetime_seconds
            )

    async def give_up_renewal(self, holder: str, *, after: int) -> None:
        self._renewing.discard(holder)

    def _number(self, holder: str) -> int:
        return self.kept[holder].number if holder in self.kept else 0
