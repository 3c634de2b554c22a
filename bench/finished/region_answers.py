"""What a finished run answered to the single crops of a query, and to all of them together."""

import dataclasses
from typing import Self

import numpy as np

from bench.finished.finished_run import FinishedRun
from bench.finished.run_answers import Answers
from bench.results import OK, RegionResult, read_results
from bench.tables.precision_table import setting_of
from ris_core.errors import UNREADABLE, ArtifactError, SuiteError
from ris_core.regions.params import WHOLE


@dataclasses.dataclass(frozen=True, eq=False)
class RegionAnswers:
    """The answers to one query.

    Attributes:
        merged: The merged ranking.
        boxes: (v, 4) float64 in pixels of the picture; the first is the whole picture, so are all below.
        ids: (v, per_crop) int64 tile ids, nearest first, padded with -1.
        relevant: (v, per_crop) bool.
        context: How many times as long as its region a crop is.
    """

    merged: Answers
    boxes: np.ndarray
    ids: np.ndarray
    relevant: np.ndarray
    context: float

    @classmethod
    def open(cls, run: FinishedRun, tile: int | None, backbone: str | None, name: str | None) -> Self:
        """Those of a judged query, by the setting of regions that is most precise among those that fit.

        Args:
            run: The run.
            tile: The query; None: the first one of the last stratum that has regions.
            backbone: Its backbone; None: any.
            name: Name of the regions' table in the suite; None: any.

        Raises:
            SuiteError: If no setting fits, or the tile is no judged query.
            ArtifactError: If its files are gone.
        """
        result = _best(run, backbone, name)
        words = setting_of(result.cell, result.backbone, result.engine)
        merged = Answers.open(run.folder / result.hits_file, f"{result.backbone}, {words}")
        number = _place(run, result, merged, tile)
        path = run.folder / result.crops_file
        try:
            with np.load(path, allow_pickle=False) as file:
                mine = file["query"].astype(np.int64) == number
                boxes, ids, relevant = (file[name][mine] for name in ("boxes", "ids", "relevant"))
        except UNREADABLE as error:
            raise ArtifactError(f"{path}: no answers to be read ({error}). Run the cell again.") from error
        part = merged.part([number], merged.ids.shape[1], True)
        return cls(part, boxes, ids, relevant, float(result.region_params["context"]))


def _best(run: FinishedRun, backbone: str | None, name: str | None) -> RegionResult:
    cells = [r for r in read_results(run.folder) if isinstance(r, RegionResult) and r.status == OK]
    cells = [result for result in cells if result.regions != WHOLE]
    fitting = [r for r in cells if backbone in (None, r.backbone) and name in (None, r.regions)]
    if not fitting:
        known = ", ".join(dict.fromkeys(f"{r.regions} of {r.backbone}" for r in cells)) or "none"
        raise SuiteError(f"{run.folder}: has no such queries by regions; known: {known}.")
    return max(fitting, key=lambda r: np.mean([value for values in r.precision.values() for value in values]))


def _place(run: FinishedRun, result: RegionResult, merged: Answers, tile: int | None) -> int:
    """Place of the query among the judged ones; of one tile that asks twice the one with regions."""
    crops = np.asarray(result.crops)
    wanted = np.arange(len(crops)) if tile is None else np.flatnonzero(merged.query_ids == tile)
    if not len(wanted):
        known = ", ".join(map(str, merged.query_ids[:8]))
        raise SuiteError(f"{run.folder}: tile {tile} is no judged query; they are {known}, ... Name one with --tile.")
    have = wanted[crops[wanted] > 0]
    if tile is not None or not len(have):
        return int(have[0] if len(have) else wanted[0])
    return int(have[merged.strata[have] == merged.strata[have[-1]]][0])
