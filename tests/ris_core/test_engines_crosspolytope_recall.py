"""Our LSH engine asked for a recall: what it chooses, that it keeps its word, and when it chooses."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ris_core import native
from ris_core.engines import crosspolytope as module
from ris_core.engines.crosspolytope import build_crosspolytope
from ris_core.engines.crosspolytope_params import DISTANCES, CrosspolytopeParams, CrosspolytopeQuery

pytestmark = pytest.mark.skipif(
    native.crosspolytope_unavailable() is not None,
    reason=f"the extension cannot run here: {native.crosspolytope_unavailable()}",
)

SMALL = CrosspolytopeParams(tables=2, hash_bits=6)
EVERYTHING = CrosspolytopeQuery(probes_per_table=2**30, rerank=0)


def clustered(n: int, d: int, seed: int) -> np.ndarray:
    """Vectors whose variance falls from coordinate to coordinate, as that of features does."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, d)) * 0.85 ** np.arange(d)).astype(np.float32)


def recall(rows: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean([np.isin(true, found) for true, found in zip(truth, rows, strict=True)]))


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[Any]]:
    """A function that lets one of the engine's own be called on, and returns the list that its calls will fill."""

    def counted(name: str) -> list[Any]:
        calls, real = [], getattr(module, name)
        monkeypatch.setattr(module, name, lambda *arguments: calls.append(arguments) or real(*arguments))
        return calls

    return counted


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("wanted", [0.8, 0.95])
def test_wanted_recall_is_kept_on_fresh_queries(wanted: float, distance: str) -> None:
    base, queries = clustered(8000, 48, seed=9), clustered(1000, 48, seed=10)
    index = build_crosspolytope(base, CrosspolytopeParams(hash_bits=9, distance=distance))
    query = CrosspolytopeQuery(recall=wanted)
    chosen = index.prepare(20, query)
    assert chosen["recall_on_sample"] >= wanted
    assert chosen["probes_per_table"] < 512
    rows, _ = index.search(queries, 20, query)
    assert recall(rows, index.search(queries, 20, EVERYTHING)[0]) >= wanted - 0.01
    by_hand = CrosspolytopeQuery(int(chosen["probes_per_table"]), int(chosen["rerank"]))
    np.testing.assert_array_equal(index.search(queries, 20, by_hand)[0], rows)
    assert index.prepare(20, CrosspolytopeQuery()) == {}


def test_a_higher_recall_costs_more_and_is_remembered(count: Callable[[str], list[Any]]) -> None:
    index = build_crosspolytope(clustered(3000, 48, seed=9), SMALL)
    low, high = (index.prepare(10, CrosspolytopeQuery(recall=wanted)) for wanted in (0.5, 0.99))
    assert high["rerank"] * high["probes_per_table"] > low["rerank"] * low["probes_per_table"]
    choices = count("choose_cheapest")
    assert index.prepare(10, CrosspolytopeQuery(recall=0.5)) == low
    assert not choices


def test_every_choice_pays_for_its_sample_whatever_was_chosen_before(count: Callable[[str], list[Any]]) -> None:
    index, samples = build_crosspolytope(clustered(600, 24, seed=0), SMALL), count("hold_out")
    for wanted in (0.5, 0.9, 0.5):
        index.prepare(10, CrosspolytopeQuery(recall=wanted))
    assert len(samples) == 2  # the third is remembered


def test_candidates_are_those_of_the_probes_chosen_for_their_k(count: Callable[[str], list[Any]]) -> None:
    base, queries = clustered(3000, 48, seed=9), clustered(50, 48, seed=10)
    index, query = build_crosspolytope(base, CrosspolytopeParams(hash_bits=7)), CrosspolytopeQuery(recall=0.9)
    chosen = {k: index.prepare(k, query)["probes_per_table"] for k in (5, 300)}
    assert chosen[5] < chosen[300]
    choices = count("choose_cheapest")
    for k, probes in chosen.items():
        by_hand = index.candidates(queries, k, CrosspolytopeQuery(int(probes)))
        np.testing.assert_array_equal(index.candidates(queries, k, query), by_hand)
    assert not choices  # nothing was chosen anew


@pytest.mark.parametrize("n", [1, 2, 9])
def test_recall_of_tiny_bases_is_complete(n: int) -> None:
    base = clustered(n, 24, seed=0)
    rows, _ = build_crosspolytope(base, SMALL).search(base, n, CrosspolytopeQuery(recall=1.0))
    assert (np.sort(rows, axis=1) == np.arange(n)).all()


def test_recall_without_sketches_chooses_probes_alone() -> None:
    index = build_crosspolytope(clustered(600, 24, seed=0), dataclasses.replace(SMALL, sketch=False))
    assert index.prepare(10, CrosspolytopeQuery(recall=0.9))["rerank"] == 0
