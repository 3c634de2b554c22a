import dataclasses
import errno
import json
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import ris_core.feature_batches
from ris_core.backbone import Backbone, BackboneSpec, build_backbone
from ris_core.errors import ArtifactError, CheckpointError, CorpusError, SuiteError
from ris_core.features import ExtractOptions, extract_features
from ris_core.preprocess import prepare
from ris_core.records import Features, Tiles

ARCH = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
SPEC = BackboneSpec(arch=ARCH, preprocess="native")
OPTIONS = ExtractOptions(batch=4, shard_tiles=10, device="cpu", precision="fp32")


def tiles_of(n: int = 37, seed: int = 0) -> Tiles:
    pixels = np.random.default_rng(seed).integers(0, 256, (n, 16, 16, 3), np.uint8)
    return Tiles(pixels, pd.DataFrame({"id": np.arange(n) * 3 + 5}))


def test_features_are_those_of_one_pass_in_order() -> None:
    tiles, backbone = tiles_of(), build_backbone(SPEC)
    with torch.inference_mode():
        expected = backbone.eval()(prepare(tiles.pixels, "native")).numpy()
    features = extract_features(tiles, SPEC, options=OPTIONS)
    np.testing.assert_allclose(features.values, expected, atol=1e-5)
    np.testing.assert_array_equal(features.ids, tiles.ids)
    assert features.space == "raw"


def test_batches_and_shards_do_not_matter() -> None:
    tiles = tiles_of()
    one = extract_features(tiles, SPEC, options=OPTIONS).values
    for batch, shard_tiles in ((1, 100), (37, 37), (5, 7), (256, 4096)):
        options = dataclasses.replace(OPTIONS, batch=batch, shard_tiles=shard_tiles)
        np.testing.assert_allclose(extract_features(tiles, SPEC, options=options).values, one, atol=1e-5)


def test_tiles_are_read_two_batches_ahead_and_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    read, seen, ahead = [], [], []

    class Watched(np.ndarray):
        def take(self, rows: np.ndarray, **arguments: object) -> np.ndarray:
            read.append(len(rows))
            return np.asarray(self).take(rows, **arguments)

    def watched(pixels: torch.Tensor, name: str, device: torch.device) -> torch.Tensor:
        time.sleep(0.01)  # let the reader run ahead
        ahead.append(len(read) - len(seen))
        seen.append(len(pixels))
        return prepare(pixels, name, device)

    monkeypatch.setattr(ris_core.feature_batches, "prepare", watched)
    tiles = Tiles(tiles_of().pixels.view(Watched), tiles_of().table)
    extract_features(tiles, SPEC, options=OPTIONS)
    assert seen == read == [4, 4, 2] * 3 + [4, 3]
    assert max(ahead) == 3  # this one and two further ones


def test_colour_features_are_those_of_numpy() -> None:
    tiles = tiles_of()
    features = extract_features(tiles, BackboneSpec("colour", preprocess="native"), options=OPTIONS)
    scaled = (tiles.pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    expected = np.concatenate([scaled.mean(axis=(1, 2)), scaled.std(axis=(1, 2))], axis=1)
    np.testing.assert_allclose(features.values, expected, atol=1e-5)


def test_features_on_disk_are_those_in_memory(tmp_path: Path) -> None:
    tiles = tiles_of()
    stored = extract_features(tiles, SPEC, out=tmp_path / "new" / "features", options=OPTIONS)
    np.testing.assert_array_equal(stored.values, extract_features(tiles, SPEC, options=OPTIONS).values)
    opened = Features.open(tmp_path / "new" / "features")
    np.testing.assert_array_equal(opened.values, stored.values)
    np.testing.assert_array_equal(opened.ids, tiles.ids)
    assert opened.space == "raw"


class Counting(Backbone):
    """Counts the images that pass, and is interrupted before the given one."""

    seen = 0
    interrupt_at = 10**9

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.seen + len(images) > self.interrupt_at:
            raise KeyboardInterrupt
        self.seen += len(images)
        return super().forward(images)


def counting(interrupt_at: int = 10**9, spec: BackboneSpec = SPEC) -> Counting:
    backbone = Counting(spec, build_backbone(spec).network)
    backbone.interrupt_at = interrupt_at
    return backbone


@pytest.mark.parametrize(("interrupt_at", "kept"), [(0, 0), (9, 0), (10, 10), (25, 20), (36, 30)])
def test_interrupted_work_is_continued_bit_for_bit(tmp_path: Path, interrupt_at: int, kept: int) -> None:
    tiles = tiles_of()
    with pytest.raises(KeyboardInterrupt):
        extract_features(tiles, counting(interrupt_at), out=tmp_path / "cut", options=OPTIONS)
    rest = counting()
    continued = extract_features(tiles, rest, out=tmp_path / "cut", options=OPTIONS)
    assert rest.seen == len(tiles) - kept
    extract_features(tiles, counting(), out=tmp_path / "undisturbed", options=OPTIONS)
    assert (tmp_path / "cut/features.npy").read_bytes() == (tmp_path / "undisturbed/features.npy").read_bytes()
    np.testing.assert_array_equal(continued.ids, tiles.ids)


def test_finished_work_is_not_done_again(tmp_path: Path) -> None:
    tiles, again = tiles_of(), counting()
    first = extract_features(tiles, SPEC, out=tmp_path, options=OPTIONS).values.copy()
    np.testing.assert_array_equal(extract_features(tiles, again, out=tmp_path, options=OPTIONS).values, first)
    assert again.seen == 0


@pytest.mark.parametrize(
    "change", ["weights", "pixels", "ids", "batch", "shards", "preprocess", "truncated", "garbled"]
)
def test_other_or_damaged_work_is_done_from_the_start(tmp_path: Path, change: str) -> None:
    tiles, spec, options = tiles_of(), SPEC, OPTIONS
    with pytest.raises(KeyboardInterrupt):
        extract_features(tiles, counting(25), out=tmp_path, options=options)
    if change == "weights":
        spec = dataclasses.replace(spec, seed=1)
    elif change == "pixels":
        tiles = tiles_of(seed=1)
    elif change == "ids":
        tiles = Tiles(tiles.pixels, tiles.table + 1)
    elif change == "batch":
        options = dataclasses.replace(options, batch=5)
    elif change == "shards":
        options = dataclasses.replace(options, shard_tiles=20)
    elif change == "preprocess":
        spec = dataclasses.replace(spec, preprocess="native_half")
    elif change == "truncated":
        os.truncate(tmp_path / "features.npy", 200)
    else:
        (tmp_path / "progress.json").write_text('{"rows": 2')
    backbone = counting(spec=spec)
    features = extract_features(tiles, backbone, out=tmp_path, options=options)
    assert backbone.seen == len(tiles)
    np.testing.assert_array_equal(features.values, extract_features(tiles, spec, options=options).values)


def test_half_done_work_does_not_open_as_whole(tmp_path: Path) -> None:
    extract_features(tiles_of(), SPEC, out=tmp_path, options=OPTIONS)
    other = counting(25, dataclasses.replace(SPEC, seed=1))
    with pytest.raises(KeyboardInterrupt):
        extract_features(tiles_of(), other, out=tmp_path, options=OPTIONS)
    with pytest.raises(ArtifactError, match="no features to be read"):
        Features.open(tmp_path)


def test_backbone_comes_back_as_it_was() -> None:
    backbone = build_backbone(SPEC, drop_path=0.5)
    weights = {name: weight.clone() for name, weight in backbone.state_dict().items()}
    first = extract_features(tiles_of(), backbone, options=OPTIONS)
    assert backbone.training
    assert all(torch.equal(weight, weights[name]) for name, weight in backbone.state_dict().items())
    assert all(weight.requires_grad for weight in backbone.parameters())
    np.testing.assert_array_equal(extract_features(tiles_of(), backbone.eval(), options=OPTIONS).values, first.values)
    assert not backbone.training
    broken = counting(interrupt_at=0)
    with pytest.raises(KeyboardInterrupt):
        extract_features(tiles_of(), broken, options=OPTIONS)
    assert broken.training


def test_threads_are_set_and_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    before, seen = torch.get_num_threads(), []
    backbone = counting()
    monkeypatch.setattr(
        Counting, "forward", lambda self, x: seen.append(torch.get_num_threads()) or Backbone.forward(self, x)
    )
    extract_features(tiles_of(), backbone, options=dataclasses.replace(OPTIONS, threads=before + 1))
    assert set(seen) == {before + 1}
    assert torch.get_num_threads() == before


def test_bf16_stays_close_and_gives_float32() -> None:
    exact = extract_features(tiles_of(), SPEC, options=OPTIONS).values
    rounded = extract_features(tiles_of(), SPEC, options=dataclasses.replace(OPTIONS, precision="bf16")).values
    assert rounded.dtype == np.float32
    assert not np.array_equal(rounded, exact)
    cosines = (rounded * exact).sum(axis=1) / np.linalg.norm(rounded, axis=1) / np.linalg.norm(exact, axis=1)
    assert cosines.min() > 0.999


@pytest.mark.parametrize("flag", ["avx512_bf16", "amx_bf16", None])
def test_auto_precision_follows_the_cpu(monkeypatch: pytest.MonkeyPatch, flag: str | None) -> None:
    monkeypatch.setattr("ris_core.device._cpu_flags", lambda: frozenset({"avx2", flag}))
    values = {
        precision: extract_features(tiles_of(), SPEC, options=dataclasses.replace(OPTIONS, precision=precision)).values
        for precision in ("auto", "bf16", "fp32")
    }
    np.testing.assert_array_equal(values["auto"], values["bf16" if flag else "fp32"])


def test_faults_are_told_at_once() -> None:
    options = ExtractOptions(batch=0, device="tpu", precision="fp8", threads=0, shard_tiles=-1)
    assert len(options.faults()) == 5
    with pytest.raises(SuiteError, match=r"batch = 0 must.*'fp8' is unknown.*'tpu' is unknown"):
        extract_features(tiles_of(), SPEC, options=options)
    assert ExtractOptions().faults() == []


def test_absent_cuda_device_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(SuiteError, match=r"no CUDA device here\. Set device to 'cpu' or 'auto'"):
        extract_features(tiles_of(), SPEC, options=ExtractOptions(device="cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert "sees 2 CUDA devices" in ExtractOptions(device="cuda:2").faults()[0]


def test_nothing_to_describe_is_refused() -> None:
    with pytest.raises(CorpusError, match="no tiles"):
        extract_features(tiles_of()[[]], SPEC)
    with pytest.raises(CorpusError, match="do not divide into the 7 px patches"):
        extract_features(tiles_of(), BackboneSpec(arch={**ARCH, "img_size": 14, "patch_size": 7}, preprocess="native"))


def test_diverged_backbone_is_told_with_the_tile() -> None:
    backbone = build_backbone(SPEC)
    torch.nn.init.constant_(backbone.network.norm.bias, float("nan"))
    with pytest.raises(CheckpointError, match="first for tile 5"):
        extract_features(tiles_of(), backbone, options=OPTIONS)


def test_full_memory_names_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(self: Backbone, images: torch.Tensor) -> torch.Tensor:
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(Counting, "forward", exhausted)
    with pytest.raises(SuiteError, match="batch = 4 exceeds the memory of cpu"):
        extract_features(tiles_of(), counting(), options=OPTIONS)


def test_full_disk_is_told_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    backbone = counting()
    with pytest.raises(ArtifactError, match="Free some space"):
        extract_features(tiles_of(), backbone, out=tmp_path, options=OPTIONS)
    assert backbone.seen == 0


def test_progress_goes_to_stderr_on_demand(capfd: pytest.CaptureFixture[str]) -> None:
    extract_features(tiles_of(), SPEC, options=OPTIONS)
    assert capfd.readouterr() == ("", "")
    extract_features(tiles_of(), SPEC, options=OPTIONS, progress=True)
    output = capfd.readouterr()
    assert output.out == ""
    assert "37/37" in output.err


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_gives_the_features_of_the_cpu() -> None:
    spec = dataclasses.replace(SPEC, preprocess="thesis")
    cpu = extract_features(tiles_of(), spec, options=OPTIONS).values
    for precision, atol in (("fp32", 0.02), ("bf16", 0.1)):
        options = dataclasses.replace(OPTIONS, device="cuda", precision=precision)
        np.testing.assert_allclose(extract_features(tiles_of(), spec, options=options).values, cpu, atol=atol)


@pytest.mark.parametrize("rows", [None, "x", True, 10.0, -10, 13, 38])
def test_rows_that_no_run_writes_are_not_believed(tmp_path: Path, rows: object) -> None:
    first = extract_features(tiles_of(), SPEC, out=tmp_path, options=OPTIONS).values.copy()
    content = json.loads((tmp_path / "progress.json").read_text())
    (tmp_path / "progress.json").write_text(json.dumps(content | {"rows": rows}))
    np.lib.format.open_memmap(tmp_path / "features.npy", mode="r+")[:] = 0
    np.testing.assert_array_equal(extract_features(tiles_of(), SPEC, out=tmp_path, options=OPTIONS).values, first)
