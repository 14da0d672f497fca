"""One job per projection at a time, and how a job says that it cannot."""

from projections.engine.builds import Build, State, builds_of
from projections.engine.projection import Connection, Projection

_LOCK = "SELECT pg_try_advisory_lock(hashtext('trunkline job'), hashtext(%s))"
_ORGANISATION = "SELECT id FROM trunkline.organisations WHERE org = %s"
_LOCK_SHARED = "SELECT pg_try_advisory_lock_shared(hashtext('trunkline job'), hashtext(%s))"


class JobError(Exception):
    """A job on a projection's builds cannot be done; the text says what to do next."""


class JobRuns(JobError):
    """Another job on the same projection is running."""

    def __init__(self, projection: str) -> None:
        super().__init__(
            f"Another rebuild, switch, rollback, diff or drop of {projection} is running. Wait for"
            " its end; `trunkline projections status` shows how far a rebuild is."
        )


async def take_turn(
    connection: Connection, projection: Projection, *, only_reads: bool = False
) -> None:
    """Be the only job on this projection for the life of the connection. Raises JobRuns.

    Jobs that only read may run beside each other.
    """
    await take_turn_named(connection, projection.name, only_reads=only_reads)


async def take_turn_named(connection: Connection, name: str, *, only_reads: bool = False) -> None:
    """The same for a projection that the code may not know any more."""
    cursor = await connection.execute(_LOCK_SHARED if only_reads else _LOCK, [name])
    if await cursor.fetchone() != (True,):
        raise JobRuns(name)


async def build_in(connection: Connection, projection: Projection, *states: State) -> Build | None:
    """The build in the first of these states that has one."""
    builds = {each.state: each for each in await builds_of(connection, projection)}
    return next((builds[state] for state in states if state in builds), None)


async def name_of(connection: Connection, org: int) -> str:
    """An organisation as operators know it."""
    row = await (await connection.execute(_ORGANISATION, [org])).fetchone()
    return row[0] if row else str(org)
