import numpy as np
import pandas as pd
import pytest
import torch

from ris_core.attention import last_attention
from ris_core.backbone import BackboneSpec, build_backbone
from ris_core.errors import ArtifactError, CheckpointError, SuiteError
from ris_core.feature_batches import ExtractOptions
from ris_core.local_detector import LocalDetector
from ris_core.local_extraction import extract_local, sign_rotation, strongest_tokens
from ris_core.local_sets import LocalSets, LocalSpec
from ris_core.preprocess import prepare
from ris_core.records import Tiles

VIT = BackboneSpec(
    "vit_tiny_patch16_224",
    {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2},
    preprocess="native",
)
CNN = BackboneSpec("resnet10t", preprocess="native")
SPEC = LocalSpec(count=5, dimensions=8)
CPU = torch.device("cpu")
OPTIONS = ExtractOptions(device="cpu", batch=4)


@pytest.fixture(scope="module")
def tiles() -> Tiles:
    pixels = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), np.uint8)
    return Tiles(pixels, pd.DataFrame({"id": np.arange(10)}))


def test_tokens_are_those_of_the_greatest_norm_in_falling_order(tiles):
    backbone = build_backbone(VIT).eval()
    torch.nn.init.uniform_(backbone.network.norm.weight, 0.1, 2)  # as after training; else all norms are the same
    with torch.inference_mode():
        tokens = backbone.network.forward_features(prepare(tiles.pixels, "native"))[:, 1:]
    norms = tokens.norm(dim=2)
    found = strongest_tokens(backbone, tiles.pixels, SPEC, CPU)
    for tile in range(len(tiles)):
        order = np.argsort(-norms[tile].numpy(), kind="stable")[:5]
        expected = tokens[tile, order] / norms[tile, order, None]
        np.testing.assert_allclose(found[tile], expected, atol=1e-5)


def test_tokens_may_be_those_that_the_class_token_attends_to(tiles):
    backbone = build_backbone(VIT).eval()
    attention = last_attention(backbone, tiles.pixels).mean(axis=1).reshape(10, -1)
    with torch.inference_mode():
        tokens = backbone.network.forward_features(prepare(tiles.pixels, "native"))[:, 1:].numpy()
    found = strongest_tokens(backbone, tiles.pixels, LocalSpec(count=3, strength="attention"), CPU)
    for tile in range(len(tiles)):
        chosen = tokens[tile, np.argsort(-attention[tile], kind="stable")[:3]]
        np.testing.assert_allclose(found[tile], chosen / np.linalg.norm(chosen, axis=1, keepdims=True), atol=1e-5)


def test_maps_of_a_cnn_before_the_last_one_are_larger_and_narrower(tiles):
    backbone = build_backbone(CNN).eval()
    last = strongest_tokens(backbone, tiles.pixels[:2], LocalSpec(count=100), CPU)
    before = strongest_tokens(backbone, tiles.pixels[:2], LocalSpec(count=100, layer=-2), CPU)
    assert last.shape == (2, 1, 512)
    assert before.shape == (2, 4, 256)


def test_extraction_keeps_unit_vectors_of_the_size_that_is_asked_for(tiles, tmp_path):
    sets = extract_local(tiles, VIT, SPEC, tmp_path, options=OPTIONS)
    assert (len(sets), sets.count, sets.dimensions) == (10, 5, 8)
    assert (tmp_path / "local.npy").stat().st_size == 128 + 10 * 5 * 8 * 2
    lengths = np.linalg.norm(sets.strongest(np.arange(10), 5), axis=2)
    np.testing.assert_allclose(lengths, 1, atol=2e-3)


def test_extraction_does_not_depend_on_the_batch_or_on_tiles_it_may_not_know(tiles, tmp_path):
    rows = np.arange(6)
    one = extract_local(tiles, VIT, SPEC, tmp_path / "a", rows, ExtractOptions(device="cpu", batch=1))
    other = extract_local(tiles, VIT, SPEC, tmp_path / "b", rows, OPTIONS)
    fewer = extract_local(tiles[rows], VIT, SPEC, tmp_path / "c", None, OPTIONS)
    np.testing.assert_allclose(one.strongest(np.arange(10), 5), other.strongest(np.arange(10), 5), atol=5e-3)
    np.testing.assert_array_equal(fewer.strongest(rows, 5), other.strongest(rows, 5))


def test_raw_descriptors_are_the_tokens(tiles, tmp_path):
    sets = extract_local(tiles, VIT, LocalSpec(count=5, dimensions=0), tmp_path, options=OPTIONS)
    expected = strongest_tokens(build_backbone(VIT).eval(), tiles.pixels, SPEC, CPU)
    np.testing.assert_allclose(sets.strongest(np.arange(10), 5), expected, atol=1e-3)


def test_binary_descriptors_keep_neighbours_in_a_sixteenth_of_the_bytes(tiles, tmp_path):
    exact = extract_local(tiles, VIT, LocalSpec(count=16, dimensions=16), tmp_path / "a", options=OPTIONS)
    signs = extract_local(
        tiles, VIT, LocalSpec(count=16, dimensions=16, stored="binary"), tmp_path / "b", options=OPTIONS
    )
    assert exact.tile_bytes(16) == 16 * signs.tile_bytes(16)
    whole, short = (sets.strongest(np.arange(10), 16).reshape(-1, 16) for sets in (exact, signs))
    assert np.corrcoef((whole @ whole.T).ravel(), (short @ short.T).ravel())[0, 1] > 0.7


def test_sign_rotation_is_one_and_brings_values_nearer_to_their_signs():
    values = np.random.default_rng(0).standard_normal((300, 6)).astype(np.float32) * [3, 2, 1, 1, 0.5, 0.1]
    rotation = sign_rotation(values)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(6), atol=1e-5)

    def loss(rotated: np.ndarray) -> float:
        return float(np.square(np.sign(rotated) - rotated).sum())

    assert loss(values @ rotation) < 0.9 * loss(values)


def test_a_detector_chooses_and_describes_the_places(tiles, tmp_path):
    torch.manual_seed(0)
    made = LocalDetector(24).eval()
    torch.nn.init.uniform_(made.bn.running_var, 0.5, 2)
    torch.nn.init.normal_(made.bn.running_mean)
    path = tmp_path / "detector.pt"
    torch.save({"state": made.state_dict()}, path)
    backbone = build_backbone(VIT).eval()
    with torch.inference_mode():
        tokens = backbone.network.forward_features(prepare(tiles.pixels, "native"))[:, 1:]
        weight, bias = made.conv1.weight[:, :, 0, 0], made.conv1.bias
        described = (tokens @ weight.T + bias - made.bn.running_mean) / (made.bn.running_var + made.bn.eps).sqrt()
        strength = described.clamp(min=0) @ made.conv2.weight[0, :, 0, 0]
    expected = described / described.norm(dim=2, keepdim=True)
    spec = LocalSpec(count=4, dimensions=0, strength="detector", detector=str(path))
    found = extract_local(tiles, backbone, spec, tmp_path, options=OPTIONS).strongest(np.arange(10), 4)
    for tile in range(10):
        order = np.argsort(-strength[tile].numpy(), kind="stable")[:4]
        np.testing.assert_allclose(found[tile], expected[tile, order], atol=2e-3)


def test_detectors_that_are_none_are_refused(tiles, tmp_path):
    assert "detector = 'absent.pt' is no file" in LocalSpec(strength="detector", detector="absent.pt").faults()[0]
    assert "strength = 'norm' has none" in LocalSpec(detector="absent.pt").faults()[0]
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "linear.pt")
    with pytest.raises(CheckpointError, match=r"conv1\.weight is missing\. Name one of http"):
        extract_local(tiles, VIT, LocalSpec(strength="detector", detector=str(tmp_path / "linear.pt")), tmp_path)


def test_extraction_refuses_what_the_network_does_not_have(tiles, tmp_path):
    with pytest.raises(CheckpointError, match=r"colour has no maps that timm gives out\. Choose"):
        extract_local(tiles, BackboneSpec("colour", preprocess="native"), SPEC, tmp_path)
    with pytest.raises(CheckpointError, match=r"layer = -9 .*Choose one nearer to -1"):
        extract_local(tiles, VIT, LocalSpec(layer=-9), tmp_path)
    with pytest.raises(CheckpointError, match="no attention"):
        extract_local(tiles, CNN, LocalSpec(strength="attention"), tmp_path)
    with pytest.raises(SuiteError, match=r"stored = 'float8' is unknown; known: float16, binary\."):
        extract_local(tiles, VIT, LocalSpec(stored="float8"), tmp_path)


def test_local_sets_of_an_empty_folder_say_what_to_do(tmp_path):
    with pytest.raises(ArtifactError, match="Delete the folder and run again"):
        LocalSets(tmp_path)
