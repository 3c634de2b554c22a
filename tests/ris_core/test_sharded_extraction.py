import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ris_core import sharded_extraction
from ris_core.backbone import BackboneSpec, build_backbone
from ris_core.cluster import IN_PROCESS
from ris_core.errors import CheckpointError, CorpusError, SuiteError
from ris_core.feature_batches import ExtractOptions
from ris_core.features import extract_features
from ris_core.records import Features, Tiles
from ris_core.sharded_extraction import ExtractWork, can_share, extract_on_workers
from ris_core.tiling.image_folder import list_images
from ris_core.tiling.image_shards import join_shards
from ris_core.whole_images import WholeImages

ARCH = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
SPEC = BackboneSpec(arch=ARCH, preprocess="native")
OPTIONS = ExtractOptions(batch=4, shard_tiles=10, device="cpu", precision="fp32", threads=1)


@pytest.fixture(autouse=True)
def _nothing_is_kept() -> None:
    sharded_extraction._READY.clear()


@pytest.fixture
def tiles(tmp_path: Path) -> Tiles:
    pixels = np.random.default_rng(0).integers(0, 256, (37, 16, 16, 3), np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    return Tiles(pixels, pd.DataFrame({"id": np.arange(37) * 3 + 5}))


@pytest.fixture
def work(tiles: Tiles, tmp_path: Path) -> ExtractWork:
    return ExtractWork(tmp_path / "pixels.npy", OPTIONS)


def count_networks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    built: list[str] = []
    monkeypatch.setattr(
        sharded_extraction, "build_backbone", lambda spec: built.append(spec.model) or build_backbone(spec)
    )
    return built


def test_features_are_those_of_one_process_bit_for_bit(
    tiles: Tiles, work: ExtractWork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = count_networks(monkeypatch)
    features = extract_on_workers(IN_PROCESS, tiles, build_backbone(SPEC), work, tmp_path / "out")
    assert len(built) == 1  # for four shards
    np.testing.assert_array_equal(features.values, extract_features(tiles, SPEC, options=OPTIONS).values)
    np.testing.assert_array_equal(features.ids, tiles.ids)
    assert Features.open(tmp_path / "out").space == "raw"
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["features.npy", "ids.npy", "progress.json", "space.json"]


@pytest.mark.parametrize("stops_at", [1, 2, 4])
def test_finished_shards_are_not_done_again_nor_those_that_were_not_taken_over(
    tiles: Tiles, work: ExtractWork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops_at: int
) -> None:
    described: list[int] = []
    real = sharded_extraction.feature_shards

    def interrupted(pixels: np.ndarray, *arguments: object) -> object:
        described.append(len(pixels))
        if len(described) == stops_at:
            raise KeyboardInterrupt
        return real(pixels, *arguments)

    monkeypatch.setattr(sharded_extraction, "feature_shards", interrupted)
    with pytest.raises(KeyboardInterrupt):
        extract_on_workers(IN_PROCESS, tiles, build_backbone(SPEC), work, tmp_path / "out")
    (waiting,) = (tmp_path / "out").glob("shards-*")
    if stops_at == 4:  # as if another worker had done the last shard ahead of the killed one
        values = extract_features(tiles[30:], SPEC, options=OPTIONS).values
        np.save(waiting / "30.npy", values)
    features = extract_on_workers(IN_PROCESS, tiles, build_backbone(SPEC), work, tmp_path / "out")
    assert len(described) == (4 if stops_at == 4 else 5)
    np.testing.assert_array_equal(features.values, extract_features(tiles, SPEC, options=OPTIONS).values)


def test_what_one_process_began_workers_continue_and_the_other_way_round(
    tiles: Tiles, work: ExtractWork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sharded_extraction.feature_shards
    calls: list[int] = []

    def interrupted(pixels: np.ndarray, *arguments: object) -> object:
        calls.append(len(pixels))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(pixels, *arguments)

    monkeypatch.setattr(sharded_extraction, "feature_shards", interrupted)
    with pytest.raises(KeyboardInterrupt):
        extract_on_workers(IN_PROCESS, tiles, build_backbone(SPEC), work, tmp_path / "out")
    alone = extract_features(tiles, SPEC, out=tmp_path / "out", options=OPTIONS)
    np.testing.assert_array_equal(alone.values, extract_features(tiles, SPEC, options=OPTIONS).values)
    assert not list((tmp_path / "out").glob("shards-*"))
    extract_on_workers(IN_PROCESS, tiles, build_backbone(SPEC), work, tmp_path / "out")
    assert len(calls) == 3


def test_other_weights_begin_anew(tiles: Tiles, work: ExtractWork, tmp_path: Path) -> None:
    extract_on_workers(IN_PROCESS, tiles, build_backbone(SPEC), work, tmp_path / "out")
    other = dataclasses.replace(SPEC, seed=1)
    features = extract_on_workers(IN_PROCESS, tiles, build_backbone(other), work, tmp_path / "out")
    np.testing.assert_array_equal(features.values, extract_features(tiles, other, options=OPTIONS).values)


def test_whole_images_are_read_by_the_workers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(9):
        path = tmp_path / "images" / "class" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20 + 3 * (number % 2), 30, 3), np.uint8)).save(path)
    names = [f"class/{number}.png" for number in range(9)]
    tiles = Tiles(np.zeros((9, 1, 1, 3), np.uint8), pd.DataFrame({"id": np.arange(9), "raster": names}))
    spec = BackboneSpec("resnet10t", preprocess="whole", pool="spoc", whole_px=32)
    images = WholeImages.of_tiles(tmp_path / "images", tiles.table, 32)
    np.save(tmp_path / "pixels.npy", tiles.pixels)
    options = dataclasses.replace(OPTIONS, shard_tiles=4)
    part = ExtractWork(tmp_path / "pixels.npy", options, images).part(4, 8).images
    assert part is not None
    assert part.folder.names == part.names == tuple(names[4:8])
    work = ExtractWork(tmp_path / "pixels.npy", options, images)
    features = extract_on_workers(IN_PROCESS, tiles, build_backbone(spec), work, tmp_path / "out")
    alone = extract_features(tiles, spec, options=options, images=images)
    np.testing.assert_array_equal(features.values, alone.values)
    assert can_share(images)
    assert can_share(None)
    joined = join_shards(list_images(tmp_path / "images"), [])
    assert not can_share(WholeImages.of_tiles(joined, tiles.table, 32))


def test_workers_that_would_compute_otherwise_are_refused(
    tiles: Tiles, work: ExtractWork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, plans = sharded_extraction.plan_extraction, []

    def plan(*arguments: object, **options: object) -> object:
        plans.append(real(*arguments, **options))
        return plans[-1] if len(plans) == 1 else dataclasses.replace(plans[0], use_bf16=True)

    monkeypatch.setattr(sharded_extraction, "plan_extraction", plan)
    with pytest.raises(SuiteError, match=r"computes as 'cpu True .* another worker as 'cpu False .* Set device and"):
        extract_on_workers(IN_PROCESS, tiles, build_backbone(SPEC), work, tmp_path / "out")


def test_workers_that_have_other_weights_are_refused(
    tiles: Tiles, work: ExtractWork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = dataclasses.replace(SPEC, seed=1)
    monkeypatch.setattr(sharded_extraction, "build_backbone", lambda spec: build_backbone(other))
    with pytest.raises(CheckpointError, match="gives other weights on"):
        extract_on_workers(IN_PROCESS, tiles, build_backbone(SPEC), work, tmp_path / "out")


def test_impossible_work_is_refused_and_the_machine_named(tiles: Tiles, work: ExtractWork, tmp_path: Path) -> None:
    backbone = build_backbone(SPEC)
    with pytest.raises(CorpusError, match="no tiles"):
        extract_on_workers(IN_PROCESS, tiles[[]], backbone, work, tmp_path / "out")
    impossible = dataclasses.replace(work, options=dataclasses.replace(OPTIONS, batch=0))
    with pytest.raises(SuiteError, match=r"^\S+: extraction: batch = 0 must be at least 1"):
        extract_on_workers(IN_PROCESS, tiles, backbone, impossible, tmp_path / "out")
