"""The steps and epochs of a DINO training, and the log that they leave."""

import dataclasses
import json
import math
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ris_core.artifacts import disk_error
from ris_core.augment import make_crops
from ris_core.dino import DinoLossParts, clip_each, update_teacher
from ris_core.errors import CheckpointError
from ris_core.recipe import DinoRecipe
from ris_core.records import Tiles
from ris_core.schedules import Schedules
from ris_core.training_state import SUMS, TrainingState

LOG = "log.txt"
COLLAPSE_NATS = 0.01  # nearer than this to ln K, to no divergence, or to no entropy is a collapse
_CENTER_MEMORIES = 10  # a memory is 1 / (1 - center_momentum) steps
_LOOK_EVERY = 20  # steps between two readings of the loss, each of which waits for the device


class CollapseWarning(UserWarning):
    """The networks say the same of every tile: their features are worthless."""


@dataclasses.dataclass(eq=False)
class TrainingLoop:
    """What the steps of one training share.

    Attributes:
        tiles: What is trained on.
        recipe: What is done.
        state: Where the training is; its tensors are on the device that computes.
        schedules: Of the whole training.
        out: Folder of the state and the log.
        use_bf16: Whether matrices are multiplied in bf16.
        checkpoint_s: Seconds between two savings of the state within an epoch.
        progress: Whether a progress line goes to stderr.
    """

    tiles: Tiles
    recipe: DinoRecipe
    state: TrainingState
    schedules: Schedules
    out: Path
    use_bf16: bool = False
    checkpoint_s: float = math.inf
    progress: bool = False

    @property
    def steps(self) -> int:
        """Steps an epoch; the tiles left over wait for the next epoch's order."""
        return len(self.tiles) // self.recipe.batch

    def run(self) -> None:
        """All epochs that are still to be done; state and log are on disk after each.

        Raises:
            CheckpointError: If the loss or the weights stop being finite numbers.
            ArtifactError: If the disk cannot take the state.
        """
        done = self.state.epoch * self.steps + self.state.step
        total = self.recipe.epochs * self.steps
        with tqdm(total=total, initial=done, unit="step", disable=not self.progress, dynamic_ncols=True) as bar:
            while self.state.epoch < self.recipe.epochs:
                bar.set_description(f"DINO epoch {self.state.epoch + 1}/{self.recipe.epochs}")
                self._run_epoch(bar)
                self.state.save(self.out)
                write_log(self.out, self.state.log)

    def train_step(self, pixels: torch.Tensor) -> DinoLossParts:
        """One step: crops, loss, gradients, student, teacher, centre.

        Args:
            pixels: (b, size, size, 3) uint8 on the device.
        """
        state, recipe = self.state, self.recipe
        now = state.epoch * self.steps + state.step
        seed = step_seed(recipe.seed, state.epoch, state.step)
        torch.manual_seed(seed)  # of stochastic depth
        decaying, others = state.optimizer.param_groups
        decaying["lr"] = others["lr"] = float(self.schedules.lr[now])
        decaying["weight_decay"] = float(self.schedules.weight_decay[now])

        preprocess = state.student.backbone.spec.preprocess
        whole, local = make_crops(pixels, recipe, torch.Generator().manual_seed(seed), preprocess)
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=self.use_bf16):
            with torch.no_grad():
                targets = state.teacher([whole])  # (2 b, K)
            logits = state.student([whole] if local is None else [whole, local])  # (v b, K)
        parts = state.loss(logits, targets, float(self.schedules.teacher_temp[state.epoch]))
        state.optimizer.zero_grad(set_to_none=True)
        parts.loss.backward()
        if recipe.clip > 0:
            clip_each(state.student.parameters(), recipe.clip)
        if state.epoch < recipe.freeze_last_layer_epochs:
            for parameter in state.student.head.last_layer():
                parameter.grad = None  # the optimiser then leaves it alone, its decay included
        state.optimizer.step()
        update_teacher(state.teacher, state.student, float(self.schedules.teacher_momentum[now]))
        state.loss.update_center(targets)
        return parts

    def _run_epoch(self, bar: tqdm) -> None:
        """The rest of the current epoch; its log record is then in the state."""
        state = self.state
        start = time.perf_counter() - state.epoch_s
        order = np.random.default_rng([self.recipe.seed, state.epoch]).permutation(len(self.tiles))
        rows = order[: self.steps * self.recipe.batch].reshape(self.steps, -1)[state.step :]
        for pixels in _read_batches(self.tiles.pixels, rows, state.sums.device):
            parts = self.train_step(pixels)
            state.sums += torch.stack([parts.loss.detach(), parts.teacher_entropy, parts.kl])
            state.step += 1
            bar.update()
            is_due = time.perf_counter() - start - state.epoch_s > self.checkpoint_s
            if is_due or state.step % _LOOK_EVERY == 0:
                self._look(bar, start)
            if is_due and state.step < self.steps:
                state.epoch_s = time.perf_counter() - start
                state.save(self.out)
        self._look(bar, start)
        state.epoch_s = time.perf_counter() - start
        self._close_epoch()

    def _look(self, bar: tqdm, start: float) -> None:
        """Read the running mean of the loss, show it, and stop if it, or a weight, is no number."""
        state = self.state
        loss = float(state.sums[0]) / state.step  # waits for the device
        with torch.no_grad():
            weights = float(torch.stack(torch._foreach_norm(list(state.student.parameters()))).sum())
        if not (math.isfinite(loss) and math.isfinite(weights)):
            kept = f"The state of the end of epoch {state.epoch} is kept. " if state.log else ""
            raise CheckpointError(
                f"{self.out}: in epoch {state.epoch + 1}, by step {state.step} of {self.steps}, the loss is {loss} "
                f"and the norm of the weights {weights}: training diverged. {kept}"
                "Lower base_lr, lengthen warmup_epochs, or set precision = 'fp32'; then train in another folder."
            )
        rate = state.step * self.recipe.batch / (time.perf_counter() - start)
        bar.set_postfix_str(f"loss {loss:.3f}, {rate:.0f} images/s", refresh=False)

    def _close_epoch(self) -> None:
        """Turn the sums into a log record, and go to the next epoch."""
        state, epoch = self.state, self.state.epoch
        means = dict(zip(SUMS, (state.sums / self.steps).tolist(), strict=True))
        span = slice(epoch * self.steps, (epoch + 1) * self.steps)
        collapse = None
        if self._is_settled():
            collapse = name_collapse(means["loss"], means["teacher_entropy"], self.recipe.out_dim)
        if collapse:
            warnings.warn(f"epoch {epoch + 1}: {collapse}", CollapseWarning, stacklevel=2)
        state.log.append(
            {
                "train_loss": means["loss"],
                "train_lr": float(self.schedules.lr[span].mean()),
                "train_wd": float(self.schedules.weight_decay[span].mean()),
                "epoch": epoch,
                "teacher_entropy": means["teacher_entropy"],
                "kl": means["kl"],
                "images_per_s": self.steps * self.recipe.batch / state.epoch_s,
                "epoch_s": state.epoch_s,
                "collapse": collapse,
            }
        )
        state.epoch, state.step, state.epoch_s = epoch + 1, 0, 0.0
        state.sums.zero_()

    def _is_settled(self) -> bool:
        """Whether the current epoch began after the warm-up, the frozen last layer and ten times the centre's memory.

        Before, one output rules because the centre has not caught up, and the loss rises when the layer thaws.
        """
        recipe, epoch = self.recipe, self.state.epoch
        is_warm = epoch >= max(recipe.warmup_epochs, recipe.freeze_last_layer_epochs)
        return is_warm and epoch * self.steps * (1 - recipe.center_momentum) >= _CENTER_MEMORIES


def name_collapse(loss: float, teacher_entropy: float, out_dim: int) -> str | None:
    """What kind of collapse the means of an epoch show, or None.

    In both kinds teacher and student say the same of everything, so that they do not diverge and the loss is all
    entropy: ln K where no output is preferred, 0 where one rules. Meant for epochs after the learning rate's
    warm-up; before, being near ln K is no sign.

    Args:
        loss: In nats.
        teacher_entropy: In nats.
        out_dim: K.

    Source:
        Section 5.3 of arXiv:2104.14294. The thresholds are ours.
    """
    uniform = math.log(out_dim)
    remedy = "The features will not tell tiles apart. Start again with a lower base_lr or longer warmup_epochs"
    if abs(loss - uniform) < COLLAPSE_NATS:
        return f"collapse: the loss is ln(out_dim) = {uniform:.4f}, no output is preferred. {remedy}."
    if teacher_entropy < COLLAPSE_NATS:
        return f"collapse: the teacher's entropy is 0, one output rules. {remedy}, or raise teacher_temp."
    if loss - teacher_entropy < COLLAPSE_NATS:
        return f"collapse: teacher and student agree on everything (KL = 0). {remedy}."
    return None


def step_seed(seed: int, epoch: int, step: int) -> int:
    """Seed of one step's draws, so that a resumed training draws what an undisturbed one would; 63 bits."""
    return int(np.random.SeedSequence([seed, epoch, step]).generate_state(1, np.uint64)[0]) >> 1


def write_log(out: Path, log: list[dict[str, Any]]) -> None:
    """Write ``log.txt``, one JSON object an epoch: the old file or the new one.

    Raises:
        ArtifactError: If the disk cannot take it.
    """
    path = out / LOG
    temporary = out / f".{LOG}.partial"
    try:
        temporary.write_text("".join(json.dumps(record) + "\n" for record in log), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise disk_error(path, error) from error


def _read_batches(pixels: np.ndarray, rows: np.ndarray, device: torch.device) -> Iterator[torch.Tensor]:
    """(b, size, size, 3) uint8 on the device for each line of ``rows``; the next is read while one is used."""

    def read(chosen: np.ndarray) -> torch.Tensor:
        batch = torch.from_numpy(np.asarray(pixels[np.sort(chosen)]))  # sorted: the disk is read forwards
        return batch.pin_memory() if device.type == "cuda" else batch

    with ThreadPoolExecutor(max_workers=1) as pool:
        following = pool.submit(read, rows[0])
        for i in range(len(rows)):
            batch = following.result()
            if i + 1 < len(rows):
                following = pool.submit(read, rows[i + 1])
            yield batch.to(device, non_blocking=True)
