"""A few tiles of a suite's corpus, cut as the run will cut them, and what that took."""

import dataclasses
import math
import time
from pathlib import Path

import numpy as np
import pandas as pd

from bench.planning.growth_law import Law
from bench.queries.hygiene import examine_tiles
from bench.results import StageNote
from bench.stages.base import Cut
from bench.stages.flow import Cache, prepare_tiles
from bench.suites.suite import LANDMARKS, SCENE, SMALLEST_SCENE_PX, CorpusSpec
from ris_core.errors import CorpusError
from ris_core.parallel import decoding_threads
from ris_core.records import Tiles
from ris_core.tiling.corpus import find_corpus
from ris_core.tiling.image_folder import ImageFolder
from ris_core.tiling.mosaic import tile_reader
from ris_core.tiling.strips import TileReader
from ris_core.tiling.virtual_path import is_virtual

_FEW, _MANY = 16, 256  # tiles of the two cuts
_LARGEST_SCENE_PX = 2048
_LOOKED_AT = 4096  # cells among which one is looked for that holds information
_MOST_ASKED = 200_000  # cells that are looked up over a network, and
_MOST_COUNTED = 2**27  # here; of more a sample of as many as over a network
_SLAB = 2**18


@dataclasses.dataclass(frozen=True, eq=False)
class CorpusSample:
    """A sample of the corpus.

    Attributes:
        cut: Its tiles.
        tiles: Seconds of cutting, by the number of tiles.
        scene: Seconds of making a scene, by its pixels; None where the corpus is not embedded.
        checks: Seconds of looking for copies, by tiles.
    """

    cut: Cut
    tiles: Law
    scene: Law | None
    checks: Law


def sample_corpus(corpus: CorpusSpec, scratch: Path) -> CorpusSample:
    """A sample of a corpus of imagery, cut in ``scratch``.

    Raises:
        RisError: If the corpus cannot be read, or none of the tiles drawn holds information.
    """
    plain = dataclasses.replace(
        corpus, train_frac=0.0, split_block_px=None, ground_truth=None, distractors=(), queries=None
    )
    made = [_cut(part, scratch / str(number)) for number, part in enumerate(_parts(plain, scratch))]
    cut = made[-1][0]
    start = time.perf_counter()
    examine_tiles(cut.tiles, np.arange(len(cut.tiles)), corpus.tile_px, corpus.tile_px)
    checks = Law((len(cut.tiles),), (time.perf_counter() - start,), is_linear=True)
    scenes = [note["scene"] for _, note in made if "scene" in note]
    law = Law(*_points([(note.notes["size_px"] ** 2, note.wall_s) for note in scenes]), is_linear=True)
    tiles = Law(*_points([(len(part.tiles), note["tiles"].wall_s) for part, note in made]), is_linear=True)
    return CorpusSample(cut, tiles, law if scenes else None, checks)


def _points(pairs: list[tuple[float, float]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Sizes that rise, and their seconds."""
    kept = {n: cost for n, cost in sorted(pairs) if n > 0}
    return tuple(kept), tuple(kept.values())


def _cut(corpus: CorpusSpec, root: Path) -> tuple[Cut, dict[str, StageNote]]:
    notes: dict[str, StageNote] = {}
    return prepare_tiles(Cache(root, lambda note: notes.update({note.stage: note})), corpus), notes


def _parts(corpus: CorpusSpec, scratch: Path) -> list[CorpusSpec]:
    """Two small corpora in place of one: scenes of less ground, draws of fewer tiles, or squares of a raster."""
    if corpus.source in (SCENE, LANDMARKS):
        most = max(_LARGEST_SCENE_PX, corpus.tile_px)
        sides = [min(most, max(SMALLEST_SCENE_PX, corpus.tile_px * math.isqrt(n))) for n in (_FEW, _MANY)]
        return [dataclasses.replace(corpus, scene_px=min(side, corpus.scene_px), sample=None) for side in sides]
    found = find_corpus(Path(corpus.source))
    if isinstance(found, ImageFolder) or corpus.sample is not None or corpus.labels is not None:
        most = corpus.sample or (len(found.names) if isinstance(found, ImageFolder) else _MANY)
        return [dataclasses.replace(corpus, sample=min(n, most)) for n in (_FEW, _MANY)]
    reader = tile_reader(found, corpus.tile_spec(), 1)
    names = [path.name for path in found]
    return [
        dataclasses.replace(corpus, labels=_square(reader, names, math.isqrt(n), scratch / f"{n}.csv"))
        for n in (_FEW, _MANY)
    ]


def _square(reader: TileReader, names: list[str], side: int, path: Path) -> Path:
    """A file of labels that restricts a corpus to neighbouring cells, which are then read as a whole raster's are.

    Raises:
        CorpusError: If no cell that was looked at may hold information.
    """
    layout = reader.plan.layout
    drawn = np.sort(np.random.default_rng(0).integers(0, layout.n_cells, _LOOKED_AT))
    cells = layout.locate(drawn)
    good = cells[reader.may_hold_information(cells) & ([layout.grids[g].offset_px == 0 for g in cells.grid])]
    if not len(good):
        raise CorpusError(
            f"{names[0]}: none of {_LOOKED_AT} cells that were looked at may hold information, so nothing can be "
            "measured. Set corpus.sample, or lower corpus.min_coverage."
        )
    middle = len(good) // 2
    grid = layout.grids[int(good.grid[middle])]
    firsts = [
        max(0, min(int(place) // side * side, most - side))
        for place, most in ((good.row[middle], grid.n_rows), (good.col[middle], grid.n_cols))
    ]
    rows, cols = (
        np.arange(first, min(first + side, most))
        for first, most in zip(firsts, (grid.n_rows, grid.n_cols), strict=True)
    )
    table = pd.DataFrame({"row": np.repeat(rows, len(cols)), "col": np.tile(cols, len(rows)), "label": "all"})
    table.assign(raster=names[grid.raster]).to_csv(path, index=False)
    return path


@dataclasses.dataclass(frozen=True)
class CellCount:
    """How many tiles a raster corpus gives at most.

    Attributes:
        n: That many.
        cells: Cells of its grids.
        is_sampled: Whether the block table was looked up for a sample of them.
    """

    n: int
    cells: int
    is_sampled: bool


def count_stored(corpus: CorpusSpec) -> CellCount | None:
    """Cells whose stored blocks may hold a tile, nothing decoded; None for a corpus of other than rasters."""
    found = None if corpus.source in (SCENE, LANDMARKS) else find_corpus(Path(corpus.source))
    if found is None or isinstance(found, ImageFolder) or corpus.labels is not None:
        return None
    reader = tile_reader(found, corpus.tile_spec(), decoding_threads())
    cells = reader.plan.layout.n_cells
    if cells > (_MOST_ASKED if is_virtual(corpus.source) else _MOST_COUNTED):
        drawn = np.sort(np.random.default_rng(0).integers(0, cells, _MOST_ASKED))
        held = int(reader.may_hold_information(reader.plan.layout.locate(drawn)).sum())
        return CellCount(round(cells * held / _MOST_ASKED), cells, is_sampled=True)
    slabs = (np.arange(start, min(start + _SLAB, cells)) for start in range(0, cells, _SLAB))
    held = sum(int(reader.may_hold_information(reader.plan.layout.locate(slab)).sum()) for slab in slabs)
    return CellCount(held, cells, is_sampled=False)


def repeated(tiles: Tiles, n: int) -> Tiles:
    """``n`` tiles: those that there are, again and again, each with an id of its own."""
    rows = np.resize(np.arange(len(tiles)), n)
    table = pd.DataFrame(tiles.table.drop(columns="footprint", errors="ignore")).iloc[rows].reset_index(drop=True)
    return Tiles(tiles.pixels[rows], table.assign(id=np.arange(n)))
