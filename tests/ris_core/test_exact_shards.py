import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ris_core import exact_shards
from ris_core.cluster import IN_PROCESS
from ris_core.exact_shards import merge_nearest, nearest_rows, nearest_rows_by


def by_definition(base: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    distances = np.stack([np.square(base.astype(np.float64) - query).sum(axis=1) for query in queries])
    rows = np.stack([np.lexsort((np.arange(len(base)), line))[:k] for line in distances])
    return rows, np.take_along_axis(distances, rows, axis=1)


@st.composite
def searches(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    """Vectors of all kinds: spread out, codes of 0 and 1, a few that are repeated far from the origin, one for all."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n, d = draw(st.integers(1, 300)), draw(st.integers(1, 12))
    base = {
        "spread": lambda: rng.standard_normal((n, d)),
        "codes": lambda: rng.integers(0, 2, (n, d)),
        "repeated": lambda: 100 + rng.standard_normal((3, d))[rng.integers(0, 3, n)],
        "one": lambda: np.full((n, d), 0.1),
    }[draw(st.sampled_from(["spread", "codes", "repeated", "one"]))]()
    base = base.astype(np.float32)
    queries = base[rng.integers(0, n, draw(st.integers(1, 30)))]
    return base, np.ascontiguousarray(queries), draw(st.integers(1, min(n, 40)))


@given(searches())
@settings(max_examples=60, deadline=None)
def test_rows_are_the_nearest_by_distance_in_float64_and_then_by_row(
    search: tuple[np.ndarray, np.ndarray, int],
) -> None:
    base, queries, k = search
    found = nearest_rows(base, queries, k)
    rows, distances = by_definition(base, queries, k)
    np.testing.assert_array_equal(found["row"], rows)
    np.testing.assert_array_equal(found["distance"], distances)


@given(searches(), st.lists(st.integers(1, 299), max_size=6))
@settings(max_examples=40, deadline=None)
def test_parts_merge_to_the_whole_wherever_they_are_cut(
    search: tuple[np.ndarray, np.ndarray, int], cuts: list[int]
) -> None:
    base, queries, k = search
    edges = [0, *sorted({cut for cut in cuts if cut < len(base)}), len(base)]

    def parts() -> Iterator[np.ndarray]:
        for start, stop in itertools.pairwise(edges):
            found = nearest_rows(base[start:stop], queries, min(k, stop - start))
            found["row"] += start
            yield found

    np.testing.assert_array_equal(merge_nearest(parts(), k), nearest_rows(base, queries, k))


@pytest.fixture
def repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, np.ndarray]:
    """1,000 vectors on disk, a third of them one and the same, in shards of 130."""
    monkeypatch.setattr(exact_shards, "SHARD_ROWS", 130)
    base = np.random.default_rng(0).standard_normal((1000, 8)).astype(np.float32)
    base[::3] = base[0]
    np.save(tmp_path / "features.npy", base)
    return tmp_path / "features.npy", base


def test_shards_on_disk_give_the_answer_of_the_whole(repeated: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    path, base = repeated
    found = nearest_rows_by(IN_PROCESS, path, tmp_path / "out", base[:50], 40)
    np.testing.assert_array_equal(found, nearest_rows(base, base[:50], 40))
    np.testing.assert_array_equal(found["row"][0], np.arange(0, 120, 3))  # equal ones by row


def test_shards_that_were_searched_are_not_searched_again(
    repeated: tuple[Path, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, base = repeated
    sizes: list[int] = []
    real = nearest_rows

    def interrupted(part: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
        sizes.append(len(part))
        if len(sizes) == 4:
            raise KeyboardInterrupt
        return real(part, queries, k)

    monkeypatch.setattr(exact_shards, "nearest_rows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        nearest_rows_by(IN_PROCESS, path, tmp_path / "out", base[:50], 5)
    found = nearest_rows_by(IN_PROCESS, path, tmp_path / "out", base[:50], 5)
    assert sizes == [130] * 8 + [90]  # eight shards, one of them begun twice
    np.testing.assert_array_equal(found, real(base, base[:50], 5))
    nearest_rows_by(IN_PROCESS, path, tmp_path / "out", base[1:51], 5)  # other queries are other work
    assert len(sizes) == 9 + 8


def test_ties_go_to_the_first_rows_whichever_the_library_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    class LastOfEqual:
        """Exact, but of vectors tied at the last rank it returns those with the largest rows, as a library may."""

        def __init__(self, base: np.ndarray, *settings: object) -> None:
            self.base = base

        def search(self, queries: np.ndarray, k: int, *settings: object) -> tuple[np.ndarray, np.ndarray]:
            rows, distances = by_definition(self.base[::-1], queries, k)
            return len(self.base) - 1 - rows, distances.astype(np.float32)

    base = np.repeat(np.eye(2, 3, dtype=np.float32), 100, axis=0)
    kind = dataclasses.replace(exact_shards.ENGINES["exact"], build=LastOfEqual)
    monkeypatch.setattr(exact_shards, "ENGINES", {"exact": kind})
    np.testing.assert_array_equal(
        nearest_rows(base, base[[0, 150]], 5)["row"], [[0, 1, 2, 3, 4], [100, 101, 102, 103, 104]]
    )
