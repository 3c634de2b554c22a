"""Everything that a DINO training needs to go on where it was."""

import dataclasses
from typing import ClassVar, Self

import torch

from ris_core.backbone import BackboneSpec
from ris_core.training.dino import DinoLoss, DinoNetwork, make_networks, parameter_groups
from ris_core.training.recipe import DinoRecipe
from ris_core.training.resumable import STATE as STATE
from ris_core.training.resumable import ResumableState
from ris_core.training.resumable import training_key as training_key

SUMS = ("loss", "teacher_entropy", "kl", "dominance")  # of `DinoLossParts`


@dataclasses.dataclass(eq=False, kw_only=True)
class TrainingState(ResumableState):
    """A DINO training under way; ``sums`` are those of `SUMS`.

    Attributes:
        student: On the device, like all that follow.
        teacher: Moving average of the student.
        loss: Holds the centre.
    """

    MODULES: ClassVar[tuple[str, ...]] = ("student", "teacher", "loss", "optimizer")

    student: DinoNetwork
    teacher: DinoNetwork
    loss: DinoLoss

    @classmethod
    def start(cls, key: str, spec: BackboneSpec, recipe: DinoRecipe, device: torch.device) -> Self:
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
