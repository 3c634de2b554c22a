"""Places that two images share, by networks of kornia with weights from a file; nothing is fetched."""

import dataclasses
import importlib
from pathlib import Path

import numpy as np
import torch

from ris_core.rerank.sift import Keypoints, find_keypoints, grey_image, root_sift
from ris_core.weights import check_fit, read_state


class LightGlueMatcher:
    """SIFT keypoints, matched by a transformer that was trained on them.

    Source: Lindenberger, Sarlin and Pollefeys 2023, LightGlue, arXiv:2306.13643, as kornia computes it.
    """

    def __init__(self, weights: Path, most: int, least_px: int, published: str) -> None:
        feature = importlib.import_module("kornia.feature")  # optional
        self._most, self._least_px = most, least_px
        # Its name would make kornia fetch weights; what follows is what kornia sets under that name.
        self._network = feature.LightGlue(None, input_dim=128, add_scale_ori=True, flash=False)
        own = self._network.state_dict()
        state = {_present_name(name): weight for name, weight in read_state(weights).items()}
        computed = {name: own[name] for name in ("confidence_thresholds",) if name not in state}
        _load(self._network, {**state, **computed}, weights, published)

    def describe(self, pixels: np.ndarray) -> Keypoints:
        """Keypoints of a (s, s, 3) uint8 tile."""
        return find_keypoints(pixels, self._most, self._least_px)

    def match(self, first: Keypoints, second: Keypoints) -> tuple[np.ndarray, np.ndarray]:
        """(m, 2) float32 places in both images."""
        if not len(first) or not len(second):
            return np.empty((0, 2), np.float32), np.empty((0, 2), np.float32)
        with torch.inference_mode():
            found = self._network({"image0": _as_input(first), "image1": _as_input(second)})
        pairs = found["matches"][0].numpy()
        return first.xy[pairs[:, 0]], second.xy[pairs[:, 1]]


def _as_input(found: Keypoints) -> dict[str, torch.Tensor]:
    """Keypoints as kornia's LightGlue takes them; unit RootSIFT, scales in pixels, orientations in radians."""
    most = found.side_px - 1  # OpenCV refines places by up to half a pixel beyond the border
    return {
        "keypoints": torch.from_numpy(found.xy.clip(0, most))[None],
        "descriptors": torch.from_numpy(root_sift(found.descriptors))[None],
        "scales": torch.from_numpy(found.size_px)[None],
        "oris": torch.from_numpy(np.deg2rad(found.angle_deg).astype(np.float32))[None],
        "image_size": torch.tensor([[found.side_px, found.side_px]]),
    }


def _present_name(name: str) -> str:
    """A published weight's name as the network has it: self_attn.3.x became transformers.3.self_attn.x."""
    kind, _, rest = name.partition(".")
    if kind not in ("self_attn", "cross_attn"):
        return name
    layer, _, weight = rest.partition(".")
    return f"transformers.{layer}.{kind}.{weight}"


def _load(network: torch.nn.Module, state: dict[str, torch.Tensor], path: Path, published: str) -> None:
    """Load all weights or raise; the network is then in evaluation mode."""
    check_fit(network.state_dict(), state, path, f"Name {published}.")
    network.load_state_dict(state)
    network.eval()


@dataclasses.dataclass(frozen=True, eq=False)
class Grey:
    """A tile as LoFTR takes it: (1, 1, s, s) uint8."""

    image: torch.Tensor

    @property
    def nbytes(self) -> int:
        """Bytes of the image."""
        return self.image.nbytes


class LoftrMatcher:
    """Matches everywhere on the images' coarse maps, without keypoints.

    Source: Sun et al. 2021, LoFTR, arXiv:2104.00680, as kornia computes it.
    """

    def __init__(self, weights: Path, least_px: int, published: str) -> None:
        feature = importlib.import_module("kornia.feature")  # optional
        self._least_px = least_px
        self._network = feature.LoFTR(pretrained=None)
        _load(self._network, read_state(weights), weights, published)

    def describe(self, pixels: np.ndarray) -> Grey:
        """The (s, s, 3) uint8 tile in grey, enlarged where it is small."""
        return Grey(torch.from_numpy(grey_image(pixels, self._least_px))[None, None])

    def match(self, first: Grey, second: Grey) -> tuple[np.ndarray, np.ndarray]:
        """(m, 2) float32 places in both images."""
        with torch.inference_mode():
            found = self._network({"image0": first.image / 255, "image1": second.image / 255})
        return found["keypoints0"].numpy(), found["keypoints1"].numpy()
