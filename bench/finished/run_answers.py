"""What the indexes of a finished run answer to any tile of its corpus, judged where the run judged it."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from bench.finished.finished_run import FinishedRun, Setting
from bench.scores.answers import check_answers
from bench.stages.base import Asked, exact_neighbours
from bench.tables.names import EXACT
from ris_core.engines import ENGINES
from ris_core.errors import UNREADABLE, ArtifactError, SearchError
from ris_core.records import PADDING_ID, Features, Hits
from ris_core.space import Space

NO_QUERY = -1  # in the place of a row of the judgments


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """What one index answered to some queries.

    Attributes:
        name: Backbone and engine, for people.
        query_ids: (j,) int64 tile ids.
        strata: (j,) str; empty for a tile that is no judged query.
        concepts: (j,) str; empty for the same.
        depths: (j,) int64: how many neighbours count for the query's precision; 0 for the same.
        ids: (j, k) int64 tile ids, nearest first, padded with -1.
        relevant: (j, k) bool.
        distances: (j, k) float32 squared Euclidean distances in the backbone's space, infinite for padding.
        is_judged: (j,) bool: whether it is known who is relevant.
    """

    name: str
    query_ids: np.ndarray
    strata: np.ndarray
    concepts: np.ndarray
    depths: np.ndarray
    ids: np.ndarray
    relevant: np.ndarray
    distances: np.ndarray
    is_judged: np.ndarray

    @classmethod
    def open(cls, path: Path, name: str) -> Self:
        """The answers of a cell's npz file to the judged queries.

        Raises:
            ArtifactError: If the file is missing, damaged or of another version.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(
                    name,
                    file["query_ids"].astype(np.int64),
                    file["stratum"].astype(str),
                    file["concept"].astype(str),
                    np.broadcast_to(file["depth"], file["query_ids"].shape).astype(np.int64),
                    file["ids"].astype(np.int64),
                    file["relevant"].astype(bool),
                    file["distances"].astype(np.float32),
                    np.ones(len(file["query_ids"]), bool),
                )
        except UNREADABLE as error:
            raise ArtifactError(f"{path}: no answers to be read ({error}). Run the cell again.") from error

    def __len__(self) -> int:
        return len(self.query_ids)

    def part(self, rows: Sequence[int] | np.ndarray, k: int, is_judged: bool) -> Self:
        """Those of some rows, cut to k."""
        fields = {name: getattr(self, name)[rows] for name in ("query_ids", "strata", "concepts", "depths")}
        cut = {name: getattr(self, name)[rows, :k] for name in ("ids", "relevant", "distances")}
        return dataclasses.replace(self, **fields, **cut, is_judged=np.full(len(rows), is_judged))

    @property
    def precision(self) -> np.ndarray:
        """(j,) share of each query's depth that is relevant; of a judged query only."""
        counted = np.arange(self.ids.shape[1]) < self.depths[:, None]
        return (self.relevant & counted & (self.ids != PADDING_ID)).sum(axis=1) / np.maximum(self.depths, 1)


def find_answers(run: FinishedRun, setting: Setting, tiles: Sequence[int], k: int) -> Answers:
    """The k nearest searched tiles of each of these tiles, its own left out.

    What the run kept is taken where it reaches; else the index is built anew over the features in the cache.

    Args:
        run: The run.
        setting: One of its settings.
        tiles: Ids of tiles of the corpus, judged or not, searched or not; of two queries on one tile the first counts.
        k: Length of the answer lists.

    Raises:
        SearchError: If there are not k other tiles, or the engine refuses.
        SuiteError: If a tile is not of the corpus.
        ArtifactError: If the features are gone.
    """
    judged = [] if run.judgments is None else run.judgments.queries["query_id"].tolist()
    rows = [judged.index(tile) if tile in judged else NO_QUERY for tile in tiles]
    return _find(run, setting, np.asarray(tiles, np.int64), np.array(rows, np.int64), k)


def find_judged_answers(run: FinishedRun, setting: Setting, rows: Sequence[int], k: int) -> Answers:
    """The same of judged queries, by their rows in the judgments: one tile may be the query of two concepts."""
    assert run.judgments is not None
    tiles = run.judgments.queries["query_id"].to_numpy(np.int64)[list(rows)]
    return _find(run, setting, tiles, np.asarray(rows, np.int64), k)


def _find(run: FinishedRun, setting: Setting, tiles: np.ndarray, rows: np.ndarray, k: int) -> Answers:
    if setting.hits_file and run.judgments is not None and (rows != NO_QUERY).all():
        kept = Answers.open(run.folder / setting.hits_file, setting.words)
        if 1 <= k <= kept.ids.shape[1]:
            return kept.part(rows, k, run.judgments.is_decided)
    different, places = np.unique(tiles, return_inverse=True)
    hits = _ask(run, setting, different, k)
    return _judged(run, setting.words, (tiles, rows), Hits(hits.ids[places], hits.distances[places]))


def _ask(run: FinishedRun, setting: Setting, query_ids: np.ndarray, k: int) -> Hits:
    """The k answers of an index, built anew, to each query."""
    places = run.places(query_ids.tolist())
    base = _searched(run, setting.backbone)
    if not 1 <= k < len(base):
        raise SearchError(f"{run.folder}: k = {k}; of {len(base):,} searched tiles 1 to {len(base) - 1:,} are allowed.")
    raw = Features.open(run.artifact("features", setting.backbone))
    vectors = Features(np.ascontiguousarray(raw.values[places]), raw.ids[places])
    corrected = Space.open(run.artifact("space", setting.backbone)).apply(vectors).values
    own = [next(iter(np.flatnonzero(base.ids == tile)), PADDING_ID) for tile in query_ids]
    asked = Asked(np.array(own, np.int64), vectors.values, corrected)
    if setting.kind == EXACT:
        return exact_neighbours(base, asked, k)
    kind = ENGINES[setting.kind]
    engine = kind.build(np.ascontiguousarray(base.values), kind.build_params(**setting.params), 1)
    rows, _ = engine.search(corrected, k + 1, kind.query_params(**setting.query_params), 1)
    return check_answers(rows, base, corrected, asked.rows, k).hits


def _searched(run: FinishedRun, backbone: str) -> Features:
    """Features of the searched tiles in their space, in the order in which they were judged, memory-mapped."""
    return Features.open(run.artifact("space", backbone))


def _judged(run: FinishedRun, name: str, asked: tuple[np.ndarray, np.ndarray], hits: Hits) -> Answers:
    """Answers to tiles, with what the judgments say of those that are queries by their rows."""
    (tiles, rows), ids, n = asked, hits.ids, len(hits.ids)
    strata, concepts, depths = [""] * n, [""] * n, np.zeros(n, np.int64)
    relevant, is_judged = np.zeros(ids.shape, bool), np.zeros(n, bool)
    if run.judgments is not None and (rows != NO_QUERY).any():
        searched = _searched(run, run.known_backbone(None)).ids
        for place in np.flatnonzero(rows != NO_QUERY):
            query = run.judgments.queries.iloc[rows[place]]
            strata[place], concepts[place], depths[place] = query["stratum"], query["concept"], query["depth"]
            is_judged[place] = run.judgments.is_decided
            relevant[place] = np.isin(ids[place], searched[run.judgments.relevant[rows[place]]])
    return Answers(name, tiles, np.array(strata), np.array(concepts), depths, ids, relevant, hits.distances, is_judged)
