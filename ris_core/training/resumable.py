"""A training on disk: its identity, the state from which it goes on where it was cut off, and its random draws."""

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from ris_core.artifacts import disk_error
from ris_core.backbone import BackboneSpec
from ris_core.errors import CheckpointError
from ris_core.records import Tiles
from ris_core.training.label_recipe import LabelRecipe
from ris_core.training.recipe import DinoRecipe
from ris_core.weights import DAMAGE

STATE = "training.pt"
_KEY_TILES = 16  # evenly spaced tiles whose pixels enter a training's key
_VALUES = ("key", "sums", "epoch", "step", "epoch_s", "log")


def training_key(
    tiles: Tiles,
    rows: np.ndarray,
    spec: BackboneSpec,
    recipe: DinoRecipe | LabelRecipe,
    labels: np.ndarray | None = None,
) -> str:
    """Identity of a training: 16 hexadecimal digits that change with recipe, backbone, or the tiles of ``rows``.

    Args:
        tiles: All tiles.
        rows: Those that train.
        spec: The backbone.
        recipe: The recipe.
        labels: (rows,) str, of those that train, where the training reads them.
    """
    parameters: list[Any] = [spec.named(), dataclasses.asdict(recipe), tiles.size_px]
    parameters += [] if labels is None else [labels.tolist()]
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True, default=str).encode() + tiles.ids[rows].tobytes())
    for place in np.linspace(0, len(rows) - 1, min(len(rows), _KEY_TILES)).astype(int):
        digest.update(tiles.pixels[rows[place]].tobytes())
    return digest.hexdigest()[:16]


def step_seed(seed: int, epoch: int, step: int) -> int:
    """Seed of one step's draws, so that a resumed training draws what an undisturbed one would; 63 bits."""
    return int(np.random.SeedSequence([seed, epoch, step]).generate_state(1, np.uint64)[0]) >> 1


@dataclasses.dataclass(eq=False, kw_only=True)
class ResumableState:
    """What every training under way has; a kind of training adds its modules, and names them in ``MODULES``.

    Attributes:
        key: See `training_key`.
        optimizer: On the device, like all that follow.
        sums: (any,) float64, sums over the steps of the current epoch.
        epoch: Current epoch, from 0; the number of epochs when all are done.
        step: Steps done in it.
        epoch_s: Seconds spent in it.
        log: One record for each epoch done.
    """

    MODULES: ClassVar[tuple[str, ...]] = ("optimizer",)

    key: str
    optimizer: torch.optim.Optimizer
    sums: torch.Tensor
    epoch: int = 0
    step: int = 0
    epoch_s: float = 0.0
    log: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def save(self, folder: Path) -> None:
        """Write ``training.pt``: the old one or the new one, whole and on disk.

        Raises:
            ArtifactError: If the disk cannot take it.
        """
        content = {name: getattr(self, name).state_dict() for name in self.MODULES}
        content |= {name: getattr(self, name) for name in _VALUES}
        path = folder / STATE
        temporary = folder / f".{STATE}.partial"
        try:
            with temporary.open("wb") as file:
                torch.save(content, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except (OSError, RuntimeError) as error:
            temporary.unlink(missing_ok=True)
            cause = error if isinstance(error, OSError) else error.__context__  # torch says where its counting ended
            if not isinstance(cause, OSError):
                raise
            raise disk_error(path, cause) from error

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
            lacking = [name for name in (*self.MODULES, *_VALUES) if name not in content]
        except DAMAGE as error:
            raise _unreadable(path, str(error).partition(".")[0]) from error
        if lacking or not isinstance(sums, torch.Tensor):
            raise _unreadable(path, f"it lacks {', '.join(lacking) or 'sums'}")
        if key == self.key and sums.shape != self.sums.shape:
            raise _unreadable(path, f"an older version wrote it: {len(sums)} sums, not {len(self.sums)}")
        if key != self.key:
            raise CheckpointError(
                f"{path}: the state of another training; recipe, backbone or tiles differ (key {key}, not {self.key}). "
                "Delete it, or train in another folder."
            )
        counts = (content["epoch"], content["step"])
        if not all(type(count) is int and count >= 0 for count in counts) or not _is_log(content["log"]):
            raise _unreadable(path, "epoch, step or log are none")
        try:
            for name in self.MODULES:
                getattr(self, name).load_state_dict(content[name])
            self.sums.copy_(sums)
            self.epoch_s = float(content["epoch_s"])
        except DAMAGE as error:
            raise _unreadable(path, str(error).partition("\n")[0]) from error
        (self.epoch, self.step), self.log = counts, content["log"]


def _is_log(log: Any) -> bool:
    return isinstance(log, list) and all(isinstance(record, dict) for record in log)


def _unreadable(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"{path}: not a training state that can be read ({reason}). Delete it to train anew.")
