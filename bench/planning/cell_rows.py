"""The cells of a suite as rows of the bill, one an engine's table: builds, queries, and those that are not forecast."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

from bench.planning.growth_law import Seconds, exponent_at, summed
from bench.planning.index_rates import CellCosts, HarnessRate, IndexRate
from bench.planning.stage_cost import StageCost
from bench.planning.suite_counts import Counts
from bench.suites.cells import BuildCell, Cell, IndexKey, QueryCell, expand_cells
from bench.suites.suite import Suite
from ris_core.engines import ENGINES

_WORKER_BYTES = 150 * 10**6  # a process that has imported the engines

IndexName = tuple[IndexKey, int]  # with the threads that it is built by


def other_cells(suite: Suite) -> Iterator[StageCost]:
    """How many cells of a suite are not forecast, if any."""
    others = [cell for cell in expand_cells(suite) if not isinstance(cell, BuildCell | QueryCell)]
    if others:
        yield StageCost("other cells", "", len(others), note="rates, re-rankings and regions are not forecast")


@dataclasses.dataclass(frozen=True, eq=False)
class CellBill:
    """Writes the rows of the cells.

    Attributes:
        suite: The suite.
        counts: Its numbers.
        widths: Dimensions of each backbone's vectors in their space.
        judged: Judged queries.
        indexes: Rate of each index; None where it cannot be measured on a sample.
        harness: Rate of the harness itself.
    """

    suite: Suite
    counts: Counts
    widths: Mapping[str, int]
    judged: int
    indexes: Mapping[IndexKey, IndexRate | None]
    harness: HarnessRate

    def rows(self) -> Iterator[StageCost]:
        """Build and query cells of each engine's table."""
        cells = expand_cells(self.suite)
        for kind, stage in ((BuildCell, "build cells"), (QueryCell, "query cells")):
            for grid in self.suite.engines:
                yield self._engine(
                    grid.name, stage, [c for c in cells if isinstance(c, kind) and c.index.engine == grid.name]
                )

    def _engine(self, name: str, stage: str, cells: Sequence[BuildCell | QueryCell]) -> StageCost:
        unknown = [cell for cell in cells if self.indexes.get(cell.index) is None]
        known = [cell for cell in cells if self.indexes.get(cell.index) is not None]
        reason = ENGINES[cells[0].index.kind].unavailable()
        if reason is not None:
            return StageCost(stage, name, len(cells), note=f"skipped: {reason}")
        memory = max(self._memory(cell) for cell in cells)
        if unknown:
            words = f"{len(unknown)} of {len(cells)} could not be measured on a small sample, so this is not forecast"
            return StageCost(stage, name, len(cells), memory_bytes=memory, note=words)
        costs = [(self._cost(cell), self._n(cell)) for cell in known]
        slow = sum(self._costs_of(cell).is_slow for cell in known)
        return StageCost(
            stage,
            name,
            len(cells),
            seconds=summed([cost(n) for cost, n in costs]),
            memory_bytes=memory,
            exponent=exponent_at(lambda factor: summed([cost(factor * n) for cost, n in costs]), 1),
            note=f"{slow} of indexes that take over {self.suite.measure.slow_build_s:g} s to build" if slow else "",
        )

    def _cost(self, cell: BuildCell | QueryCell) -> Callable[[float], Seconds]:
        costs = self._costs_of(cell)
        return costs.build if isinstance(cell, BuildCell) else lambda n: costs.query(cell, n)

    def _costs_of(self, cell: BuildCell | QueryCell) -> CellCosts:
        rate = self.indexes[cell.index]
        assert rate is not None
        queries = self.suite.queries.count
        width = self.widths[cell.index.backbone]
        is_slow = rate.build.at(self._n(cell)).expected > self.suite.measure.slow_build_s
        return CellCosts(rate, self.harness, self.suite.measure, queries, self.judged, width, is_slow)

    def _n(self, cell: Cell) -> int:
        return self.counts.of(self.suite.backbone(cell.index.backbone))  # type: ignore[union-attr]

    def _memory(self, cell: BuildCell | QueryCell) -> int:
        """The vectors, raw beside them while a build reads them, and the index by its definition."""
        n, d, name = self._n(cell), self.widths[cell.index.backbone], cell.index.backbone
        raw = 4 * n * self.counts.widths[name] if isinstance(cell, BuildCell) else 0
        params = cell.index.build.params
        index = 0 if params.faults(n, d) else ENGINES[cell.index.kind].theoretical_bytes(n, d, params)
        return _WORKER_BYTES + 4 * n * d + max(raw, index)
