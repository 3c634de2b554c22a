from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("cv2", reason="opencv is optional: pip install 'ris-bench[methods]'")
feature = pytest.importorskip("kornia.feature", reason="kornia is optional: pip install 'ris-bench[methods]'")

from ris_core.errors import CheckpointError  # noqa: E402 - after the skips
from ris_core.rerank.geometric import MATCHERS, GeometricParams  # noqa: E402
from ris_core.rerank.learned_matching import LightGlueMatcher, LoftrMatcher  # noqa: E402
from ris_core.rerank.sift import Keypoints  # noqa: E402

TILES = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)


def published_name(name: str) -> str:
    """A weight's name as the published file of LightGlue has it."""
    parts = name.split(".")
    return ".".join([parts[2], parts[1], *parts[3:]]) if parts[0] == "transformers" else name


@pytest.fixture(scope="module")
def lightglue_file(tmp_path_factory) -> Path:
    """Random weights of two layers in the published names, without the buffer that is computed."""
    torch.manual_seed(0)
    network = feature.LightGlue(None, input_dim=128, add_scale_ori=True, flash=False)
    state = {published_name(n): w for n, w in network.state_dict().items() if n != "confidence_thresholds"}
    assert any(name.startswith("self_attn.0.") for name in state)
    path = tmp_path_factory.mktemp("lightglue") / "sift_lightglue.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def loftr_file(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("loftr") / "loftr_outdoor.ckpt"
    torch.save({"state_dict": feature.LoFTR(pretrained=None).state_dict()}, path)
    return path


def keypoints(n: int, seed: int) -> Keypoints:
    rng = np.random.default_rng(seed)
    xy = rng.uniform(-0.4, 31.4, (n, 2)).astype(np.float32)  # places may lie half a pixel beyond the border
    descriptors = rng.integers(0, 256, (n, 128), np.uint8)
    return Keypoints(xy, descriptors, np.full(n, 4, np.float32), np.full(n, 90, np.float32), 32)


def test_lightglue_loads_the_published_names_and_answers_pairs_of_places(lightglue_file):
    matcher = LightGlueMatcher(lightglue_file, 50, 32, "the file")
    assert not matcher._network.training
    first, second = keypoints(20, 0), keypoints(15, 1)
    places = matcher.match(first, second)
    again = matcher.match(first, second)
    assert places[0].shape == places[1].shape
    for side, found, twice in zip((first, second), places, again, strict=True):
        assert all((side.xy == place).all(axis=1).any() for place in found)
        np.testing.assert_array_equal(found, twice)


def test_lightglue_takes_tiles_without_keypoints(lightglue_file):
    matcher = LightGlueMatcher(lightglue_file, 50, 32, "the file")
    blank = matcher.describe(np.zeros((32, 32, 3), np.uint8))
    assert [len(side) for side in matcher.match(blank, keypoints(5, 0))] == [0, 0]


def test_loftr_loads_its_file_and_answers_places_in_the_images(loftr_file):
    matcher = MATCHERS["loftr"](GeometricParams(matcher="loftr", weights=str(loftr_file), least_px=48))
    assert isinstance(matcher, LoftrMatcher)
    described = [matcher.describe(tile) for tile in TILES]
    assert described[0].nbytes == 48 * 48
    first, second = matcher.match(*described)
    assert first.shape == second.shape
    assert first.shape[1:] == (2,)


def test_weights_of_another_network_are_refused(loftr_file, lightglue_file):
    with pytest.raises(CheckpointError, match=r"does not fit the network.*missing.*Name the file\."):
        LightGlueMatcher(loftr_file, 50, 32, "the file")
    with pytest.raises(CheckpointError, match="does not fit the network"):
        LoftrMatcher(lightglue_file, 32, "the file")
