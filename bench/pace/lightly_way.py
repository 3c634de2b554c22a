"""Training by lightly's DINO from the package index: its transform, head, loss and update, in a plain PyTorch loop.

It has neither tiling nor extraction of its own. The loop is that of its documentation: each view is a pass of its own.
On a GPU it runs under bf16 autocast, which its users have to add themselves.

Source:
    lightly (MIT), https://docs.lightly.ai/self-supervised-learning/examples/dino.html. Differs: AdamW, the recipe's
    learning rate and clipping in place of the example's Adam, so that a step does the work of the others. Its transform
    halves the colour changes of the second view whatever it is told, which costs no time.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightly.loss import DINOLoss
from lightly.models.modules import DINOProjectionHead
from lightly.models.utils import deactivate_requires_grad, update_momentum
from lightly.transforms.dino_transform import DINOTransform
from torch import Tensor, nn

from bench.pace.pil_images import ImageTraining
from bench.pace.work import BF16, FP32, TRAIN, WorkOrder
from ris_core.backbone import BackboneSpec, build_backbone
from ris_core.preprocess import PREPROCESSING, Preprocessing
from ris_core.training.augment import GLOBAL_CROPS
from ris_core.training.recipe import DinoRecipe

_STRENGTH = 1.0  # lightly multiplies its changes of colour by this


class Train(ImageTraining):
    """lightly's loop."""

    def __init__(self, order: WorkOrder) -> None:
        super().__init__(order)
        self.precision = BF16 if order.device == "cuda" else FP32
        self.transform = dino_transform(order.steady_recipe(1), PREPROCESSING[order.spec.preprocess])

    def make_step(self, rounds: int) -> Callable[[Any], object]:
        """See `ImageTraining.make_step`."""
        order = self.order
        return Trainer(order.spec, order.steady_recipe(rounds), order.device).step


def dino_transform(recipe: DinoRecipe, statistics: Preprocessing) -> DINOTransform:
    """Lightly's transform of an image to the recipe's crops."""
    return DINOTransform(
        global_crop_size=recipe.global_px,
        global_crop_scale=recipe.global_scale,
        local_crop_size=recipe.local_px,
        local_crop_scale=recipe.local_scale,
        n_local_views=recipe.local_crops,
        hf_prob=recipe.horizontal_flip,
        cj_prob=recipe.jitter,
        cj_strength=_STRENGTH,
        cj_bright=recipe.brightness,
        cj_contrast=recipe.contrast,
        cj_sat=recipe.saturation,
        cj_hue=recipe.hue,
        random_gray_scale=recipe.grey,
        gaussian_blur=recipe.blur,
        sigmas=recipe.blur_sigma_px,
        solarization_prob=recipe.solarise,
        normalize={"mean": list(statistics.mean), "std": list(statistics.std)},
    )


class Trainer:
    """A training by lightly's parts.

    Attributes:
        student: Backbone and head that learn.
        teacher: Their moving average.
        loss: Holds the centre.
    """

    def __init__(self, spec: BackboneSpec, recipe: DinoRecipe, device: str) -> None:
        torch.manual_seed(recipe.seed)
        self.student = _network(spec, recipe, recipe.drop_path).to(device).train()
        self.teacher = _network(spec, recipe, 0.0).to(device).train()
        self.teacher.load_state_dict(self.student.state_dict())
        deactivate_requires_grad(self.teacher)
        self.loss = DINOLoss(
            recipe.out_dim,
            teacher_temp=recipe.teacher_temp,
            warmup_teacher_temp_epochs=0,
            student_temp=recipe.student_temp,
            center_momentum=recipe.center_momentum,
        ).to(device)
        self._recipe, self._device = recipe, device
        self._optimizer = torch.optim.AdamW(
            self.student.parameters(), lr=recipe.peak_lr, weight_decay=recipe.weight_decay
        )

    def step(self, crops: Sequence[Tensor]) -> Tensor:
        """One step on the views of a batch, (b, 3, side, side) each; its loss, on the device."""
        update_momentum(self.student, self.teacher, m=self._recipe.teacher_momentum)
        views = [crop.to(self._device, non_blocking=True) for crop in crops]
        with torch.autocast(self._device, torch.bfloat16, enabled=self._device == "cuda"):
            targets = [self.teacher(view) for view in views[:GLOBAL_CROPS]]
            logits = [self.student(view) for view in views]
            loss = self.loss(targets, logits)
        loss.backward()
        if self._recipe.clip > 0:
            nn.utils.clip_grad_norm_(self.student.parameters(), self._recipe.clip)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return loss.detach()


def _network(spec: BackboneSpec, recipe: DinoRecipe, drop_path: float) -> nn.Sequential:
    backbone = build_backbone(spec, drop_path=drop_path)
    with warnings.catch_warnings():  # it calls the older of torch's two functions, which nobody here can change
        warnings.filterwarnings("ignore", ".*weight_norm", FutureWarning)
        head = DINOProjectionHead(
            backbone.d,
            recipe.hidden_dim,
            recipe.bottleneck_dim,
            recipe.out_dim,
            norm_last_layer=recipe.norm_last_layer,
        )
    return nn.Sequential(backbone, head)


WORKS = {TRAIN: Train}
