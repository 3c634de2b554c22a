import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ris_core import native, sharded_index
from ris_core.artifacts import CorruptArtifactWarning
from ris_core.engines import build_index
from ris_core.errors import SearchError
from ris_core.records import Features
from ris_core.sharded_index import build_sharded_index

N, D = 900, 12
needs_crosspolytope = pytest.mark.skipif(
    native.crosspolytope_unavailable() is not None, reason="the compiled part is missing"
)


def features_of(n: int = N, seed: int = 0) -> Features:
    values = np.random.default_rng(seed).standard_normal((n, D)).astype(np.float32)
    values[1::7] = values[0]  # ties
    return Features(values, np.arange(n) * 3 + 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("features")
    features_of().save(path)
    return path


QUERIES = features_of(40, seed=1)


@given(st.integers(1, 30), st.sampled_from([1, 7, 60]))
@settings(max_examples=20, deadline=None)
def test_exact_shards_answer_as_the_whole_however_many_they_are(folder: Path, shards: int, k: int) -> None:
    values = features_of().values.copy()
    np.testing.assert_array_equal(values[1::7], np.broadcast_to(values[0], values[1::7].shape))
    whole = build_index("exact", features_of()).search(QUERIES, k)
    with build_sharded_index("exact", folder, shards) as index:
        assert len(index) == N
        found = index.search(QUERIES, k)
    np.testing.assert_array_equal(found.ids, whole.ids)
    np.testing.assert_array_equal(found.distances, whole.distances)


def test_every_vector_is_a_shard_of_its_own_if_one_likes(tmp_path: Path) -> None:
    few = features_of(9)
    few.save(tmp_path)
    with build_sharded_index("exact", tmp_path, 9) as index:
        found = index.search(few, 9)
    np.testing.assert_array_equal(found.ids, build_index("exact", few).search(few, 9).ids)


@needs_crosspolytope
def test_answers_are_the_nearest_of_what_the_shards_answer_alone(folder: Path) -> None:
    values, asked = features_of(), {"probes_per_table": 2, "rerank": 0}
    with build_sharded_index("crosspolytope", folder, 3, hash_bits=5) as index:
        found = index.search(QUERIES, 10, **asked)
        counts = index.candidates(QUERIES, 10, **asked)
        size = index.size_bytes
    parts = [build_index("crosspolytope", values[start : start + 300], hash_bits=5) for start in (0, 300, 600)]
    hits = [part.search(QUERIES, 10, **asked) for part in parts]
    ids, distances = (np.concatenate([getattr(hit, name) for hit in hits], axis=1) for name in ("ids", "distances"))
    order = np.lexsort((np.where(ids < 0, N * 9, ids), distances))[:, :10]
    np.testing.assert_array_equal(found.ids, np.take_along_axis(ids, order, axis=1))
    np.testing.assert_array_equal(found.distances, np.take_along_axis(distances, order, axis=1))
    assert size == sum(part.engine.size_bytes() for part in parts)
    assert counts is not None
    assert 10 < counts.mean() < N


@needs_crosspolytope
def test_all_buckets_of_all_shards_hold_the_exact_answer(folder: Path) -> None:
    whole = build_index("exact", features_of()).search(QUERIES, 20)
    with build_sharded_index("crosspolytope", folder, 4, hash_bits=3) as index:
        found = index.search(QUERIES, 20, probes_per_table=8, rerank=0)
    np.testing.assert_allclose(found.distances, whole.distances, rtol=1e-5, atol=1e-6)


def test_many_queries_are_sent_in_blocks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with build_sharded_index("exact", folder, 3) as index:
        at_once = index.search(QUERIES, 5)
        monkeypatch.setattr(sharded_index, "_BLOCK_QUERIES", 7)
        np.testing.assert_array_equal(index.search(QUERIES, 5).ids, at_once.ids)
        assert index.search(QUERIES[:0], 5).ids.shape == (0, 5)
        assert index.candidates(QUERIES[:3], 5).tolist() == [N] * 3


def test_an_index_is_built_once_until_it_is_closed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    real = sharded_index._make
    monkeypatch.setattr(sharded_index, "_make", lambda shard: made.append(shard.start) or real(shard))
    with build_sharded_index("exact", folder, 3) as index:
        index.search(QUERIES, 5)
        index.search(QUERIES, 5)
        assert (made, index.rebuilt) == ([0, 300, 600], 0)
    index.search(QUERIES, 5)
    assert (len(made), index.rebuilt) == (6, 3)
    index.close()
    assert not sharded_index._INDEXES


@needs_crosspolytope
def test_shards_on_disk_are_opened_and_made_again_where_they_are_gone_or_damaged(folder: Path, tmp_path: Path) -> None:
    def search() -> np.ndarray:
        with build_sharded_index("crosspolytope", folder, 3, cache=tmp_path, hash_bits=5) as index:
            return index.search(QUERIES, 10, probes_per_table=2).ids

    first = search()
    artifacts = sorted(tmp_path.glob("index-*"))
    times = {path: (path / "shard.index").stat().st_mtime_ns for path in artifacts}
    assert len(artifacts) == 3
    np.testing.assert_array_equal(search(), first)
    assert {path: (path / "shard.index").stat().st_mtime_ns for path in tmp_path.glob("index-*")} == times
    shutil.rmtree(artifacts[0])
    np.testing.assert_array_equal(search(), first)
    file = artifacts[1] / "shard.index"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.warns(CorruptArtifactWarning, match="made again"):
        np.testing.assert_array_equal(search(), first)
    changed = {path for path in artifacts if (path / "shard.index").stat().st_mtime_ns != times[path]}
    assert changed == set(artifacts[:2])


@needs_crosspolytope
def test_a_shard_deleted_under_an_open_index_serves_on(folder: Path, tmp_path: Path) -> None:
    with build_sharded_index("crosspolytope", folder, 2, cache=tmp_path, hash_bits=5) as index:
        before = index.search(QUERIES, 10, probes_per_table=2).ids
        for path in tmp_path.glob("index-*"):
            shutil.rmtree(path)
        np.testing.assert_array_equal(index.search(QUERIES, 10, probes_per_table=2).ids, before)


def test_what_cannot_be_asked_is_refused_before_anything_is_built(folder: Path) -> None:
    with pytest.raises(SearchError, match=r"no engine is called so; known: .*exact"):
        build_sharded_index("lsh", folder, 2)
    for shards in (0, N + 1):
        with pytest.raises(SearchError, match=f"shards = {shards}; allowed: 1 to {N}"):
            build_sharded_index("exact", folder, shards)
    with pytest.raises(SearchError, match="distance = 'cosine'; allowed: euclidean_squared"):
        build_sharded_index("crosspolytope", folder, 2, distance="cosine")
    with pytest.raises(SearchError, match="unknown parameter 'tables'"):
        build_sharded_index("exact", folder, 2, tables=3)
    with build_sharded_index("exact", folder, 2) as index:
        with pytest.raises(SearchError, match="queries live in space 'other'"):
            index.search(dataclasses.replace(QUERIES, space="other"), 5)
        with pytest.raises(SearchError, match=f"k = {N + 1}; allowed is 1 to {N}"):
            index.search(QUERIES, N + 1)
        with pytest.raises(SearchError, match="unknown parameter 'probes'"):
            index.search(QUERIES, 5, probes=3)
