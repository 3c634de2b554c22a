"""The steps and epochs of a DINO training."""

import dataclasses
import math
import time
import warnings
from pathlib import Path

import torch
from tqdm import tqdm

from ris_core.device import LateNumbers, choose_bf16
from ris_core.errors import CheckpointError
from ris_core.tile_batches import TileBatches
from ris_core.training.augment import draw_crops, make_crops
from ris_core.training.dino import DinoLossParts, clip_each, update_teacher
from ris_core.training.distributed import Ranks
from ris_core.training.flops import peak_flops, training_flops
from ris_core.training.log import CollapseWarning, name_collapse, write_log
from ris_core.training.options import DEFAULT_OPTIONS, TrainOptions
from ris_core.training.recipe import DinoRecipe
from ris_core.training.resumable import STATE
from ris_core.training.resumable import step_seed as step_seed
from ris_core.training.schedules import Schedules
from ris_core.training.state import SUMS, TrainingState

_CENTER_MEMORIES = 10  # a memory is 1 / (1 - center_momentum) steps
_LOOK_EVERY = 20  # steps between two readings of the loss


@dataclasses.dataclass(eq=False)
class TrainingLoop:
    """What the steps of one training share.

    Attributes:
        batches: What this process is trained on.
        recipe: What is done.
        state: Where the training is; its tensors are on the device that computes.
        schedules: Of the whole training.
        out: Folder of the state and the log.
        options: How it runs.
    """

    batches: TileBatches
    recipe: DinoRecipe
    state: TrainingState
    schedules: Schedules
    out: Path
    options: TrainOptions = DEFAULT_OPTIONS
    _last_look: LateNumbers | None = dataclasses.field(default=None, init=False)

    def __post_init__(self) -> None:
        """Networks and loss are compiled, and the student put in touch with the other processes."""
        state, device = self.state, self.device
        for network in (state.student, state.teacher):
            self.ranks.share_statistics(network, device)
        if self.options.compiles_on(device):
            for module in (state.student, state.teacher, state.loss):
                module.compile()
        self._student = self.ranks.averaging(state.student, device)
        self._use_bf16 = choose_bf16(self.options.precision, device)
        # Both take seconds, so here, before the clock of an epoch runs.
        self._flops_per_image = training_flops(state.student.backbone.spec, self.recipe)
        self._peak_flops = peak_flops(device, self._use_bf16) * self.ranks.size

    @property
    def ranks(self) -> Ranks:
        """The processes that train together; the first one writes."""
        return self.options.ranks

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.state.sums.device

    @property
    def steps(self) -> int:
        """Steps an epoch."""
        return self.batches.steps

    def utilisation(self, images_per_s: float) -> float:
        """Share of the devices' FLOP/s that the networks use at that rate."""
        return images_per_s * self._flops_per_image / self._peak_flops

    def run(self) -> None:
        """All epochs that are still to be done; state and log are on disk after each.

        Raises:
            CheckpointError: If the loss or the weights stop being finite numbers.
            ArtifactError: If the disk cannot take the state.
        """
        done = self.state.epoch * self.steps + self.state.step
        is_silent = not (self.options.progress and self.ranks.is_first)
        total = self.recipe.epochs * self.steps
        with tqdm(total=total, initial=done, unit="step", disable=is_silent, dynamic_ncols=True) as bar:
            while self.state.epoch < self.recipe.epochs:
                bar.set_description(f"DINO epoch {self.state.epoch + 1}/{self.recipe.epochs}")
                self._run_epoch(bar)
                self._close_epoch()
                if self.ranks.is_first:
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
        torch.manual_seed(seed + self.ranks.rank)  # of stochastic depth, which differs from tile to tile
        decaying, others = state.optimizer.param_groups
        decaying["lr"] = others["lr"] = float(self.schedules.lr[now])
        decaying["weight_decay"] = float(self.schedules.weight_decay[now])

        preprocess = state.student.backbone.spec.preprocess
        draws = draw_crops(recipe.batch, pixels.shape[1], recipe, torch.Generator().manual_seed(seed))
        whole, local = make_crops(pixels, draws.part(self.batches.part), recipe, preprocess)
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=self._use_bf16):
            with torch.no_grad():
                targets = state.teacher([whole])  # (2 b, K)
            logits = self._student([whole] if local is None else [whole, local])  # (v b, K)
        parts: DinoLossParts = state.loss(logits, targets, float(self.schedules.teacher_temp[state.epoch]))
        state.optimizer.zero_grad(set_to_none=True)
        parts.loss.backward()
        if recipe.clip > 0:
            clip_each(state.student.parameters(), recipe.clip)
        if state.epoch < recipe.freeze_last_layer_epochs:
            for parameter in state.student.head.last_layer():
                parameter.grad = None  # the optimiser then leaves it alone, its decay included
        state.optimizer.step()
        update_teacher(state.teacher, state.student, float(self.schedules.teacher_momentum[now]))
        state.loss.update_center(self.ranks.mean(targets.float().mean(dim=0, keepdim=True)))
        return parts

    def _run_epoch(self, bar: tqdm) -> None:
        """The rest of the current epoch's steps."""
        state = self.state
        start = time.perf_counter() - state.epoch_s
        for pixels in self.batches.read(state.epoch, state.step, self.device):
            parts = self.train_step(pixels)
            state.sums += self.ranks.mean(torch.stack([getattr(parts, name).detach() for name in SUMS]))
            state.step += 1
            bar.update()
            is_due = time.perf_counter() - start - state.epoch_s > self.options.checkpoint_s
            if is_due or state.step % _LOOK_EVERY == 0:
                self._look(bar, start, wait=is_due)
            if is_due and state.step < self.steps and self.ranks.is_first:
                state.epoch_s = time.perf_counter() - start
                state.save(self.out)
        self._look(bar, start, wait=True)
        state.epoch_s = time.perf_counter() - start

    def _look(self, bar: tqdm, start: float, *, wait: bool) -> None:
        """Show the running mean of the loss, and stop if it, or a weight, is no number.

        On a GPU these are the numbers of the look before, for which nothing waits; with ``wait`` they are today's.
        """
        state = self.state
        with torch.no_grad():
            weights = torch.stack(torch._foreach_norm(list(state.student.parameters()))).sum()
            numbers = LateNumbers(torch.stack([state.sums[0] / state.step, weights]))
        before, self._last_look = self._last_look, numbers
        if not wait and self.device.type == "cuda":
            if before is None:
                return
            numbers = before
        loss, norm = numbers.read()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            kept = f"The last good state is kept in {STATE}. " if (self.out / STATE).exists() else ""
            raise CheckpointError(
                f"{self.out}: in epoch {state.epoch + 1}, by step {state.step} of {self.steps}, the loss is {loss} "
                f"and the norm of the weights {norm}: training diverged. {kept}"
                "Lower base_lr, lengthen warmup_epochs, or set precision = 'fp32'; then train in another folder."
            )
        rate = state.step * self.recipe.batch / (time.perf_counter() - start)
        used = self.utilisation(rate)
        bar.set_postfix_str(f"loss {loss:.3f}, {rate:.0f} images/s, MFU {used:.0%}", refresh=False)

    def _close_epoch(self) -> None:
        """Turn the sums into a log record, and go to the next epoch."""
        state, epoch = self.state, self.state.epoch
        means = dict(zip(SUMS, (state.sums / self.steps).tolist(), strict=True))
        span = slice(epoch * self.steps, (epoch + 1) * self.steps)
        collapse = None
        if self._is_settled():
            collapse = name_collapse(means["loss"], means["kl"], means["dominance"], self.recipe.out_dim)
        if collapse and self.ranks.is_first:
            warnings.warn(f"epoch {epoch + 1}: {collapse}", CollapseWarning, stacklevel=2)
        images_per_s = self.steps * self.recipe.batch / state.epoch_s
        state.log.append(
            {
                "train_loss": means["loss"],
                "train_lr": float(self.schedules.lr[span].mean()),
                "train_wd": float(self.schedules.weight_decay[span].mean()),
                "epoch": epoch,
                "teacher_entropy": means["teacher_entropy"],
                "kl": means["kl"],
                "dominance": means["dominance"],
                "images_per_s": images_per_s,
                "epoch_s": state.epoch_s,
                "flops_per_image": self._flops_per_image,
                "mfu": self.utilisation(images_per_s),
                "collapse": collapse,
                **self._probed(),
            }
        )
        state.epoch, state.step, state.epoch_s = epoch + 1, 0, 0.0
        state.sums.zero_()

    def _probed(self) -> dict[str, float]:
        """What the probe says of the teacher at the end of this epoch, and its seconds; nothing where none is due."""
        if not self.ranks.is_first:
            return {}
        return self.options.probed(self.state.teacher.backbone, self.state.epoch, self.recipe.epochs)

    def _is_settled(self) -> bool:
        """Whether the current epoch began after the warm-up, the frozen last layer and ten times the centre's memory.

        Before, one output rules because the centre has not caught up, and the loss rises when the layer thaws.
        """
        recipe, epoch = self.recipe, self.state.epoch
        is_warm = epoch >= max(recipe.warmup_epochs, recipe.freeze_last_layer_epochs)
        return is_warm and epoch * self.steps * (1 - recipe.center_momentum) >= _CENTER_MEMORIES
