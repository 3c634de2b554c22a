"""Everything that a training needs to go on where it was, in memory and on disk."""

import dataclasses
import hashlib
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ris_core.artifacts import disk_error
from ris_core.backbone import BackboneSpec
from ris_core.dino import DinoLoss, DinoNetwork, make_networks, parameter_groups
from ris_core.errors import CheckpointError
from ris_core.recipe import DinoRecipe
from ris_core.records import Tiles

STATE = "training.pt"
SUMS = ("loss", "teacher_entropy", "kl", "dominance")  # of `DinoLossParts`
_KEY_TILES = 16  # evenly spaced tiles whose pixels enter a training's key


def training_key(tiles: Tiles, rows: np.ndarray, spec: BackboneSpec, recipe: DinoRecipe) -> str:
    """Identity of a training: 16 hexadecimal digits that change with recipe, backbone, or the tiles of ``rows``."""
    parameters = [dataclasses.asdict(spec), dataclasses.asdict(recipe), tiles.size_px]
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True, default=str).encode() + tiles.ids[rows].tobytes())
    for place in np.linspace(0, len(rows) - 1, min(len(rows), _KEY_TILES)).astype(int):
        digest.update(tiles.pixels[rows[place]].tobytes())
    return digest.hexdigest()[:16]


@dataclasses.dataclass(eq=False)
class TrainingState:
    """A training under way.

    Attributes:
        key: See `training_key`.
        student: On the device, like all that follow.
        teacher: Moving average of the student.
        loss: Holds the centre.
        optimizer: Of the student.
        sums: (4,) float64, the sums of `SUMS` over the steps of the current epoch.
        epoch: Current epoch, from 0; the number of epochs when all are done.
        step: Steps done in it.
        epoch_s: Seconds spent in it.
        log: One record for each epoch done.
    """

    key: str
    student: DinoNetwork
    teacher: DinoNetwork
    loss: DinoLoss
    optimizer: torch.optim.Optimizer
    sums: torch.Tensor
    epoch: int = 0
    step: int = 0
    epoch_s: float = 0.0
    log: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    @classmethod
    def start(cls, key: str, spec: BackboneSpec, recipe: DinoRecipe, device: torch.device) -> "TrainingState":
        """The state before the first step; the head's weights come from torch's global generator."""
        student, teacher = (network.to(device).train() for network in make_networks(spec, recipe))
        return cls(
            key=key,
            student=student,
            teacher=teacher,
            loss=DinoLoss(recipe).to(device),
            optimizer=torch.optim.AdamW(parameter_groups(student), lr=0.0, weight_decay=0.0, fused=True),
            sums=torch.zeros(len(SUMS), dtype=torch.float64, device=device),
        )

    def save(self, folder: Path) -> None:
        """Write ``training.pt``: the old one or the new one, whole and on disk.

        Raises:
            ArtifactError: If the disk cannot take it.
        """
        content = {name: getattr(self, name).state_dict() for name in _MODULES}
        content |= {name: getattr(self, name) for name in _VALUES}
        path = folder / STATE
        temporary = folder / f".{STATE}.partial"
        try:
            with temporary.open("wb") as file:
                torch.save(content, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise disk_error(path, error) from error

    def resume(self, folder: Path) -> None:
        """Take over what ``training.pt`` holds; no code is unpickled.

        Raises:
            CheckpointError: If the file is damaged, or of another recipe, backbone or corpus.
        """
        path = folder / STATE
        try:
            # weights_only: tensors and plain containers, nothing that a pickle could call
            content = torch.load(path, map_location="cpu", weights_only=True)
            key, sums = content["key"], content["sums"]
        except (OSError, EOFError, RuntimeError, KeyError, TypeError, pickle.UnpicklingError) as error:
            raise _unreadable(path, str(error).partition(".")[0]) from error
        if key == self.key and sums.shape != self.sums.shape:
            raise _unreadable(path, f"an older version wrote it: {len(sums)} sums, not {len(self.sums)}")
        if key != self.key:
            raise CheckpointError(
                f"{path}: the state of another training; recipe, backbone or tiles differ (key {key}, not {self.key}). "
                "Delete it, or train in another folder."
            )
        for name in _MODULES:
            getattr(self, name).load_state_dict(content[name])
        self.sums.copy_(sums)
        self.epoch, self.step, self.epoch_s = content["epoch"], content["step"], content["epoch_s"]
        self.log = content["log"]


def _unreadable(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"{path}: not a training state that can be read ({reason}). Delete it to train anew.")


_MODULES = ("student", "teacher", "loss", "optimizer")
_VALUES = ("key", "sums", "epoch", "step", "epoch_s", "log")
