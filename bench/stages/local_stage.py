"""The artifact of local descriptors, which some re-rankers need: made once, before any of their cells is measured."""

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.stages.base import Cut
from bench.stages.flow import Cache, digest, prepare_checkpoint, spec_parameters
from bench.suites.cells import RerankCell
from bench.suites.suite import BackboneEntry
from ris_core.artifacts import file_digest
from ris_core.local_extraction import extract_local
from ris_core.local_sets import LocalSpec
from ris_core.rerank import RERANKERS
from ris_core.rerank.contract import LOCAL


def needed_local(cell: RerankCell) -> LocalSpec | None:
    """The local descriptors that a cell's re-ranker needs; None where it needs none."""
    return cell.point.params.local if LOCAL in RERANKERS[cell.kind].needs else None


def prepare_local(cache: Cache, entry: BackboneEntry, cut: Cut, local: LocalSpec, knn_every: int = 0) -> Path:
    """Folder of the local descriptors of all tiles, held-out queries among them; the indexed ones fit the projection.

    Raises:
        CheckpointError, SearchError, SuiteError: See `ris_core.local_extraction.extract_local`.
    """
    spec, weights_key = prepare_checkpoint(cache, entry, cut, knn_every)

    def make(folder: Path) -> Mapping[str, Any]:
        start = time.perf_counter()
        sets = extract_local(cut.tiles, spec, local, folder, cut.base_rows, entry.extract)
        seconds = time.perf_counter() - start
        notes = {"n": len(sets), "d": sets.dimensions, "tile_bytes": sets.tile_bytes(local.count)}
        return {**notes, "tiles_per_s": len(sets) / seconds}

    detector = file_digest(Path(local.detector)) if local.detector else ""  # a path is no identity
    kept = dataclasses.asdict(dataclasses.replace(local, detector=detector))
    parameters = {**spec_parameters(entry.spec), "local": kept, "fit": digest(cut.base_rows)}
    note = cache.make("local", entry.name, parameters, [cut.key, weights_key], make)
    return Path(note.folder)
