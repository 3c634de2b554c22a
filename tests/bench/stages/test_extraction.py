import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bench.measuring.process_memory import MemoryReading
from bench.stages import extraction
from bench.stages.base import Cut
from bench.stages.extraction import extract_timed
from ris_core.backbone import BackboneSpec, build_backbone
from ris_core.cluster import InProcess
from ris_core.feature_batches import ExtractOptions
from ris_core.records import Features, Tiles
from ris_core.training.flops import count_flops

SPEC = BackboneSpec(
    arch={"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}, preprocess="native"
)
OPTIONS = ExtractOptions(device="cpu", precision="fp32")


def cut_of(n: int = 20, folder: Path = Path()) -> Cut:
    pixels = np.random.default_rng(0).integers(0, 256, (n, 16, 16, 3), np.uint8)
    tiles = Tiles(pixels, pd.DataFrame({"id": np.arange(n)}))
    return Cut(tiles, "key", np.arange(n), np.arange(n), folder=folder)


def test_notes_follow_from_the_features_and_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "peak_flops", lambda device, use_bf16: 1e9)
    notes = extract_timed(cut_of(), SPEC, tmp_path, OPTIONS, False)
    features, backbone = Features.open(tmp_path), build_backbone(SPEC)
    assert (notes["n"], notes["d"], notes["parameters"]) == (20, 24, backbone.parameters_count)
    assert notes["flops"] == count_flops(backbone, 16)
    assert notes["tiles_per_s"] == pytest.approx(20 / notes["extract_s"])
    left_out = 4 * (2 * 10 * 24**2 + 2 * 2 * 5 * 24)  # what the last block does not compute for the four patches
    assert notes["mfu"] == pytest.approx(notes["tiles_per_s"] * (notes["flops"] - left_out) / 1e9)
    assert notes["norm_mean"] == pytest.approx(np.linalg.norm(features.values, axis=1).mean(), rel=1e-5)


def test_peak_is_that_of_the_threads_that_extract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, wanted = [], torch.get_num_threads() + 1
    monkeypatch.setattr(extraction, "peak_flops", lambda *settings: seen.append(torch.get_num_threads()) or 1e9)
    extract_timed(cut_of(), SPEC, tmp_path, dataclasses.replace(OPTIONS, threads=wanted), False)
    assert seen == [wanted]


def test_colour_computes_no_products(tmp_path: Path) -> None:
    notes = extract_timed(cut_of(), BackboneSpec("colour", preprocess="native"), tmp_path, OPTIONS, False)
    assert (notes["flops"], notes["mfu"]) == (0, None)


def test_memory_is_the_peak_between_start_and_end_of_extraction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, real = [], extraction.extract_features

    def extract(*arguments: object, **options: object) -> Features:
        told.append("extract")
        return real(*arguments, **options)

    monkeypatch.setattr(extraction, "reset_peak", lambda: told.append("reset") or True)
    monkeypatch.setattr(extraction, "extract_features", extract)
    reading = MemoryReading(1, peak_rss_bytes=7_000_000, anonymous_bytes=1)
    monkeypatch.setattr(extraction, "read_memory", lambda: told.append("read") or reading)
    assert extract_timed(cut_of(), SPEC, tmp_path, OPTIONS, False)["extract_peak_mb"] == 7
    assert told == ["reset", "extract", "read"]


def test_memory_that_the_system_does_not_tell_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "reset_peak", lambda: False)
    notes = extract_timed(cut_of(), SPEC, tmp_path, OPTIONS, False)
    assert notes["extract_peak_mb"] is None


def test_rates_are_noted_where_one_process_did_all_of_the_work_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "peak_flops", lambda device, use_bf16: 1e9)
    rates = ("extract_s", "tiles_per_s", "mfu", "extract_peak_mb")
    cut = cut_of(20, tmp_path)
    np.save(tmp_path / "pixels.npy", cut.tiles.pixels)
    alone = extract_timed(cut, SPEC, tmp_path / "alone", OPTIONS)
    assert all(alone[name] > 0 for name in rates)
    assert "workers" not in alone
    continued = extract_timed(cut, SPEC, tmp_path / "alone", OPTIONS)
    assert [continued[name] for name in rates] == [None] * 4
    shared = extract_timed(cut, SPEC, tmp_path / "shared", OPTIONS, cluster=InProcess())
    assert [shared[name] for name in rates] == [None] * 4
    assert (shared["workers"], shared["n"], shared["flops"]) == (1, 20, alone["flops"])
    assert shared["workers_s"] > 0
    np.testing.assert_array_equal(Features.open(tmp_path / "shared").values, Features.open(tmp_path / "alone").values)
