"""The composition root: the only file that knows everyone."""

from collections.abc import Sequence

from projections.projection import Projection

PROJECTIONS: Sequence[Projection] = ()


def projection_tables() -> list[str]:
    """The SQL that creates the tables of every projection where they are missing."""
    return [projection.tables for projection in PROJECTIONS]
