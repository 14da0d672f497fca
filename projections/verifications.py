"""The accounts whose credentials are still to be checked, over all organisations (S15)."""

from collections.abc import Collection, Sequence

from psycopg.rows import class_row

from domain import account
from domain.dispatch_ports import WaitingAccount
from domain.event import Recorded
from projections.engine import named_sql
from projections.engine.bulk import columns_by_name
from projections.engine.projection import Connection

SQL = named_sql.load(__file__)


async def pending(
    connection: Connection,
    *,
    platforms: Collection[str],
    left_alone: Collection[WaitingAccount] = (),
    limit: int,
) -> list[WaitingAccount]:
    """What waits for a check, so many of each platform, the longest waiting first. Spec S15."""
    cursor = connection.cursor(row_factory=class_row(WaitingAccount))
    alone = [(each.org, each.position) for each in left_alone]
    parameters = {
        "platforms": list(platforms),
        "limit": limit,
        **columns_by_name("orgs positions", alone),
    }
    await cursor.execute(SQL["pending"], parameters)
    return await cursor.fetchall()


class Verifications:
    """A check is asked for by new credentials, and over when it has an answer."""

    name = "verifications"
    version = 1
    is_watched = False
    tables = SQL["tables"]

    async def apply(self, connection: Connection, org: int, batch: Sequence[Recorded]) -> None:
        """These events are rare: one statement each."""
        for recorded in batch:
            match recorded.event:
                case account.AccountClaimed() | account.CredentialsChanged():
                    statement = SQL["await_check"]
                case (
                    account.AccountVerified()
                    | account.VerificationFailed()
                    | account.AccountReleased()
                ):
                    statement = SQL["finish_check"]
                case _:
                    continue
            _, platform, account_id = recorded.stream.split(":", 2)
            await connection.execute(
                statement,
                {
                    "org": org,
                    "platform": platform,
                    "account_id": account_id,
                    "position": recorded.position,
                    "since": recorded.recorded_at,
                },
            )
