"""What a DINO training does, as one record whose defaults are the published recipe."""

import dataclasses
import math

from ris_core.training.augment import CropRecipe

_MAX_TEACHER_TEMP = 1.0


@dataclasses.dataclass(frozen=True)
class DinoRecipe(CropRecipe):
    """A DINO training; the crops are described by `CropRecipe`.

    The defaults are those of DINO's published code for ViT-S, which the thesis used with batches of 200 and 125.

    Attributes:
        epochs: Passes over the tiles.
        batch: Tiles a step.
        out_dim: Length of the head's output, K.
        hidden_dim: Width of the head's two hidden layers.
        bottleneck_dim: Length of the vector that is L2-normalised before the last layer.
        norm_last_layer: Whether the rows of the last layer keep length 1; otherwise their lengths are learnt.
        student_temp: Temperature of the student's softmax.
        teacher_temp: Temperature of the teacher's softmax after its warm-up.
        warmup_teacher_temp: The same at the start.
        warmup_teacher_epochs: Epochs in which it goes from the one to the other.
        center_momentum: Of the running mean that is taken off the teacher's outputs.
        base_lr: Learning rate after warm-up for a batch of 256; scaled with the batch.
        warmup_epochs: Epochs of linear warm-up of the learning rate, fewer than ``epochs``.
        min_lr: Learning rate at the end.
        weight_decay: Of matrices, at the start; biases and vectors have none.
        weight_decay_end: At the end.
        teacher_momentum: Of the teacher's moving average at the start; 1 at the end.
        clip: Largest norm of one parameter's gradient; 0 = no clipping.
        freeze_last_layer_epochs: First epochs in which the head's last layer stays as it is.
        drop_path: Rate of stochastic depth in the student.
        seed: Of the order of tiles, the crops, the head and the stochastic depth.

    Source:
        Caron et al. 2021, Emerging properties in self-supervised vision transformers, arXiv:2104.14294.
    """

    epochs: int = 100
    batch: int = 64
    out_dim: int = 65536
    hidden_dim: int = 2048
    bottleneck_dim: int = 256
    norm_last_layer: bool = True
    student_temp: float = 0.1
    teacher_temp: float = 0.04
    warmup_teacher_temp: float = 0.04
    warmup_teacher_epochs: int = 0
    center_momentum: float = 0.9
    base_lr: float = 0.0005
    warmup_epochs: int = 10
    min_lr: float = 1e-6
    weight_decay: float = 0.04
    weight_decay_end: float = 0.4
    teacher_momentum: float = 0.996
    clip: float = 3.0
    freeze_last_layer_epochs: int = 1
    drop_path: float = 0.1
    seed: int = 0

    @property
    def peak_lr(self) -> float:
        """Learning rate after warm-up: the linear scaling rule."""
        return self.base_lr * self.batch / 256

    def faults(self) -> list[str]:
        """Every impossible value, each with what is allowed; empty for a recipe that can be run."""
        rules = [
            *_at_least(self, 1, "epochs", "global_px", "local_px", "hidden_dim", "bottleneck_dim"),
            *_at_least(self, 2, "batch", "out_dim"),
            *_at_least(self, 0, "local_crops", "warmup_epochs", "warmup_teacher_epochs", "freeze_last_layer_epochs"),
            *_at_least(self, 0, "min_lr", "weight_decay", "weight_decay_end", "clip", "seed"),
            *_at_least(self, 0, "brightness", "contrast", "saturation"),
            *_between(self, 1, "horizontal_flip", "vertical_flip", "jitter", "grey", "solarise", "teacher_momentum"),
            *_between(self, 1, "center_momentum"),
            *_between(self, 0.5, "hue"),
            *_ranges(self),
        ]
        for name in ("student_temp", "teacher_temp", "warmup_teacher_temp"):
            temperature = getattr(self, name)
            rules.append((0 < temperature <= _MAX_TEACHER_TEMP, f"{name} = {temperature}", "above 0, at most 1"))
        rules += [
            (0 < self.base_lr < math.inf, f"base_lr = {self.base_lr}", "above 0"),
            (
                self.min_lr <= self.peak_lr,
                f"min_lr = {self.min_lr}",
                f"at most base_lr x batch / 256 = {self.peak_lr:g}",
            ),
            (
                self.warmup_epochs < self.epochs,
                f"warmup_epochs = {self.warmup_epochs}",
                f"below epochs = {self.epochs}",
            ),
            (
                self.warmup_teacher_epochs <= self.epochs,
                f"warmup_teacher_epochs = {self.warmup_teacher_epochs}",
                f"at most epochs = {self.epochs}",
            ),
            (
                self.freeze_last_layer_epochs <= self.epochs,
                f"freeze_last_layer_epochs = {self.freeze_last_layer_epochs}",
                f"at most epochs = {self.epochs}",
            ),
            (0 <= self.drop_path < 1, f"drop_path = {self.drop_path}", "0 or more, below 1"),
            (self.seed < 2**32, f"seed = {self.seed}", "below 2**32"),
        ]
        return [f"{found}; allowed: {allowed}" for holds, found, allowed in rules if not holds]


_Rule = tuple[bool, str, str]  # holds, what was found, what is allowed


def _at_least(recipe: DinoRecipe, low: int, *names: str) -> list[_Rule]:
    found = [(name, getattr(recipe, name)) for name in names]
    return [(low <= value < math.inf, f"{name} = {value}", f"{low} or more") for name, value in found]


def _between(recipe: DinoRecipe, high: float, *names: str) -> list[_Rule]:
    found = [(name, getattr(recipe, name)) for name in names]
    return [(0 <= value <= high, f"{name} = {value}", f"0 to {high:g}") for name, value in found]


def _ranges(recipe: DinoRecipe) -> list[_Rule]:
    rules = []
    for name in ("global_scale", "local_scale"):
        low, high = getattr(recipe, name)
        rules.append((0 < low <= high <= 1, f"{name} = {[low, high]}", "two rising shares, above 0, at most 1"))
    low, high = recipe.blur_sigma_px
    rules.append((0 < low <= high < math.inf, f"blur_sigma_px = {[low, high]}", "two rising numbers above 0"))
    rules.append((all(0 <= p <= 1 for p in recipe.blur), f"blur = {list(recipe.blur)}", "three probabilities, 0 to 1"))
    return rules
