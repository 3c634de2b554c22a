"""What one stage of a run will cost, as a record."""

import dataclasses

from bench.planning.growth_law import Seconds


@dataclasses.dataclass(frozen=True)
class StageCost:
    """One stage of one backbone, or all cells of one kind of one engine.

    Attributes:
        stage: As in ``run.json``, or ``checks``, ``build cells``, ``query cells``, ``other cells``, ``report``.
        name: The backbone, or the engine's table; empty for what is done once.
        n: Tiles, vectors, queries or cells; None: unknown.
        is_exact: Whether ``n`` is certain; else there are no more.
        seconds: None: cannot be forecast, see ``note``.
        disk_bytes: Of the arrays that it leaves in the cache; tables and JSON beside them are not counted.
        memory_bytes: Most resident memory of its process; None: unknown.
        exponent: Growth of the seconds around n, see `bench.planning.growth_law.exponent_at`.
        is_spread: Whether a cluster's workers share it.
        is_cached: Whether it is in the cache already, and so costs nothing.
        note: What a reader should know.
    """

    stage: str
    name: str = ""
    n: int | None = None
    is_exact: bool = True
    seconds: Seconds | None = None
    disk_bytes: int = 0
    memory_bytes: int | None = None
    exponent: float | None = None
    is_spread: bool = False
    is_cached: bool = False
    note: str = ""
