"""Files that are going into the store, until an event names them: so that none is left there that
nobody knows of. The pool is of role trunkline_project: the org stands in each query."""

from datetime import datetime

from adapters.postgres.connections import Pool, lent
from domain.media import MediaStored, MediaUploaded
from domain.ports import Org

# These hold the address of a file in clear.
NAMING = [MediaUploaded.stored_type, MediaStored.stored_type]

_NOTE = (
    "INSERT INTO begun_files (org, address, position, begun_at)"
    " SELECT org, %(address)s, position, %(now)s FROM heads WHERE org = %(org)s"
    " ON CONFLICT DO NOTHING"
)
_FORGET = "DELETE FROM begun_files WHERE org = %(org)s AND address = %(address)s"
_BEFORE = (
    "SELECT o.org, o.id, b.address FROM begun_files b JOIN organisations o USING (org)"
    " WHERE b.begun_at < %(before)s ORDER BY b.begun_at LIMIT %(limit)s"
)
_STANDS_IN_LOG = (
    "SELECT EXISTS (SELECT FROM begun_files b JOIN events e"
    "    ON e.org = b.org AND e.position > b.position AND e.type = ANY (%(types)s)"
    "   AND position(convert_to(b.address, 'UTF8') IN e.data) > 0"
    " WHERE b.org = %(org)s AND b.address = %(address)s)"
)


class PostgresBegunFiles:
    """One row a file on its way."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def note(self, org: Org, address: str, *, now: datetime) -> None:
        """A file is about to lie there. Raises Unavailable, as do all of these."""
        parameters = {"org": org.number, "address": address, "now": now}
        async with lent(self._pool) as connection:
            await connection.execute(_NOTE, parameters)

    async def forget(self, org: Org, address: str) -> None:
        """An event names it, or it is not there any more."""
        async with lent(self._pool) as connection:
            await connection.execute(_FORGET, {"org": org.number, "address": address})

    async def before(self, moment: datetime, *, limit: int) -> list[tuple[Org, str]]:
        """Those that were begun before, the oldest first."""
        async with lent(self._pool) as connection:
            cursor = await connection.execute(_BEFORE, {"before": moment, "limit": limit})
            return [(Org(org, name), address) for org, name, address in await cursor.fetchall()]

    async def stands_in_log(self, org: Org, address: str) -> bool:
        """Whether an event names it after all. Asked of few: it looks at many events."""
        parameters = {"org": org.number, "address": address, "types": NAMING}
        async with lent(self._pool) as connection:
            row = await (await connection.execute(_STANDS_IN_LOG, parameters)).fetchone()
        return bool(row and row[0])
