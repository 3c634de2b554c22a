import dataclasses
import importlib.util

import numpy as np
import pandas as pd
import pytest
import torch

from ris_core.backbone import BackboneSpec, build_backbone
from ris_core.class_token import class_token_only
from ris_core.errors import SuiteError
from ris_core.feature_batches import ExtractOptions, plan_extraction
from ris_core.features import extract_features
from ris_core.preprocess import prepare
from ris_core.records import Tiles

ARCH = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
SPEC = BackboneSpec(arch=ARCH, preprocess="native")
OPTIONS = ExtractOptions(batch=4, shard_tiles=10, device="cpu", precision="fp32")
OPENVINO = dataclasses.replace(OPTIONS, backend="openvino")


def tiles_of(n: int = 37) -> Tiles:
    pixels = np.random.default_rng(0).integers(0, 256, (n, 16, 16, 3), np.uint8)
    return Tiles(pixels, pd.DataFrame({"id": np.arange(n)}))


def least_cosine(one: np.ndarray, other: np.ndarray) -> float:
    a, b = (values.astype(np.float64) for values in (one, other))
    return float(((a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min())


def test_default_path_changes_nothing_but_rounding() -> None:
    backbone = build_backbone(SPEC).eval()
    tiles = tiles_of()
    with torch.inference_mode():
        plain = backbone(prepare(tiles.pixels, "native")).numpy()
    features = extract_features(tiles, backbone, options=dataclasses.replace(OPTIONS, batch=None)).values
    np.testing.assert_allclose(features, plain, atol=1e-5)
    assert least_cosine(features, plain) > 1 - 1e-6


def test_batches_never_cross_shards_and_cover_all() -> None:
    plan = plan_extraction(OPTIONS, 23)
    spans = [(0, 4), (4, 8), (8, 10), (10, 14), (14, 18), (18, 20), (20, 23)]
    assert plan.spans(0, 23) == spans
    assert plan.spans(10, 23) == spans[3:]
    assert plan.spans(23, 23) == []
    assert plan.rows(8, 10).tolist() == [8, 9]


def test_batches_of_a_gpu_have_one_shape() -> None:
    plan = dataclasses.replace(plan_extraction(OPTIONS, 23), device=torch.device("cuda"))
    assert [plan.rows(*span).tolist() for span in plan.spans(20, 23)] == [[20, 21, 22, 22]]
    assert {len(plan.rows(*span)) for span in plan.spans(0, 23)} == {4}


def test_batch_follows_the_device_and_the_tiles() -> None:
    assert plan_extraction(ExtractOptions(device="cpu"), 1000).batch == 16
    assert plan_extraction(ExtractOptions(device="cuda"), 1000).batch == 256
    assert plan_extraction(ExtractOptions(device="cuda"), 100).batch == 100
    assert plan_extraction(ExtractOptions(device="cuda", batch=64), 1000).batch == 64


def test_compiling_is_for_many_tiles_on_a_gpu() -> None:
    def compiles(n: int, **settings: str) -> bool:
        return plan_extraction(ExtractOptions(**settings), n).compiles

    assert compiles(1_000_000, device="cuda")
    assert not compiles(999_999, device="cuda")
    assert not compiles(10**9, device="cpu")
    assert compiles(5, device="cpu", compile="on")
    assert not compiles(10**9, device="cuda", compile="off")
    assert not compiles(5, compile="on", backend="openvino")


def test_compiled_network_is_the_one_that_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def compiled(network: torch.nn.Module, **settings: object) -> object:
        assert settings == {"dynamic": False}
        return lambda images: asked.append(len(images)) or network(images)

    monkeypatch.setattr(torch, "compile", compiled)
    options = dataclasses.replace(OPTIONS, compile="on")
    values = extract_features(tiles_of(), SPEC, options=options).values
    assert sum(asked) == 37
    np.testing.assert_array_equal(values, extract_features(tiles_of(), SPEC, options=OPTIONS).values)


def test_memory_of_the_cpu_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(pixels: torch.Tensor, name: str, device: torch.device) -> torch.Tensor:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr("ris_core.feature_batches.prepare", exhausted)
    with pytest.raises(SuiteError, match=r"batch = 4 exceeds the memory of cpu for vit_tiny_patch16_224\. Choose half"):
        extract_features(tiles_of(), SPEC, options=OPTIONS)


def test_backend_has_its_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    (fault,) = ExtractOptions(backend="onnx").faults()
    assert "'onnx' is unknown; known: torch, openvino" in fault
    (fault,) = ExtractOptions(compile="yes").faults()
    assert "'yes' is unknown; known: auto, on, off" in fault
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr("ris_core.device._cpu_flags", lambda: frozenset({"avx2"}))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    told = ExtractOptions(backend="openvino", device="cuda", precision="bf16").faults()
    for fault, part in zip(told, ("computes on the CPU", "multiplies in bf16", r"ris-bench[openvino]"), strict=True):
        assert part in fault
    with pytest.raises(SuiteError, match="the package is not installed"):
        extract_features(tiles_of(), SPEC, options=OPENVINO)


needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")


@needs_openvino
@pytest.mark.parametrize(
    "spec",
    [
        SPEC,
        BackboneSpec(arch={**ARCH, "reg_tokens": 2}, preprocess="native", pool="cls_gem"),
        BackboneSpec(arch={**ARCH, "img_size": 32}, preprocess="native", pool="mean"),  # positions resampled
        BackboneSpec("colour", preprocess="native"),
    ],
)
def test_openvino_gives_the_features_of_torch(spec: BackboneSpec) -> None:
    tiles = tiles_of()
    expected = extract_features(tiles, spec, options=OPTIONS).values
    values = extract_features(tiles, spec, options=OPENVINO).values
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, expected, atol=0.01)
    assert least_cosine(values, expected) > 1 - 1e-6


@needs_openvino
def test_openvino_leaves_the_backbone_alone() -> None:
    backbone = build_backbone(SPEC)
    names = list(backbone.state_dict())
    extract_features(tiles_of(5), backbone, options=OPENVINO)
    assert backbone.training
    assert list(backbone.state_dict()) == names
    with class_token_only(backbone):  # nothing of it is left behind
        assert list(backbone.state_dict()) != names


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("compiling", ["off", "on"])
def test_gpu_with_an_uneven_end_gives_the_features_of_the_cpu(compiling: str) -> None:
    """Three shards, the last batch filled up: each row is its own tile's."""
    cpu = extract_features(tiles_of(), SPEC, options=OPTIONS).values
    options = dataclasses.replace(OPTIONS, device="cuda", compile=compiling)
    values = extract_features(tiles_of(), SPEC, options=options).values
    np.testing.assert_allclose(values, cpu, atol=0.02)
    again = extract_features(tiles_of(), SPEC, options=options).values
    np.testing.assert_array_equal(again, values)
