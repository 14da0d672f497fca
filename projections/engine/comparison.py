"""Compares two builds of a projection at the same position, org by org and table by table (E3).

While an org is compared nobody waits: runners pass over it for the moment in which both builds are
brought level and a snapshot is taken; what is compared is the snapshot.
"""

from collections.abc import AsyncIterator, Sequence

import msgspec

from projections.engine.batches import advance
from projections.engine.builds import Build
from projections.engine.checkpoints import reached
from projections.engine.differences import Difference, Table, differences, digest, tables_of
from projections.engine.jobs import JobError, build_in, name_of, take_turn
from projections.engine.named_sql import load
from projections.engine.projection import Connection, Projection
from projections.engine.runner import is_server_trouble

SQL = load(__file__)

BATCH_EVENTS_MAX = 5_000
# Of a table and org, so many rows are shown; all are counted.
SHOWN_MAX = 20


class TableComparison(msgspec.Struct, frozen=True, kw_only=True):
    """One table of one organisation in both builds."""

    organisation: str
    position: int
    table: str
    live_rows: int
    other_rows: int
    equal: bool
    differing_rows: int  # Exact, however many are shown.
    only_live_columns: tuple[str, ...] = ()
    only_other_columns: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()


async def builds_to_compare(connection: Connection, projection: Projection) -> tuple[Build, Build]:
    """The live build, and the one that is ready, else the previous one. Raises JobError.

    Neither is dropped nor exchanged while the connection lives.
    """
    await take_turn(connection, projection, only_reads=True)
    live = await build_in(connection, projection, "live")
    other = await build_in(connection, projection, "ready", "previous")
    if live is None or other is None:
        raise JobError(
            f"There is nothing to compare {projection.name} with."
            f" Run `trunkline projections rebuild {projection.name}` first."
        )
    return live, other


class Comparison:
    """Compares two builds, with two connections of role trunkline_project."""

    def __init__(
        self,
        projection: Projection,
        builds: tuple[Build, Build],
        *,
        holder: Connection,
        snapshot: Connection,
    ) -> None:
        """`holder` keeps runners out while `snapshot` begins to look."""
        self._projection = projection
        self._live, self._other = builds
        self._holder = holder
        self._snapshot = snapshot

    async def run(self) -> AsyncIterator[TableComparison]:
        """Every table of every organisation. Raises JobError where one cannot be brought level."""
        tables = await self._tables()
        for org in await self._orgs():
            async for each in self._compare(org, tables):
                yield each

    async def _orgs(self) -> list[int]:
        cursor = await self._holder.execute(SQL["orgs"])
        return [org for (org,) in await cursor.fetchall()]

    async def _tables(self) -> list[tuple[Table, Table]]:
        live = await tables_of(self._holder, self._live.schema)
        other = await tables_of(self._holder, self._other.schema)
        if live.keys() != other.keys():
            odd = ", ".join(sorted(live.keys() ^ other.keys()))
            raise JobError(
                f"The builds were made by different code: {odd} is in one of them only."
                f" Raise the version of {self._projection.name} for a change of its tables."
            )
        return [(table, other[name]) for name, table in live.items()]

    async def _compare(
        self, org: int, tables: Sequence[tuple[Table, Table]]
    ) -> AsyncIterator[TableComparison]:
        schemas = [self._live.schema, self._other.schema]
        await self._holder.execute(SQL["hold"], {"schemas": schemas, "org": org})
        try:
            await self._bring_level(org)
            await self._snapshot.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            position = await self._position(org)
        finally:
            await self._holder.execute(SQL["let_go"], {"schemas": schemas, "org": org})
        try:
            organisation = await name_of(self._snapshot, org)
            for live, other in tables:
                yield await self._compare_table(org, organisation, position, live, other)
        finally:
            await self._snapshot.execute("ROLLBACK")

    async def _bring_level(self, org: int) -> None:
        while True:
            places = {
                build: await reached(self._holder, build, org=org)
                for build in (self._live, self._other)
            }
            target = max(places.values())
            behind = [build for build, position in places.items() if position < target]
            if not behind:
                return
            limit = min(target - places[behind[0]], BATCH_EVENTS_MAX)
            await self._advance(behind[0], org, limit)

    async def _advance(self, build: Build, org: int, limit: int) -> None:
        try:
            await advance(self._holder, self._projection, build, org, limit=limit)
        except Exception as error:
            if is_server_trouble(error):
                raise
            raise JobError(
                f"{build.schema} cannot be brought level in organisation"
                f" {await name_of(self._holder, org)}: {type(error).__name__}."
                " `trunkline projections status` shows what is parked; mend that first."
            ) from None

    async def _position(self, org: int) -> int:
        """Where both builds are in the snapshot."""
        position = await reached(self._snapshot, self._live, org=org)
        if await reached(self._snapshot, self._other, org=org) != position:
            raise JobError("Something else than Trunkline's runners moved a checkpoint. Try again.")
        return position

    async def _compare_table(
        self, org: int, organisation: str, position: int, live: Table, other: Table
    ) -> TableComparison:
        columns = sorted(live.columns & other.columns)
        live_rows, live_digest = await digest(self._snapshot, live, columns, org)
        other_rows, other_digest = await digest(self._snapshot, other, columns, org)
        equal = (live_rows, live_digest) == (other_rows, other_digest)
        found: list[Difference] = []
        total = 0
        if not equal:
            found, total = await differences(
                self._snapshot, live, other, org=org, position=position, limit=SHOWN_MAX
            )
        return TableComparison(
            organisation=organisation,
            position=position,
            table=live.name,
            live_rows=live_rows,
            other_rows=other_rows,
            equal=equal and live.columns == other.columns,
            differing_rows=total,
            only_live_columns=tuple(sorted(live.columns - other.columns)),
            only_other_columns=tuple(sorted(other.columns - live.columns)),
            differences=tuple(found),
        )
