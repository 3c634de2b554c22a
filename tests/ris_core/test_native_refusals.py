"""What both compiled indices refuse, so that no caller makes them read memory that is not theirs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ris_core import native


def falconn_index(base: np.ndarray) -> Any:
    settings = native.FalconnSettings()
    settings.hash_functions, settings.last_cp_dimension = 1, 2
    return native.FalconnIndex(base, settings)


def crosspolytope_index(base: np.ndarray) -> Any:
    return native.CrosspolytopeIndex(base, native.CrosspolytopeSettings(), np.empty((0, 0), np.float32))


def case(build: Callable[[np.ndarray], Any], ask: Callable[[Any, np.ndarray], object], why_not: str | None) -> Any:
    """An index, and a way to ask that it alone has."""
    marks = pytest.mark.skipif(why_not is not None, reason=f"the extension cannot run here: {why_not}")
    return pytest.param(build, ask, marks=marks, id=build.__name__)


each_index = pytest.mark.parametrize(
    ("build", "ask"),
    [
        case(falconn_index, lambda index, queries: index.near(queries, 1.0, 100), native.falconn_unavailable()),
        case(crosspolytope_index, lambda index, queries: index.codes(queries), native.crosspolytope_unavailable()),
    ],
)


def normal(n: int, d: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, d), np.float32)


@each_index
@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 3)), np.zeros((4, 3), np.int32), np.zeros((3, 4), np.float32).T, np.zeros(3, np.float32)],
    ids=["float64", "int32", "transposed", "flat"],
)
def test_what_would_have_to_be_copied_is_refused(build: Any, ask: Any, array: np.ndarray) -> None:
    index = build(normal(4, 3))
    for call in (lambda: build(array), lambda: index.search(array, 1, 100), lambda: ask(index, array)):
        with pytest.raises(TypeError):
            call()


@each_index
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2e15])
def test_values_that_break_sorting_are_refused(build: Any, ask: Any, value: float) -> None:
    base = normal(20, 4)
    index = build(base)
    bad = base.copy()
    bad[3, 2] = value
    with pytest.raises(ValueError, match="base's vectors hold a value that is NaN"):
        build(bad)
    for call in (lambda: index.search(bad, 1, 100), lambda: index.candidates(bad, 100), lambda: ask(index, bad)):
        with pytest.raises(ValueError, match="queries hold a value"):
            call()


@each_index
@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"k": 0}, "k must be 1"),
        ({"k": 21}, "k must be 1"),
        ({"threads": 0}, "threads must be"),
        ({"queries": normal(2, 5)}, "number of dimensions"),
    ],
)
def test_impossible_search_is_refused(build: Any, ask: Any, keywords: dict[str, object], message: str) -> None:
    arguments = {"queries": normal(2, 4), "k": 1, "probes": 100} | keywords
    with pytest.raises(ValueError, match=message):
        build(normal(20, 4)).search(**arguments)
