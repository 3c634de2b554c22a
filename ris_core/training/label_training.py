"""Training with labels from tiles to a checkpoint: refused early, resumed where it was cut off, finished whole."""

import dataclasses
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from tqdm import tqdm

from ris_core.artifacts import disk_error
from ris_core.backbone import Backbone, BackboneSpec, build_backbone, refuse_tiles
from ris_core.device import choose_bf16, choose_device, is_out_of_memory, send, threads
from ris_core.errors import CheckpointError, CorpusError, SuiteError
from ris_core.preprocess import PREPROCESSING
from ris_core.records import Tiles
from ris_core.tile_batches import read_batches
from ris_core.training.label_losses import LabelLoss, LabelLossParts
from ris_core.training.label_recipe import LabelRecipe, PairRecipe
from ris_core.training.log import write_log
from ris_core.training.options import DEFAULT_OPTIONS, TrainOptions
from ris_core.training.result import MODEL, finish, is_finished
from ris_core.training.resumable import STATE, ResumableState, step_seed, training_key
from ris_core.training.schedules import cosine
from ris_core.training.windows import WindowRecipe, cut_windows, draw_windows

_LOOK_EVERY = 20  # steps between two readings of the loss


def train_with_labels(
    tiles: Tiles,
    labels: np.ndarray,
    spec: BackboneSpec,
    recipe: LabelRecipe,
    out: Path,
    *,
    options: TrainOptions = DEFAULT_OPTIONS,
) -> Path:
    """Train all of a backbone by labels, its pooling and bottleneck included, and leave its weights in a folder.

    A training that was cut off goes on from the state in ``out``; on the CPU the result is that of one that was not.
    The state is removed at the end. A folder that holds this very training, finished, is left as it is.

    Args:
        tiles: What to train on; read batch by batch, so their pixels may be memory-mapped.
        labels: (n,) str, one a tile; tiles whose label is empty take no part.
        spec: The network; training starts from its weights, which may lack pooling and bottleneck.
        recipe: What to do.
        out: Folder for ``model.safetensors``, ``log.txt`` (one JSON object an epoch: ``method``, ``train_loss``,
            ``train_accuracy`` where labels are told, ``train_lr``, ``train_wd``, ``epoch``, ``images_per_s``,
            ``epoch_s``, ``probe_s`` and what the probe found) and ``recipe.json``.
        options: Device, precision, progress; one process trains.

    Returns:
        Path of ``model.safetensors``, which `BackboneSpec` takes as ``weights``.

    Raises:
        SuiteError: If recipe or options have faults, or memory is too small.
        CorpusError: If the labels are too few, or the network does not take the tiles.
        CheckpointError: If ``out`` holds another training, or training diverges.
        ArtifactError: If the disk cannot take the results.
    """
    rows = np.flatnonzero(labels != "")
    refuse_label_training(labels[rows], spec, recipe, options)
    refuse_tiles(spec, tiles.size_px)
    key = training_key(tiles, rows, spec, recipe, labels[rows])
    if is_finished(out, key):
        return out / MODEL
    device = choose_device(options.device)
    with threads(options.threads), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            out.mkdir(parents=True, exist_ok=True)
            names, codes = np.unique(labels[rows], return_inverse=True)
            state = LabelState.begin(key, spec, recipe, len(names), device)
            if (out / STATE).exists():
                state.resume(out)
            _Loop(tiles, rows, codes, recipe, state, out, options).run()
        except OSError as error:
            raise disk_error(out, error) from error
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise SuiteError(
                f"batch = {recipe.batch} does not fit into the memory of {device} ({str(error).partition('.')[0]}). "
                f"Set batch = {recipe.batch // 2} and half the learning rate."
            ) from error
    finish(state.backbone, state, spec, recipe, out)
    return out / MODEL


def refuse_label_training(
    labels: np.ndarray, spec: BackboneSpec, recipe: LabelRecipe, options: TrainOptions = DEFAULT_OPTIONS
) -> None:
    """Raise what is known to be impossible about a training before anything is built.

    Args:
        labels: (m,) str, of the tiles that train; empty ones do not count.
        spec: The backbone.
        recipe: The recipe.
        options: How it is to run.

    Raises:
        SuiteError: If recipe or options have faults, or several processes were to train.
        CorpusError: If the tiles are fewer than a batch, or of fewer than two labels, or no two are a pair.
    """
    if faults := recipe.faults():
        raise SuiteError("the recipe cannot be run: " + "; ".join(faults) + ". Correct these keys.")
    if options.faults():
        raise SuiteError("training: " + " ".join(options.faults()))
    if options.ranks.size > 1:
        raise SuiteError(f"training with labels takes one process, not {options.ranks.size}. Leave torchrun out.")
    names, counts = np.unique(labels[labels != ""], return_counts=True)
    if len(names) < 2:
        found = f"all of label {str(names[0])!r}" if len(names) else "without labels"
        raise CorpusError(
            f"{counts.sum()} tiles train, {found}. Training with labels needs two labels or more: put images into "
            "one folder a class, name a CSV of labels or a land-cover raster, or train by method = 'dino'."
        )
    usable = int((counts // 2 * 2).sum() if isinstance(recipe, PairRecipe) else counts.sum())
    if usable < recipe.batch:
        raise CorpusError(
            f"{usable} {'paired' if isinstance(recipe, PairRecipe) else 'labelled'} tiles are fewer than one batch of "
            f"{recipe.batch}. Lower batch, or label more tiles."
        )


def draw_batches(codes: np.ndarray, recipe: LabelRecipe, epoch: int) -> np.ndarray:
    """(steps, batch) int64: the places in ``codes`` of each step's tiles, in an order drawn anew every epoch.

    Where tiles are compared, places 2 i and 2 i + 1 of a batch have one label. Each place comes once at most; what is
    left over waits for the next epoch.
    """
    rng = np.random.default_rng([recipe.seed, epoch])
    order = rng.permutation(len(codes))
    if isinstance(recipe, PairRecipe):
        of_labels = (order[codes[order] == code] for code in np.unique(codes))
        pairs = np.concatenate([places[: len(places) // 2 * 2].reshape(-1, 2) for places in of_labels])
        order = rng.permutation(pairs).reshape(-1)
    steps = len(order) // recipe.batch
    return order[: steps * recipe.batch].reshape(steps, recipe.batch)


@dataclasses.dataclass(eq=False, kw_only=True)
class LabelState(ResumableState):
    """A training with labels under way; ``sums`` are of the loss and of the right answers.

    Attributes:
        backbone: On the device, like all that follow.
        loss: With the classifier, where it has one.
    """

    MODULES: ClassVar[tuple[str, ...]] = ("backbone", "loss", "optimizer")

    backbone: Backbone
    loss: LabelLoss

    @classmethod
    def begin(cls, key: str, spec: BackboneSpec, recipe: LabelRecipe, classes: int, device: torch.device) -> Self:
        """The state before the first step."""
        backbone = build_backbone(spec, to_train=True).to(device).train()
        torch.manual_seed(recipe.seed)
        loss = LabelLoss(recipe, backbone.d, classes).to(device)
        parameters = [*backbone.parameters(), *loss.parameters()]
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=0.0, fused=True)
        sums = torch.zeros(2, dtype=torch.float64, device=device)
        return cls(key=key, backbone=backbone, loss=loss, optimizer=optimizer, sums=sums)


@dataclasses.dataclass(eq=False)
class _Loop:
    """The steps and epochs of one training; ``codes`` are those of the labels of ``rows``."""

    tiles: Tiles
    rows: np.ndarray
    codes: np.ndarray
    recipe: LabelRecipe
    state: LabelState
    out: Path
    options: TrainOptions

    def __post_init__(self) -> None:
        self.device = self.state.sums.device
        self.steps = len(draw_batches(self.codes, self.recipe, 0))
        warmup = self.recipe.warmup_epochs * self.steps
        self.lr = cosine(self.recipe.lr, self.recipe.min_lr, self.recipe.epochs * self.steps, warmup)
        self._use_bf16 = choose_bf16(self.options.precision, self.device)
        if self.options.compiles_on(self.device):
            self.state.backbone.compile()

    def run(self) -> None:
        """All epochs that are still to be done; state and log are on disk after each."""
        state, epochs = self.state, self.recipe.epochs
        done = state.epoch * self.steps + state.step
        silent = not self.options.progress
        with tqdm(total=epochs * self.steps, initial=done, unit="step", disable=silent, dynamic_ncols=True) as bar:
            while state.epoch < epochs:
                bar.set_description(f"epoch {state.epoch + 1}/{epochs}")
                self._run_epoch(bar)
                self._close_epoch()
                state.save(self.out)
                write_log(self.out, state.log)

    def _run_epoch(self, bar: tqdm) -> None:
        """The rest of the current epoch's steps."""
        state = self.state
        start = saved = time.perf_counter()
        before_s = state.epoch_s
        for pixels, codes in self._batches():
            parts = self._train_step(pixels, codes)
            state.sums += torch.stack([parts.loss.detach(), parts.right]).double()
            state.step += 1
            state.epoch_s = before_s + time.perf_counter() - start
            bar.update()
            if state.step % _LOOK_EVERY == 0 or state.step == self.steps:
                bar.set_postfix_str(f"loss {self._checked_loss():.3f}", refresh=False)
            if time.perf_counter() - saved > self.options.checkpoint_s and state.step < self.steps:
                self._checked_loss()
                state.save(self.out)
                saved = time.perf_counter()

    def _batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """(b, size, size, 3) uint8 and (b,) codes for each step that the epoch still has."""
        chosen = draw_batches(self.codes, self.recipe, self.state.epoch)[self.state.step :]
        codes = (send(torch.from_numpy(self.codes[places]), self.device) for places in chosen)
        return zip(read_batches(self.tiles.pixels, self.rows[chosen], self.device), codes, strict=True)

    def _train_step(self, pixels: torch.Tensor, codes: torch.Tensor) -> LabelLossParts:
        """One step: windows, features, loss, gradients, weights."""
        state, recipe = self.state, self.recipe
        seed = step_seed(recipe.seed, state.epoch, state.step)
        torch.manual_seed(seed)  # of the noise of discrete units, and of dropout
        for group in state.optimizer.param_groups:
            group["lr"] = float(self.lr[state.epoch * self.steps + state.step])
        images = make_views(pixels, recipe, state.backbone.spec.preprocess, torch.Generator().manual_seed(seed))
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=self._use_bf16):
            features = state.backbone(images)
        parts: LabelLossParts = state.loss(features.float(), codes)
        state.optimizer.zero_grad(set_to_none=True)
        parts.loss.backward()
        state.optimizer.step()
        return parts

    def _checked_loss(self) -> float:
        """The running mean of the loss.

        Raises:
            CheckpointError: If it, or a weight, is no finite number.
        """
        state = self.state
        weights = (*state.backbone.parameters(), *state.loss.parameters())
        norms = torch._foreach_norm([weight.detach() for weight in weights])
        loss, norm = torch.stack([state.sums[0] / state.step, torch.stack(norms).sum().double()]).tolist()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            kept = f"The last good state is kept in {STATE}. " if (self.out / STATE).exists() else ""
            raise CheckpointError(
                f"{self.out}: in epoch {state.epoch + 1}, by step {state.step} of {self.steps}, the loss is {loss} and "
                f"the norm of the weights {norm}: training diverged. {kept}Lower lr, lengthen warmup_epochs, or set "
                "precision = 'fp32'; then train in another folder."
            )
        return loss

    def _close_epoch(self) -> None:
        """Turn the sums into a log record, and go to the next epoch."""
        state, epoch = self.state, self.state.epoch
        loss, right = (state.sums / self.steps).tolist()
        record = {
            "method": getattr(self.recipe, "method", ""),
            "train_loss": loss,
            **({} if math.isnan(right) else {"train_accuracy": right / self.recipe.batch}),
            "train_lr": float(self.lr[epoch * self.steps : (epoch + 1) * self.steps].mean()),
            "train_wd": self.recipe.weight_decay,
            "epoch": epoch,
            "images_per_s": self.steps * self.recipe.batch / state.epoch_s,
            "epoch_s": state.epoch_s,
            **self.options.probed(state.backbone, epoch, self.recipe.epochs),
        }
        state.log.append(record)
        state.epoch, state.step, state.epoch_s = epoch + 1, 0, 0.0
        state.sums.zero_()


def make_views(pixels: torch.Tensor, recipe: LabelRecipe, preprocess: str, generator: torch.Generator) -> torch.Tensor:
    """One window of each tile, turned and resized to what the network sees of such tiles later, normalised.

    Args:
        pixels: (b, size, size, 3) uint8, on the device that is to do the work.
        recipe: How windows are drawn.
        preprocess: Key of `PREPROCESSING`.
        generator: Of the draws; on the CPU.

    Returns:
        (b, 3, h, h) float32.
    """
    size_px, chosen = pixels.shape[1], PREPROCESSING[preprocess]
    drawn = WindowRecipe(recipe.window_scale, recipe.horizontal_flip, recipe.vertical_flip, recipe.quarter_turns)
    windows = draw_windows(len(pixels), size_px, drawn, generator)
    mean, std = send(torch.tensor([chosen.mean, chosen.std]), pixels.device).view(2, 3, 1, 1)
    return cut_windows(pixels, windows, chosen.input_px(size_px)).float().sub_(mean).div_(std)
