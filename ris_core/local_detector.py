"""AMES' detector: which places of a network's map are worth keeping, and what they are described by."""

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from ris_core.errors import CheckpointError
from ris_core.weights import check_fit, read_state

PUBLISHED = "http://ptak.felk.cvut.cz/personal/sumapave/public/ames/networks"


class LocalDetector(nn.Module):
    """Two convolutions of one pixel: what the first one gives describes a place, the second one says how strong it is.

    Args:
        d: Channels of the map.

    Source:
        Cao, Araujo and Sim 2020, DELG, arXiv:2001.05027, as trained and named by Suma et al. 2024 for AMES
        (github.com/pavelsuma/ames, ``extract/spatial_attention_2d.py``). Differs: only evaluation.
    """

    def __init__(self, d: int) -> None:
        super().__init__()
        self.conv1, self.bn, self.conv2 = nn.Conv2d(d, d, 1), nn.BatchNorm2d(d), nn.Conv2d(d, 1, 1)

    def forward(self, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(b, d, rows, cols) -> descriptors of the same shape, and (b, rows, cols) strengths of at least 0."""
        described = self.bn(self.conv1(maps))
        return described, functional.softplus(self.conv2(functional.relu(described)))[:, 0]


def load_detector(path: Path) -> LocalDetector:
    """The detector of a published file, all of its weights, in evaluation mode.

    Raises:
        CheckpointError: If the file is missing, damaged or of another network.
    """
    state = read_state(path)
    first = state.get("conv1.weight")
    if first is None or first.ndim != 4:
        raise CheckpointError(f"{path}: no weights of a detector: conv1.weight is missing. Name one of {PUBLISHED}.")
    detector = LocalDetector(len(first))
    check_fit(detector.state_dict(), state, path, f"Name one of {PUBLISHED}.")
    detector.load_state_dict(state)
    return detector.eval()
