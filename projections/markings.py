"""The messages that are still to be marked as read on their platform, over all organisations."""

from collections.abc import Collection, Sequence

from psycopg.rows import class_row

from domain.event import Recorded
from domain.read_marking import ReadMarkingEnded, ReadMarkingRequested, WaitingMarking
from projections.engine import named_sql
from projections.engine.projection import Connection

SQL = named_sql.load(__file__)


async def waiting(
    connection: Connection, *, platforms: Collection[str], limit: int
) -> list[WaitingMarking]:
    """What is to be marked on these platforms, the newest wish first."""
    cursor = connection.cursor(row_factory=class_row(WaitingMarking))
    await cursor.execute(SQL["waiting"], {"platforms": list(platforms), "limit": limit})
    return await cursor.fetchall()


class Markings:
    """One row for each chat that has something to be marked."""

    name = "markings"
    version = 1
    is_watched = False
    tables = SQL["tables"]

    async def apply(self, connection: Connection, org: int, batch: Sequence[Recorded]) -> None:
        """A visit asks for one at most: one statement each."""
        for recorded in batch:
            arguments = {"org": org, "chat_id": recorded.stream.partition(":")[2]}
            match recorded.event:
                case ReadMarkingRequested() as event:
                    arguments |= {
                        "platform": event.platform,
                        "account_id": event.account_id,
                        "message_version": event.message_version,
                        "at": event.at,
                    }
                    await connection.execute(SQL["request"], arguments)
                case ReadMarkingEnded() as event:
                    arguments |= {"message_version": event.message_version}
                    await connection.execute(SQL["end"], arguments)
