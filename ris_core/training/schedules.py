"""Learning rate, weight decay, teacher momentum of every step, and teacher temperature of every epoch."""

import dataclasses

import numpy as np

from ris_core.training.recipe import DinoRecipe


@dataclasses.dataclass(frozen=True, eq=False)
class Schedules:
    """What a recipe prescribes over time.

    Attributes:
        lr: (steps,) float64.
        weight_decay: (steps,) float64.
        teacher_momentum: (steps,) float64.
        teacher_temp: (epochs,) float64.
    """

    lr: np.ndarray
    weight_decay: np.ndarray
    teacher_momentum: np.ndarray
    teacher_temp: np.ndarray


def make_schedules(recipe: DinoRecipe, steps_an_epoch: int) -> Schedules:
    """The schedules of a whole training of ``recipe.epochs * steps_an_epoch`` steps."""
    steps = recipe.epochs * steps_an_epoch
    return Schedules(
        lr=cosine(recipe.peak_lr, recipe.min_lr, steps, recipe.warmup_epochs * steps_an_epoch),
        weight_decay=cosine(recipe.weight_decay, recipe.weight_decay_end, steps),
        teacher_momentum=cosine(recipe.teacher_momentum, 1.0, steps),
        teacher_temp=np.concatenate(
            [
                np.linspace(recipe.warmup_teacher_temp, recipe.teacher_temp, recipe.warmup_teacher_epochs),
                np.full(recipe.epochs - recipe.warmup_teacher_epochs, recipe.teacher_temp),
            ]
        ),
    )


def cosine(start: float, end: float, steps: int, warmup_steps: int = 0) -> np.ndarray:
    """(steps,) float64: from 0 to ``start`` in equal steps, then towards ``end`` by half a cosine.

    The last value is one step short of ``end``, as in the source.

    Source:
        Loshchilov and Hutter 2017, SGDR, arXiv:1608.03983, with the linear warm-up of DINO (arXiv:2104.14294).
    """
    progress = np.arange(steps - warmup_steps) / max(steps - warmup_steps, 1)
    decay = end + 0.5 * (start - end) * (1 + np.cos(np.pi * progress))
    return np.concatenate([np.linspace(0, start, warmup_steps), decay])
