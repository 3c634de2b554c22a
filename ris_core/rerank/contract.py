"""What a re-ranker is: it puts the first answers of an index into a better order, by more than their distances."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ris_core.engines.contract import range_faults
from ris_core.errors import SearchError
from ris_core.local_sets import LocalSets
from ris_core.records import PADDING_ID

PIXELS = "pixels"  # what a kind may need besides vectors
LOCAL = "local"  # its parameters then say which local descriptors, as a property ``local``: a `LocalSpec`


@dataclasses.dataclass(frozen=True)
class RerankParams:
    """Parameters that every re-ranker has; its own dataclass adds to them.

    Attributes:
        top: How many answers of the index are put into a new order; those behind them keep their places.
    """

    top: int = 100

    def faults(self, n: int, d: int) -> list[str]:
        """What is impossible about these values for ``n`` vectors of ``d`` dimensions; empty when nothing is."""
        return range_faults(self, top=(1, n))


class TilePixels:
    """Pictures of some tiles, read from their memory-mapped file when they are asked for.

    Args:
        path: ``pixels.npy``, uint8 (all, s, s, 3).
        places: (n,) positions of the tiles in that file.
    """

    def __init__(self, path: Path, places: np.ndarray) -> None:
        self._stored: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """(m, s, s, 3) uint8 of m rows, (s, s, 3) of one."""
        return np.asarray(self._stored[self._places[rows]])


class Pixels(Protocol):
    """(n, s, s, 3) uint8: an array, or `TilePixels`."""

    def __len__(self) -> int:
        """Number of pictures."""
        ...

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Pictures of these rows."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class Searched:
    """The index whose answers are re-ranked.

    Attributes:
        vectors: (n, d) float32 in the index' space; a row here is a row of every answer.
        search: From (q, d) float32 C-contiguous vectors, a k of 1 to n, and (q,) the rows that are no answers to them
            (-1 for none) to (q, k) int64 rows, nearest first, padded with -1: the engine itself, asked as its cell is.
        pixels: Pictures of the n rows; None where the corpus has none.
        local: Local descriptors of the n rows; None where the kind needs none.
    """

    vectors: np.ndarray
    search: Callable[[np.ndarray, int, np.ndarray], np.ndarray]
    pixels: Pixels | None = None
    local: LocalSets | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Asked:
    """Queries.

    Attributes:
        vectors: (q, d) float32 in the index' space.
        rows: (q,) int64 the queries' own rows, which are no answers to them; -1 for queries that are not indexed.
        pixels: Their pictures; None where the corpus has none.
        local: Their local descriptors; None where the kind needs none.
    """

    vectors: np.ndarray
    rows: np.ndarray
    pixels: Pixels | None = None
    local: LocalSets | None = None

    def __len__(self) -> int:
        return len(self.vectors)


class Reranker(Protocol):
    """A re-ranker over one index, its offline part done. One subclasses this and writes `rerank_one`."""

    def rerank(self, asked: Asked, rows: np.ndarray) -> np.ndarray:
        """The answers in their new order.

        Args:
            asked: The q queries.
            rows: (q, m) int64 the index' answers, best first, padded with -1; never a query's own row.

        Returns:
            (q, m) int64 of the same kind. Of a kind that only reorders, the very rows that were given.
        """
        answers = np.full(rows.shape, PADDING_ID, np.int64)
        for number, given in enumerate(rows):
            given = given[given >= 0]
            if len(given):
                found = self.rerank_one(asked, number, given)
                answers[number, : len(found)] = found
        return answers

    def rerank_one(self, asked: Asked, number: int, rows: np.ndarray) -> np.ndarray:
        """The answers to one query in their new order.

        Args:
            asked: All queries.
            number: Which of them.
            rows: (m,) int64 its answers, best first, at least one and without padding.

        Returns:
            (m,) int64; of a kind that searches it may be fewer, and others.
        """
        ...

    def size_bytes(self) -> int:
        """Bytes of what was made offline, beside the vectors and the index."""
        return 0


@dataclasses.dataclass(frozen=True)
class RerankKind:
    """One kind of re-ranker, as the dict ``RERANKERS`` lists it.

    Attributes:
        params: Frozen dataclass of its parameters, a `RerankParams` whose defaults make a usable re-ranker.
        build: From what is searched and the parameters to a re-ranker: its offline part. Module-level.
        needs: What it reads besides vectors: nothing, `PIXELS` or `LOCAL`.
        searches: Whether it may answer rows that it was not given, because it searches itself.
        unavailable: Why it cannot run here, in one sentence with the remedy; None when it can.
        libraries: Packages that compute for it: who limits threads imports them first.
    """

    params: type[Any]
    build: Callable[[Searched, Any], Reranker]
    needs: tuple[str, ...] = ()
    searches: bool = False
    unavailable: Callable[[], str | None] = lambda: None
    libraries: tuple[str, ...] = ()


def check_reranked(given: np.ndarray, answered: Any, n: int, *, searches: bool) -> None:
    """Refuse what is no new order of the answers that were given.

    Args:
        given: (q, m) the rows that it was given, padded with -1.
        answered: What it returned.
        n: Rows of the index.
        searches: See `RerankKind`.

    Raises:
        SearchError: Naming the finding and what is allowed.
    """
    if not isinstance(answered, np.ndarray) or answered.dtype.kind not in "iu" or answered.shape != given.shape:
        shape = getattr(answered, "shape", type(answered).__name__)
        raise SearchError(f"the re-ranker answered {shape}; allowed are whole numbers of shape {given.shape}.")
    if answered.size and (answered.min() < PADDING_ID or answered.max() >= n):
        found = f"from {answered.min()} to {answered.max()}"
        raise SearchError(f"the re-ranker answered rows {found}; the index has {n}. Allowed are its rows, and -1.")
    ranked, known = np.sort(answered, axis=1), np.sort(given, axis=1)
    if ((ranked[:, 1:] == ranked[:, :-1]) & (ranked[:, 1:] >= 0)).any():
        raise SearchError("the re-ranker answered a row twice. Each row may stand in a list once.")
    if not searches and (ranked != known).any():
        first = (ranked != known).any(axis=1).argmax()
        foreign, lost = len(np.setdiff1d(ranked[first], known[first])), len(np.setdiff1d(known[first], ranked[first]))
        raise SearchError(
            f"the re-ranker answered with {foreign} rows that it was not given, and lost {lost} that it was. A kind "
            "that does not search may only change the order."
        )
