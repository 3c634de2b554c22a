"""Vectors of a file, in the formats that the field hands round: a corpus that needs neither tiling nor a backbone.

    .npy             one matrix, any real type
    .npz             `vectors` or `base`, or the only matrix; optional `queries`, `labels`, `ids`
    .fvecs, .bvecs   float32 or uint8, each vector after its dimension (int32), as in the TEXMEX corpora
    .hdf5, .h5       ann-benchmarks: `train`, `test`, `neighbors`, and the attribute `distance`

Nothing is unpickled. The base is read in blocks, so a file may be larger than memory; an array of an npz alone is
decompressed whole.
"""

import contextlib
import dataclasses
import functools
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Protocol

import h5py
import numpy as np

from ris_core.errors import UNREADABLE, CorpusError

EUCLIDEAN: Final = "euclidean"
ANGULAR: Final = "angular"
_NEIGHBOUR_IDS = ".ivecs"
_BLOCK_BYTES = 2**26  # of float32 held at a time
_BASE_NAMES = ("vectors", "base")
_SIDE_NAMES = ("queries", "labels", "ids")


@dataclasses.dataclass(frozen=True, eq=False)
class Vectors:
    """A file of vectors, checked: what is small is in memory, the base is read when it is asked for.

    Attributes:
        path: The file.
        n: Vectors of the base.
        d: Their dimensions.
        ids: (n,) int64, unique, at least 0: the file's own, or each vector's row.
        labels: (n,) str, empty where a vector has none; None where the file brings none.
        queries: (q, d) float32, held out from the base; None where there are none.
        neighbours: (q, any) int64 rows of the base that the file calls each query's nearest; None where it does not.
        metric: ``"euclidean"`` or ``"angular"`` where the file says what its vectors are compared by, else empty.
    """

    path: Path
    n: int
    d: int
    ids: np.ndarray
    labels: np.ndarray | None = None
    queries: np.ndarray | None = None
    neighbours: np.ndarray | None = None
    metric: str = ""

    def blocks(self, rows: np.ndarray | None = None) -> Iterator[np.ndarray]:
        """Yield the base in order, as (b, d) float32 with b at least 1.

        Args:
            rows: Ascending rows that are wanted; None = all.

        Raises:
            CorpusError: If the file is damaged, or a wanted vector is NaN, infinite or beyond float32.
        """
        rows = np.arange(self.n) if rows is None else rows
        step = max(1, _BLOCK_BYTES // (4 * self.d))
        with _opened(self.path) as contents:
            for start in range(0, self.n, step):
                first, end = np.searchsorted(rows, (start, start + step))
                if first < end:
                    taken = rows[first:end]
                    block = np.asarray(contents.base[start : start + step])[taken - start]
                    yield _as_float32(block, f"{self.path}: vector", taken)

    def read(self, rows: np.ndarray | None = None) -> np.ndarray:
        """The base in memory, (n or len(rows), d) float32; arguments and errors as for `blocks`."""
        values = np.empty((self.n if rows is None else len(rows), self.d), np.float32)
        start = 0
        for block in self.blocks(rows):
            values[start : start + len(block)] = block
            start += len(block)
        return values


def is_vector_file(path: Path) -> bool:
    """Whether a path names a file of vectors, by its ending alone."""
    return path.suffix.lower() in (*_OPENERS, _NEIGHBOUR_IDS)


def read_vectors(path: Path, queries: Path | None = None) -> Vectors:
    """The vectors of a file.

    Held-out queries come from ``queries``, else from the file itself, else from a file beside it that bears its name
    with ``_query`` for ``_base``, such as ``sift_query.fvecs`` for ``sift_base.fvecs``.

    Args:
        path: The file; its ending names the format.
        queries: Another file of vectors, whose base are the queries.

    Raises:
        CorpusError: If a file is missing, damaged, of another kind, or its parts do not fit each other.
    """
    path = Path(path)
    with _opened(path) as contents:
        n, d = _matrix_shape(contents.base, f"{path}: its base")
        beside = queries or (_sibling(path) if contents.queries is None else None)
        if beside is not None:
            contents = dataclasses.replace(contents, queries=None, neighbours=None)  # those are of other queries
        asked = None if contents.queries is None else _read_queries(path, contents.queries)
        vectors = Vectors(
            path,
            n,
            d,
            np.arange(n) if contents.ids is None else _checked_ids(path, contents.ids[...], n),
            None if contents.labels is None else _checked_labels(path, contents.labels[...], n),
            asked,
            None if contents.neighbours is None else _checked_neighbours(path, contents.neighbours[...], n, asked),
            contents.metric,
        )
    if beside is not None:
        vectors = dataclasses.replace(vectors, queries=read_vectors(beside).read())
    if vectors.queries is not None and vectors.queries.shape[1] != d:
        raise CorpusError(
            f"{beside or path}: the queries have d = {vectors.queries.shape[1]}, the base of {path} has d = {d}. "
            "Name queries that were made as the base was."
        )
    return vectors


class _Array(Protocol):
    """What NumPy's arrays, memory maps and HDF5's datasets have in common."""

    @property
    def shape(self) -> Any: ...

    @property
    def dtype(self) -> Any: ...

    def __getitem__(self, rows: Any) -> Any: ...


@dataclasses.dataclass(frozen=True, eq=False)
class _Contents:
    """What a file holds, while it is open."""

    base: _Array
    queries: _Array | None = None
    neighbours: _Array | None = None
    labels: _Array | None = None
    ids: _Array | None = None
    metric: str = ""


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[_Contents]:
    """The contents of a file; whatever a library raises about it becomes a `CorpusError`."""
    suffix = path.suffix.lower()
    if suffix == _NEIGHBOUR_IDS:
        raise CorpusError(
            f"{path}: an ivecs file holds the ids of neighbours, which are computed anew here. Name the fvecs or bvecs "
            "file of the vectors."
        )
    if suffix not in _OPENERS:
        raise CorpusError(f"{path}: is no file of vectors by its ending; known are {', '.join(_OPENERS)}.")
    if not path.is_file():
        raise CorpusError(f"{path}: does not exist. Name a file of vectors: {', '.join(_OPENERS)}.")
    try:
        with _OPENERS[suffix](path) as contents:
            yield contents
    except UNREADABLE as error:
        raise CorpusError(
            f"{path}: is no readable {suffix} file ({error}). Copy or write it again; arrays of Python objects are "
            "never unpickled."
        ) from error


@contextlib.contextmanager
def _open_npy(path: Path) -> Iterator[_Contents]:
    yield _Contents(np.lib.format.open_memmap(path, mode="r"))


class _Member:
    """An array of an npz: shape and type from its header, its values once they are asked for."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self._archive, self._name = archive, name
        with archive.open(name) as file:
            version = np.lib.format.read_magic(file)
            header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            self.shape, _, self.dtype = header[version](file)

    @functools.cached_property
    def _values(self) -> np.ndarray:
        with self._archive.open(self._name) as file:
            return np.asarray(np.lib.format.read_array(file, allow_pickle=False))

    def __getitem__(self, rows: Any) -> np.ndarray:
        return self._values[rows]


@contextlib.contextmanager
def _open_npz(path: Path) -> Iterator[_Contents]:
    with zipfile.ZipFile(path) as archive:
        members = {name.removesuffix(".npy"): _Member(archive, name) for name in archive.namelist()}
        named = [name for name in _BASE_NAMES if name in members]
        matrices = [name for name in members if len(members[name].shape) == 2 and name not in _SIDE_NAMES]
        base = named or matrices
        if len(base) != 1:
            raise CorpusError(
                f"{path}: which array holds the vectors? It has {', '.join(members) or 'none'}. Name one of them "
                f"{_BASE_NAMES[0]!r}; {', '.join(map(repr, _SIDE_NAMES))} are read beside it."
            )
        yield _Contents(
            members[base[0]],
            queries=members.get("queries"),
            labels=members.get("labels"),
            ids=members.get("ids"),
        )


class _Vecs:
    """Records of a dimension and a vector; that all have one dimension is checked where they are read."""

    def __init__(self, path: Path, dtype: str) -> None:
        self._path, size = path, path.stat().st_size
        d = int(np.fromfile(path, "<i4", 1)[0]) if size >= 4 else 0
        bytes_each = 4 + d * np.dtype(dtype).itemsize
        if d < 1 or size % bytes_each:
            raise CorpusError(
                f"{path}: its {size:,} bytes are no whole number of vectors of d = {d:,}, which the first one names: "
                f"empty, truncated or no {path.suffix} file. Copy it again."
            )
        self._records = np.memmap(path, np.dtype([("d", "<i4"), ("values", dtype, (d,))]), "r")
        self.shape, self.dtype = (len(self._records), d), np.dtype(dtype)

    def __getitem__(self, rows: slice) -> np.ndarray:
        part = self._records[rows]
        odd = np.flatnonzero(part["d"] != self.shape[1])
        if len(odd):
            raise CorpusError(
                f"{self._path}: vector {(rows.start or 0) + odd[0]:,} has d = {part['d'][odd[0]]:,}, the first one "
                f"d = {self.shape[1]:,}; all must have the same. The file is damaged or holds something else."
            )
        return np.asarray(part["values"])


@contextlib.contextmanager
def _open_vecs(path: Path, dtype: str) -> Iterator[_Contents]:
    yield _Contents(_Vecs(path, dtype))


@contextlib.contextmanager
def _open_hdf5(path: Path) -> Iterator[_Contents]:
    with h5py.File(path, "r") as file:
        found = {name: item for name, item in file.items() if isinstance(item, h5py.Dataset)}
        if "train" not in found:
            raise CorpusError(
                f"{path}: has no data set 'train' (found: {', '.join(file) or 'none'}). Lay it out as ann-benchmarks "
                "does: train, and where known test, neighbors and the attribute distance."
            )
        metric = file.attrs.get("distance", "")
        metric = metric.decode() if isinstance(metric, bytes) else str(metric)
        if metric not in ("", EUCLIDEAN, ANGULAR):
            raise CorpusError(
                f"{path}: its vectors are compared by {metric!r}; here they are by {EUCLIDEAN!r} or {ANGULAR!r} alone. "
                "Codes and sets need other engines: choose another file."
            )
        yield _Contents(found["train"], found.get("test"), found.get("neighbors"), metric=metric)


_OPENERS: dict[str, Callable[[Path], contextlib.AbstractContextManager[_Contents]]] = {
    ".npy": _open_npy,
    ".npz": _open_npz,
    ".fvecs": functools.partial(_open_vecs, dtype="<f4"),
    ".bvecs": functools.partial(_open_vecs, dtype="u1"),
    ".hdf5": _open_hdf5,
    ".h5": _open_hdf5,
}


def _sibling(path: Path) -> Path | None:
    """``x_query.fvecs`` beside ``x_base.fvecs``, if it is there."""
    beside = path.with_name(f"{path.stem.removesuffix('_base')}_query{path.suffix}")
    return beside if path.stem.endswith("_base") and beside.is_file() else None


def _matrix_shape(array: _Array, what: str) -> tuple[int, int]:
    """Rows and columns of a matrix of real numbers."""
    if len(array.shape) != 2 or 0 in array.shape:
        raise CorpusError(f"{what} has the shape {array.shape}; (n, d) is needed, one vector a row, at least one.")
    if array.dtype.kind not in "fiu":
        raise CorpusError(
            f"{what} holds {array.dtype}; real numbers are needed, integers or floats. Convert them, such as by "
            ".astype('float32')."
        )
    return int(array.shape[0]), int(array.shape[1])


def _read_queries(path: Path, array: _Array) -> np.ndarray:
    n, _ = _matrix_shape(array, f"{path}: its queries")
    return _as_float32(np.asarray(array[:]), f"{path}: query", np.arange(n))


def _as_float32(values: np.ndarray, what: str, rows: np.ndarray) -> np.ndarray:
    """(b, d) float32, C-contiguous and finite; ``rows`` names them in a message."""
    with np.errstate(over="ignore"):
        converted = np.ascontiguousarray(values, np.float32)
    finite = np.isfinite(converted).all(axis=1)
    if not finite.all():
        raise CorpusError(
            f"{what} {rows[~finite][0]:,} is NaN, infinite or beyond float32, and so are {(~finite).sum() - 1:,} more "
            f"of {len(rows):,} looked at. Remove or mend them."
        )
    return converted


def _checked_ids(path: Path, ids: np.ndarray, n: int) -> np.ndarray:
    is_good = ids.shape == (n,) and ids.dtype.kind in "iu" and ids.min() >= 0 and len(np.unique(ids)) == n
    if not is_good:
        raise CorpusError(
            f"{path}: its ids are {ids.dtype} of shape {ids.shape}; {n:,} different whole numbers of at least 0 are "
            "needed, one a vector. Mend them, or leave them out: rows then serve as ids."
        )
    return ids.astype(np.int64)


def _checked_labels(path: Path, labels: np.ndarray, n: int) -> np.ndarray:
    if labels.shape != (n,) or labels.dtype.kind not in "USiu":
        raise CorpusError(
            f"{path}: its labels are {labels.dtype} of shape {labels.shape}; {n:,} texts or whole numbers are needed, "
            "one a vector. Save them as np.array(labels, dtype=str)."
        )
    return np.char.decode(labels, "utf-8") if labels.dtype.kind == "S" else labels.astype(str)


def _checked_neighbours(path: Path, neighbours: np.ndarray, n: int, queries: np.ndarray | None) -> np.ndarray:
    is_good = neighbours.ndim == 2 and neighbours.dtype.kind in "iu" and neighbours.shape[1] > 0
    is_good = is_good and queries is not None and len(neighbours) == len(queries)
    if not is_good or neighbours.min() < 0 or neighbours.max() >= n:
        raise CorpusError(
            f"{path}: its neighbors ({neighbours.dtype} of shape {neighbours.shape}) are not rows of its {n:,} vectors "
            "for each of its queries. Mend the file, or delete them from it: exact neighbours are computed anyway."
        )
    return neighbours.astype(np.int64)
