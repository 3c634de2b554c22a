"""What a finished training leaves in its folder: the weights, and the recipe that made them."""

import dataclasses
import json
from pathlib import Path

from ris_core.artifacts import write_json
from ris_core.backbone import Backbone, BackboneSpec, save_weights
from ris_core.errors import CheckpointError
from ris_core.training.label_recipe import LabelRecipe
from ris_core.training.log import write_log
from ris_core.training.recipe import DinoRecipe
from ris_core.training.resumable import STATE, ResumableState

MODEL = "model.safetensors"
RECIPE = "recipe.json"


def is_finished(out: Path, key: str) -> bool:
    """Whether ``out`` holds the result of this very training.

    Raises:
        CheckpointError: If it holds that of another one, or what made it cannot be read.
    """
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


def finish(
    backbone: Backbone, state: ResumableState, spec: BackboneSpec, recipe: DinoRecipe | LabelRecipe, out: Path
) -> None:
    """Write the trained backbone, its log and what made it; then the state is not needed any more.

    Raises:
        ArtifactError: If the disk cannot take them.
    """
    save_weights(backbone, out / MODEL)
    write_log(out, state.log)
    made = {"key": state.key, "recipe": dataclasses.asdict(recipe), "backbone": spec.named()}
    write_json(out / RECIPE, json.loads(json.dumps(made, default=str)))
    (out / STATE).unlink(missing_ok=True)
