"""DINO training from tiles to a checkpoint: refused early, resumed where it was cut off, finished whole."""

import dataclasses
import json
import math
from pathlib import Path

import torch

from ris_core.artifacts import disk_error, write_json
from ris_core.backbone import COLOUR, BackboneSpec, save_weights
from ris_core.device import choose_bf16, choose_device, device_faults, threads
from ris_core.errors import CheckpointError, CorpusError, SuiteError
from ris_core.recipe import DinoRecipe
from ris_core.records import Tiles
from ris_core.schedules import make_schedules
from ris_core.training_loop import TrainingLoop, write_log
from ris_core.training_state import STATE, TrainingState, training_key

MODEL = "model.safetensors"
RECIPE = "recipe.json"


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """How a training runs; none of it changes what it means.

    Attributes:
        device: ``"auto"`` (CUDA where it is there), ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        precision: ``"fp32"``, ``"bf16"`` (autocast: weights stay float32), or ``"auto"``: bf16 on CUDA and on CPUs that
            have it in hardware.
        threads: PyTorch's threads on the CPU; None = as they are set.
        checkpoint_s: Seconds between two savings of the state within an epoch; the end of an epoch saves it too.
        progress: Whether a progress line goes to stderr.
    """

    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    checkpoint_s: float = 300.0
    progress: bool = False

    def faults(self) -> list[str]:
        """Everything that is impossible about these options on this machine, one sentence a fault."""
        faults = device_faults(self.device, self.precision, self.threads)
        if not self.checkpoint_s > 0:
            faults.append(f"checkpoint_s = {self.checkpoint_s} must be above 0; {math.inf} = never.")
        return faults


DEFAULT_OPTIONS = TrainOptions()


def train_dino(
    tiles: Tiles, spec: BackboneSpec, recipe: DinoRecipe, out: Path, *, options: TrainOptions = DEFAULT_OPTIONS
) -> Path:
    """Train a backbone on tiles without their labels, and leave the teacher's weights in a folder.

    A training that was cut off goes on from the state in ``out``; on the CPU its curve is that of one that was not.
    The state is removed at the end. A folder that holds this very training, finished, is left as it is.

    Args:
        tiles: What to train on; read batch by batch, so their pixels may be memory-mapped.
        spec: The network; training starts from its weights.
        recipe: What to do.
        out: Folder for ``model.safetensors``, ``log.txt`` (one JSON object an epoch: DINO's keys ``train_loss``,
            ``train_lr``, ``train_wd``, ``epoch``; and ``teacher_entropy``, ``kl`` (nats), ``images_per_s``,
            ``epoch_s``, ``collapse``) and ``recipe.json``.
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
    _refuse_impossible(tiles, spec, recipe, options)
    key = training_key(tiles, spec, recipe)
    if _is_finished(out, key):
        return out / MODEL
    device = choose_device(options.device)
    with threads(options.threads), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(recipe.seed)
        state = TrainingState.start(key, spec, recipe, device)
        _refuse_crops(state, recipe)
        if (out / STATE).exists():
            state.resume(out)
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(out, error) from error
        loop = TrainingLoop(
            tiles=tiles,
            recipe=recipe,
            state=state,
            schedules=make_schedules(recipe, len(tiles) // recipe.batch),
            out=out,
            use_bf16=choose_bf16(options.precision, device),
            checkpoint_s=options.checkpoint_s,
            progress=options.progress,
        )
        try:
            loop.run()
        except torch.cuda.OutOfMemoryError as error:
            raise SuiteError(
                f"batch = {recipe.batch} does not fit into the memory of {device} ({str(error).partition('.')[0]}). "
                f"Set batch = {max(recipe.batch // 2, 2)}, which scales the learning rate along."
            ) from error
    _finish(state, spec, recipe, out)
    return out / MODEL


def _is_finished(out: Path, key: str) -> bool:
    """Whether ``out`` holds the result of this very training."""
    if not ((out / MODEL).exists() and (out / RECIPE).exists()):
        return False
    try:
        found = json.loads((out / RECIPE).read_text(encoding="utf-8"))["key"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{out / RECIPE}: cannot be read ({error}). Delete the folder and train again."
        ) from error
    if found != key:
        raise CheckpointError(
            f"{out}: holds the result of another training; recipe, backbone or tiles differ (key {found}, not {key}). "
            "Train in another folder."
        )
    return True


def _finish(state: TrainingState, spec: BackboneSpec, recipe: DinoRecipe, out: Path) -> None:
    """Write the teacher's backbone and what made it; then the state is not needed any more."""
    save_weights(state.teacher.backbone, out / MODEL)
    write_log(out, state.log)
    made = {"key": state.key, "recipe": dataclasses.asdict(recipe), "backbone": dataclasses.asdict(spec)}
    write_json(out / RECIPE, json.loads(json.dumps(made, default=str)))
    (out / STATE).unlink(missing_ok=True)


def _refuse_impossible(tiles: Tiles, spec: BackboneSpec, recipe: DinoRecipe, options: TrainOptions) -> None:
    """Raise what can be known without building anything."""
    faults = recipe.faults()
    if spec.model == COLOUR:
        faults.append(f"model = {COLOUR!r} has no weights to train; choose a timm model")
    if faults:
        raise SuiteError("the DINO recipe cannot be run: " + "; ".join(faults) + ". Correct these keys.")
    if options.faults():
        raise SuiteError("training: " + " ".join(options.faults()))
    if len(tiles) < recipe.batch:
        raise CorpusError(
            f"{len(tiles)} tiles are fewer than one batch of {recipe.batch}. Set batch = {max(len(tiles), 2)} or less, "
            "or cut more tiles (smaller tile_px, overlapping stride_px, lower min_coverage)."
        )
    largest_px = max(recipe.global_px, recipe.local_px if recipe.local_crops else 0)
    if tiles.size_px < largest_px:
        raise CorpusError(
            f"tiles of {tiles.size_px} px are smaller than crops of {largest_px} px. Set global_px = {tiles.size_px} "
            "or less and local_px to about half of it, or store larger tiles (tile_px, stored_px)."
        )


def _refuse_crops(state: TrainingState, recipe: DinoRecipe) -> None:
    """Raise if the network cannot take crops of the recipe's sizes: one image of each is passed through."""
    backbone = state.teacher.backbone
    backbone.eval()
    for name in ("global_px", "local_px") if recipe.local_crops else ("global_px",):
        side_px = getattr(recipe, name)
        try:
            with torch.no_grad():
                backbone(torch.zeros(1, 3, side_px, side_px, device=state.sums.device))
        except (AssertionError, RuntimeError, ValueError, CorpusError) as error:
            raise SuiteError(
                f"{name} = {side_px}: {backbone.spec.model} takes no crop of that size ({str(error).rstrip('.')}). "
                "Choose a multiple of the patch size; a network of one fixed size cannot take local crops: "
                "set local_crops = 0 and global_px to that size."
            ) from error
    backbone.train()
