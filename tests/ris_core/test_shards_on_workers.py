"""What shards promise on the workers of a real cluster, two processes, one of which is killed now and then.

One file, because starting the two takes longer than all that is asked of them.
"""

import dataclasses
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ris_core import exact_shards, native, sharded_extraction
from ris_core.backbone import BackboneSpec, build_backbone
from ris_core.cluster import Cluster, open_cluster
from ris_core.engines import ENGINES
from ris_core.errors import CheckpointError
from ris_core.exact_shards import nearest_rows, nearest_rows_by
from ris_core.feature_batches import ExtractOptions
from ris_core.features import extract_features
from ris_core.records import Features, Tiles
from ris_core.sharded_extraction import ExtractWork, extract_on_workers
from ris_core.sharded_index import build_sharded_index

SPEC = BackboneSpec(
    arch={"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}, preprocess="native"
)
OPTIONS = ExtractOptions(batch=4, shard_tiles=10, device="cpu", precision="fp32", threads=1)
ENGINES_AND_PARAMS: dict[str, dict[str, int]] = {
    "exact": {},
    "crosspolytope": {"hash_bits": 5},
    "falconn": {"hash_bits": 7},
}


@pytest.fixture(scope="module")
def two() -> Iterator[Cluster]:
    pytest.importorskip("distributed", reason="dask.distributed is an optional extra")
    with open_cluster("local:2") as cluster:
        yield cluster


def features_in(folder: Path) -> Features:
    features = Features(np.random.default_rng(0).standard_normal((900, 12)).astype(np.float32), np.arange(900) * 2)
    features.save(folder)
    return features


def skip_without(engine: str) -> None:
    reason = ENGINES[engine].unavailable()
    if reason is not None:
        pytest.skip(f"{engine} cannot run here: {reason}")


@pytest.fixture
def tiles(tmp_path: Path) -> Tiles:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3), np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    return Tiles(pixels, pd.DataFrame({"id": np.arange(64) * 3 + 5}))


def test_indexes_are_spread_over_the_workers_which_keep_them(two: Cluster, tmp_path: Path) -> None:
    base = features_in(tmp_path)
    with build_sharded_index("exact", tmp_path, 5, cluster=two) as index:
        index.search(base, 3)
        assert index.rebuilt == 0
        assert sorted(Counter(facts.process for facts in index.facts).values()) == [2, 3]
    index.search(base, 3)
    assert index.rebuilt == 5  # closed, they are forgotten


@pytest.mark.parametrize("name", ENGINES_AND_PARAMS)
def test_an_index_answers_alike_here_and_on_workers(two: Cluster, tmp_path: Path, name: str) -> None:
    skip_without(name)
    base, params = features_in(tmp_path), ENGINES_AND_PARAMS[name]
    with (
        build_sharded_index(name, tmp_path, 5, **params) as here,
        build_sharded_index(name, tmp_path, 5, cluster=two, **params) as there,
    ):
        expected, found = here.search(base, 10), there.search(base, 10)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.distances, expected.distances)


def test_a_scheduler_reached_by_its_address_serves_the_same(two: Cluster, tmp_path: Path) -> None:
    base = features_in(tmp_path)
    with (
        open_cluster(two.client.scheduler.address) as joined,
        build_sharded_index("exact", tmp_path, 4) as here,
        build_sharded_index("exact", tmp_path, 4, cluster=joined) as there,
    ):
        np.testing.assert_array_equal(there.search(base, 5).ids, here.search(base, 5).ids)


def test_nearest_rows_are_those_of_one_process_ties_included(
    two: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact_shards, "SHARD_ROWS", 150)
    base = features_in(tmp_path).values.copy()
    base[::3] = base[0]
    np.save(tmp_path / "repeated.npy", base)
    found = nearest_rows_by(two, tmp_path / "repeated.npy", tmp_path / "out", base[:40], 50)
    np.testing.assert_array_equal(found, nearest_rows(base, base[:40], 50))


def test_the_indexes_of_a_killed_worker_are_built_again_and_only_these(two: Cluster, tmp_path: Path) -> None:
    name = "falconn" if native.falconn_unavailable() is None else "exact"
    base = features_in(tmp_path)
    with build_sharded_index(name, tmp_path, 5, cluster=two, **ENGINES_AND_PARAMS[name]) as index:
        expected = index.search(base, 10)
        victim, lost = Counter(facts.process for facts in index.facts).most_common(1)[0]
        os.kill(int(victim.rpartition(":")[2]), signal.SIGKILL)
        found = index.search(base, 10)
        assert (index.rebuilt, lost) == (3, 3)
    np.testing.assert_array_equal(found.ids, expected.ids)


def test_an_error_on_a_worker_is_that_of_one_process(two: Cluster, tiles: Tiles, tmp_path: Path) -> None:
    backbone = build_backbone(SPEC)
    spec = dataclasses.replace(SPEC, seed=1)
    backbone.spec = spec  # whose weights are others
    with pytest.raises(CheckpointError, match="gives other weights on"):
        extract_on_workers(two, tiles, backbone, ExtractWork(tmp_path / "pixels.npy", OPTIONS), tmp_path / "out")


def _describe_and_die_once(shard: sharded_extraction._Shard) -> Path:
    """Describes a shard, and notes it unless that is done; that of row 30 kills its worker once, half written."""
    notes = shard.out.parent.parent.parent
    if not shard.out.exists():
        (notes / f"described-{shard.start}-{os.getpid()}").touch()
    if shard.start == 30 and len(list(notes.glob("described-30-*"))) == 1:
        (shard.out.parent / ".half-30.npy").write_bytes(b"half of it")
        os.kill(os.getpid(), signal.SIGKILL)
    return sharded_extraction._describe_shard(shard)


def test_features_are_those_of_one_process_also_when_a_worker_is_killed_in_a_shard(
    two: Cluster, tiles: Tiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, backbone = ExtractWork(tmp_path / "pixels.npy", OPTIONS), build_backbone(SPEC)
    monkeypatch.setattr("ris_core.sharded_extraction._describe_shard", _describe_and_die_once)
    features = extract_on_workers(two, tiles, backbone, work, tmp_path / "out")
    np.testing.assert_array_equal(features.values, extract_features(tiles, SPEC, options=OPTIONS).values)
    done = Counter(int(path.name.split("-")[1]) for path in tmp_path.glob("described-*"))
    assert done == {0: 1, 10: 1, 20: 1, 30: 2, 40: 1, 50: 1, 60: 1}
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["features.npy", "ids.npy", "progress.json", "space.json"]
