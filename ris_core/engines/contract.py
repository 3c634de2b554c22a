"""What an engine is: the shape that the harness measures, and the checks that every engine makes first."""

import dataclasses
import importlib.util
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from ris_core.errors import SearchError

MAX_POINTS = 2**31 - 1  # FALCONN numbers points by int32; one limit for all keeps a suite's cells comparable
LARGEST_VALUE = 1e15  # squares of larger values, summed, leave the range of float32


class Params(Protocol):
    """A frozen dataclass of an engine's parameters; its defaults make a usable engine."""

    def faults(self, n: int, d: int) -> list[str]:
        """What is impossible about these values for ``n`` vectors of ``d`` dimensions; empty when nothing is.

        Each fault names the key, the value, what is allowed, and what to do.
        """
        ...


class Engine(Protocol):
    """An index over rows 0..n-1 of one base, built and ready to be asked.

    An engine subclasses this and writes `search` and `size_bytes`; the rest has defaults.
    """

    def search(self, queries: np.ndarray, k: int, query: Any, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest rows of each query, nearest first.

        Args:
            queries: (q, d) float32, C-contiguous, finite.
            k: Length of each list, 1 to n.
            query: The engine's query parameters.
            threads: Threads to use.

        Returns:
            (q, k) int64 rows, padded by -1, and their (q, k) float32 squared Euclidean distances, padded by +inf.

        Raises:
            SearchError: If the queries, k or the parameters do not fit this index.
        """
        ...

    def size_bytes(self) -> int:
        """Bytes of the index itself: all that it holds beside one copy of the n vectors, whoever owns that copy."""
        ...

    def prepare(self, k: int, query: Any, threads: int = 1) -> dict[str, int | float]:
        """Do once what asking by these parameters needs beforehand, such as choosing probes for a wanted recall.

        The engine remembers the outcome; `search` calls this itself where nobody did before.

        Args:
            k: Length of the lists that will be asked for, 1 to n.
            query: The engine's query parameters.
            threads: Threads to use.

        Returns:
            What was chosen, by name; empty where nothing is to be chosen.

        Raises:
            SearchError: If k or the parameters do not fit this index.
        """
        return {}

    def derived(self) -> dict[str, int | float | str]:
        """What the engine derived from its build parameters, such as the number of hash functions."""
        return {}

    def candidates(self, queries: np.ndarray, k: int, query: Any) -> np.ndarray | None:
        """(q,) int64: how many different rows `search` examines for lists of k; None where that has no meaning."""
        return None


@dataclasses.dataclass(frozen=True)
class EngineKind:
    """One kind of engine, as the dict ``ENGINES`` lists it.

    Attributes:
        build_params: Frozen dataclass of what shapes the index (see `Params`).
        query_params: Frozen dataclass of what one index can be asked with (see `Params`).
        build: From a (n, d) float32 C-contiguous base, build parameters and threads to an index. The index keeps
            the base alive and may read it at any time: it must not be written to afterwards.
        theoretical_bytes: From n, d and build parameters to the bytes that the data structure needs by its
            definition, before there is one. The vectors, n * d * 4 bytes in every engine, are not counted.
        unavailable: Why this engine cannot run here, in one sentence with the remedy; None when it can.
        keeps_vectors: Whether answers need the vectors; where not, `Engine.size_bytes` is all that a search needs.
    """

    build_params: type[Any]
    query_params: type[Any]
    build: Callable[[np.ndarray, Any, int], Engine]
    theoretical_bytes: Callable[[int, int, Any], int]
    unavailable: Callable[[], str | None]
    keeps_vectors: bool = True


def refuse(place: str, faults: list[str]) -> None:
    """Raise one error that lists all faults, if there are any.

    Raises:
        SearchError: If ``faults`` is not empty.
    """
    if faults:
        raise SearchError(f"{place}: " + " ".join(faults))


def range_faults(params: Any, **ranges: tuple[int | float, int | float | None]) -> list[str]:
    """One fault for each named field of ``params`` that lies outside its range (lowest, highest or None)."""
    faults = []
    for name, (low, high) in ranges.items():
        value = getattr(params, name)
        if not low <= value <= (float("inf") if high is None else high):
            allowed = f"{low} or more" if high is None else f"{low} to {high}"
            faults.append(f"{name} = {value}; allowed: {allowed}. {'Raise' if value < low else 'Lower'} it.")
    return faults


def missing_package(name: str, extra: str = "engines") -> str | None:
    """That an optional package of one of our extras is not installed, with the remedy; None when it is."""
    if importlib.util.find_spec(name) is not None:
        return None
    instead = "take another engine" if extra == "engines" else "leave out what needs it"
    return f"the package {name} is not installed. Run `pip install 'ris-bench[{extra}]'`, or {instead}."


def check_package(engine: str, name: str = "", extra: str = "engines") -> None:
    """Refuse to build without the optional package that an engine needs, by default one of its own name.

    Raises:
        SearchError: With the remedy.
    """
    reason = missing_package(name or engine, extra)
    refuse(engine, [reason] if reason else [])


def check_vectors(place: str, vectors: np.ndarray) -> None:
    """Refuse what is no finite, C-contiguous, non-empty float32 matrix.

    Raises:
        SearchError: Naming the place, the finding, what is allowed and the remedy.
    """
    if not isinstance(vectors, np.ndarray) or vectors.ndim != 2:
        shape = getattr(vectors, "shape", type(vectors).__name__)
        raise SearchError(f"{place}: vectors are of shape {shape}; allowed is (n, d). Reshape one vector to (1, d).")
    if vectors.dtype != np.float32:
        raise SearchError(f"{place}: vectors are {vectors.dtype}; allowed is float32. Convert by .astype(np.float32).")
    if not vectors.flags.c_contiguous:
        raise SearchError(f"{place}: vectors are not C-contiguous. Copy them by np.ascontiguousarray.")
    if vectors.shape[1] == 0:
        raise SearchError(f"{place}: vectors have 0 dimensions; at least 1 is needed. Check what made the features.")
    with np.errstate(over="ignore", invalid="ignore"):
        are_sane = np.vdot(vectors, vectors) <= LARGEST_VALUE**2  # one fast pass; NaN compares as false
    if not are_sane:
        _refuse_values(place, vectors)


def _refuse_values(place: str, vectors: np.ndarray) -> None:
    is_sane = (np.abs(vectors) <= LARGEST_VALUE).all(axis=1)
    if not is_sane.all():
        raise SearchError(
            f"{place}: {np.count_nonzero(~is_sane)} of {len(vectors)} vectors hold values that are NaN, infinite or "
            f"beyond {LARGEST_VALUE:g}, first in row {np.argmin(is_sane)}; allowed are finite values up to "
            f"{LARGEST_VALUE:g}. Check the checkpoint that made them; training may have diverged."
        )


def check_build(place: str, base: np.ndarray, params: Params, threads: int) -> None:
    """Refuse a base that no index can be built over, impossible parameters, and fewer threads than one.

    Raises:
        SearchError: Naming the place, the finding, what is allowed and the remedy.
    """
    check_vectors(place, base)
    n, d = base.shape
    if n == 0:
        raise SearchError(f"{place}: the base is empty; at least 1 vector is needed. Check the tiles that it is from.")
    if n > MAX_POINTS:
        raise SearchError(f"{place}: the base has {n} vectors; allowed are up to {MAX_POINTS}. Split it.")
    refuse(place, [*params.faults(n, d), *_thread_faults(threads)])


def check_search(place: str, queries: np.ndarray, k: int, shape: tuple[int, int], threads: int) -> None:
    """Refuse queries, a k and threads that an index over a base of ``shape`` (n, d) cannot serve.

    Raises:
        SearchError: Naming the place, the finding, what is allowed and the remedy.
    """
    n, d = shape
    check_vectors(place, queries)
    if queries.shape[1] != d:
        raise SearchError(
            f"{place}: queries have {queries.shape[1]} dimensions, the index has {d}. "
            "Extract both with the same backbone and apply the same space."
        )
    faults = _thread_faults(threads)
    if not 1 <= k <= n:
        faults.insert(0, f"k = {k}; allowed is 1 to {n}, the number of vectors in the index. Lower k or index more.")
    refuse(place, faults)


def _thread_faults(threads: int) -> list[str]:
    return [] if 1 <= threads < 2**31 else [f"threads = {threads}; allowed: 1 to {2**31 - 1}."]
