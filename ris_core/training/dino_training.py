"""DINO training from tiles to a checkpoint: refused early, resumed where it was cut off, finished whole."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import torch

from ris_core.artifacts import disk_error
from ris_core.backbone import COLOUR, RANDOM, BackboneSpec, build_backbone
from ris_core.device import choose_device, is_out_of_memory, threads
from ris_core.errors import CorpusError, SuiteError
from ris_core.records import Tiles
from ris_core.tile_batches import TileBatches
from ris_core.training.distributed import ALONE
from ris_core.training.loop import TrainingLoop
from ris_core.training.options import DEFAULT_OPTIONS
from ris_core.training.options import TrainOptions as TrainOptions
from ris_core.training.recipe import DinoRecipe
from ris_core.training.result import MODEL, finish, is_finished
from ris_core.training.schedules import make_schedules
from ris_core.training.state import STATE, TrainingState, training_key

_TRIAL_STEPS = 2  # the second has the optimiser's moments beside everything else


def train_dino(
    tiles: Tiles,
    spec: BackboneSpec,
    recipe: DinoRecipe,
    out: Path,
    *,
    rows: np.ndarray | None = None,
    options: TrainOptions = DEFAULT_OPTIONS,
) -> Path:
    """Train a backbone on tiles without their labels, and leave the teacher's weights in a folder.

    A training that was cut off goes on from the state in ``out``; on the CPU its curve is that of one that was not.
    The state is removed at the end. A folder that holds this very training, finished, is left as it is.

    Where several processes train together, all of them call this, with the same arguments but for ``options.ranks``;
    ``out`` is one folder that all of them see.

    Args:
        tiles: What to train on; read batch by batch, so their pixels may be memory-mapped.
        spec: The network; training starts from its weights.
        recipe: What to do.
        out: Folder for ``model.safetensors``, ``log.txt`` (one JSON object an epoch: DINO's keys ``train_loss``,
            ``train_lr``, ``train_wd``, ``epoch``; and ``teacher_entropy``, ``kl`` (nats), ``dominance``,
            ``images_per_s``, ``epoch_s``, ``flops_per_image``, ``mfu``, ``collapse``, ``probe_s`` and what the probe
            found) and ``recipe.json``.
        rows: Which of the tiles; None = all.
        options: Device, precision, progress.

    Returns:
        Path of ``model.safetensors``, which `BackboneSpec` takes as ``weights``.

    Raises:
        SuiteError: If recipe or options have faults, the crops do not fit the network, or memory is too small.
        CorpusError: If the tiles are fewer than a batch or smaller than a crop.
        CheckpointError: If ``out`` holds another training, or training diverges.
        ArtifactError: If the disk cannot take the results.

    Source:
        Caron et al. 2021, arXiv:2104.14294. Differs from the thesis: tiles are reshuffled every epoch, and crops
        are made in batches (see `make_crops`).
    """
    rows = np.arange(len(tiles)) if rows is None else rows
    refuse_training(tiles, rows, spec, recipe, options)
    training = _Training(tiles, rows, spec, recipe, out, options)
    key = training_key(tiles, rows, spec, recipe)
    if is_finished(out, key):
        return out / MODEL
    device = training.device
    with threads(options.threads), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        shortage = training.run(key)
        if shortage is not None:
            raise SuiteError(
                f"batch = {recipe.batch} does not fit into the memory of {device} ({shortage}). {training.remedy()}"
            )
    return options.ranks.agree(out / MODEL)  # for which the first process still writes


def refuse_training(
    tiles: Tiles, rows: np.ndarray, spec: BackboneSpec, recipe: DinoRecipe, options: TrainOptions = DEFAULT_OPTIONS
) -> None:
    """Raise what is known to be impossible about a training before anything is built; see `train_dino`.

    Raises:
        SuiteError: If recipe or options have faults, or the crops do not fit the network.
        CorpusError: If the tiles are fewer than a batch or smaller than a crop.
    """
    faults = recipe.faults()
    if spec.model == COLOUR:
        faults.append(f"model = {COLOUR!r} has no weights to train; choose a timm model")
    if faults:
        raise SuiteError("the DINO recipe cannot be run: " + "; ".join(faults) + ". Correct these keys.")
    if options.faults():
        raise SuiteError("training: " + " ".join(options.faults()))
    options.ranks.part(recipe.batch)
    if len(rows) < recipe.batch:
        raise CorpusError(
            f"{len(rows)} tiles are fewer than one batch of {recipe.batch}. Set batch = {max(len(rows), 2)} or less, "
            "or cut more tiles (smaller tile_px, overlapping stride_px, lower min_coverage)."
        )
    refuse_crops(spec, recipe, tiles.size_px)


@dataclasses.dataclass(frozen=True, eq=False)
class _Training:
    """A training as it was asked for; see `train_dino`."""

    tiles: Tiles
    rows: np.ndarray
    spec: BackboneSpec
    recipe: DinoRecipe
    out: Path
    options: TrainOptions

    @property
    def device(self) -> torch.device:
        return choose_device(self.options.ranks.device(self.options.device))

    def run(self, key: str) -> str | None:
        """Train to the end; or what is said where memory is too small, with nothing of the training left in it."""
        try:
            state = self._start(key, self.recipe)
            if (self.out / STATE).exists():
                state.resume(self.out)
            try:
                self.out.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise disk_error(self.out, error) from error
            self._loop(state, self.recipe, self.options).run()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return str(error).partition(".")[0]
        if self.options.ranks.is_first:
            finish(state.teacher.backbone, state, self.spec, self.recipe, self.out)
        return None

    def remedy(self) -> str:
        """Which batch fits, found by trying halves of it for two steps each."""
        size = self.options.ranks.size
        share = self.recipe.batch // size // 2
        while share * size >= 2:
            smaller = dataclasses.replace(self.recipe, batch=share * size)
            if self._fits(smaller):
                return (
                    f"Set batch = {smaller.batch}, which was tried and fits; the learning rate scales along, "
                    f"from {self.recipe.peak_lr:g} to {smaller.peak_lr:g}."
                )
            share //= 2
        return "No smaller batch fits either: choose a smaller network, fewer or smaller crops, or a smaller out_dim."

    def _fits(self, recipe: DinoRecipe) -> bool:
        """Whether this process' share of that recipe's batch does, by itself and not compiled, which takes more."""
        alone = dataclasses.replace(recipe, batch=recipe.batch // self.options.ranks.size)
        options = dataclasses.replace(self.options, compile="off", ranks=ALONE)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        try:
            state = self._start("", alone)
            loop = self._loop(state, alone, options)
            for pixels in itertools.islice(loop.batches.read(0, 0, self.device), _TRIAL_STEPS):
                loop.train_step(pixels)
                state.step += 1
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return False
        return True

    def _start(self, key: str, recipe: DinoRecipe) -> TrainingState:
        torch.manual_seed(recipe.seed)
        return TrainingState.start(key, self.spec, recipe, self.device)

    def _loop(self, state: TrainingState, recipe: DinoRecipe, options: TrainOptions) -> TrainingLoop:
        part = options.ranks.part(recipe.batch)
        batches = TileBatches(self.tiles.pixels, self.rows, recipe.batch, recipe.seed, part)
        return TrainingLoop(batches, recipe, state, make_schedules(recipe, batches.steps), self.out, options)


def refuse_crops(spec: BackboneSpec, recipe: DinoRecipe, size_px: int) -> None:
    """Raise if tiles of that size have no crops such as the recipe wants, or the network takes no such crops.

    Nothing is read or computed: shapes alone pass through a network without weights.

    Raises:
        CorpusError: If the tiles are smaller than a crop.
        SuiteError: If the network cannot take a crop's size.
    """
    largest_px = max(recipe.global_px, recipe.local_px if recipe.local_crops else 0)
    if size_px < largest_px:
        raise CorpusError(
            f"tiles of {size_px} px are smaller than crops of {largest_px} px. Set global_px = {size_px} or less and "
            "local_px to about half of it, or store larger tiles (tile_px, stored_px)."
        )
    with torch.device("meta"):
        backbone = build_backbone(dataclasses.replace(spec, weights=RANDOM)).eval()
    for name in ("global_px", "local_px") if recipe.local_crops else ("global_px",):
        side_px = getattr(recipe, name)
        try:
            with torch.no_grad():
                backbone(torch.empty(1, 3, side_px, side_px, device="meta"))
        except (AssertionError, RuntimeError, ValueError, CorpusError) as error:
            raise SuiteError(
                f"{name} = {side_px}: {spec.model} takes no crop of that size ({str(error).rstrip('.')}). "
                "Choose a multiple of the patch size; a network of one fixed size cannot take local crops: "
                "set local_crops = 0 and global_px to that size."
            ) from error
