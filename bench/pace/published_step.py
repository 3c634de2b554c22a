"""A DINO training step as the published code takes it: view by view, parameter by parameter, waiting for the device."""

import math
from collections.abc import Iterable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ris_core.backbone import BackboneSpec
from ris_core.errors import CheckpointError
from ris_core.training.augment import GLOBAL_CROPS
from ris_core.training.dino import make_networks, parameter_groups
from ris_core.training.recipe import DinoRecipe
from ris_core.training.schedules import make_schedules

Network = TypeVar("Network", bound=nn.Module)


class PublishedLoss:
    """Cross-entropy over every pair of a teacher's and another student's view, one pair after the other."""

    def __init__(self, recipe: DinoRecipe, device: str) -> None:
        self.student_temp = recipe.student_temp
        self.center_momentum = recipe.center_momentum
        self.center = torch.zeros(1, recipe.out_dim, device=device)

    def __call__(self, student: Tensor, teacher: Tensor, teacher_temp: float) -> Tensor:
        """The loss, a scalar; the centre moves.

        Args:
            student: (v b, K) logits, view by view, the global ones first.
            teacher: (2 b, K) logits of the global views.
            teacher_temp: Temperature of the teacher's softmax.
        """
        student_views = (student / self.student_temp).chunk(len(student) * GLOBAL_CROPS // len(teacher))
        sharpened = functional.softmax((teacher - self.center) / teacher_temp, dim=-1)
        total, pairs = torch.zeros((), device=student.device), 0
        for i, target in enumerate(sharpened.detach().chunk(GLOBAL_CROPS)):
            for j, scores in enumerate(student_views):
                if i != j:
                    total = total + torch.sum(-target * functional.log_softmax(scores, dim=-1), dim=-1).mean()
                    pairs += 1
        with torch.no_grad():
            mean = teacher.mean(dim=0, keepdim=True)
            self.center = self.center * self.center_momentum + mean * (1 - self.center_momentum)
        return total / pairs


class Trainer:
    """A training by the published loop.

    Attributes:
        student: What learns.
        teacher: Its moving average.
        loss: Holds the centre.

    Args:
        spec: The network.
        recipe: What is done; the schedules are ours.
        steps: Steps an epoch.
        device: ``"cpu"`` or ``"cuda"``.
    """

    def __init__(self, spec: BackboneSpec, recipe: DinoRecipe, steps: int, device: str) -> None:
        torch.manual_seed(recipe.seed)
        self.student, self.teacher = (
            write_attention_out(network).to(device).train() for network in make_networks(spec, recipe)
        )
        self.loss = PublishedLoss(recipe, device)
        self._recipe, self._device, self._steps = recipe, device, steps
        self._schedules = make_schedules(recipe, steps)
        self._optimizer = torch.optim.AdamW(parameter_groups(self.student))
        self._is_half = device == "cuda"
        self._scaler = torch.amp.GradScaler(device, enabled=self._is_half)
        self._now = 0

    def step(self, crops: Sequence[Tensor]) -> float:
        """One step on the crops of a batch, (b, 3, side, side) each; its loss.

        Raises:
            CheckpointError: If the loss is no number.
        """
        schedules, now = self._schedules, self._now
        for number, group in enumerate(self._optimizer.param_groups):
            group["lr"] = schedules.lr[now]
            if number == 0:
                group["weight_decay"] = schedules.weight_decay[now]
        views = [crop.to(self._device, non_blocking=True) for crop in crops]
        whole, local = torch.cat(views[:GLOBAL_CROPS]), views[GLOBAL_CROPS:]
        with torch.autocast(self._device, torch.float16, enabled=self._is_half):
            with torch.no_grad():
                targets = self.teacher([whole])
            logits = self.student([whole, torch.cat(local)] if local else [whole])
            loss = self.loss(logits, targets, schedules.teacher_temp[now // self._steps])
        value = loss.item()
        if not math.isfinite(value):
            raise CheckpointError(f"the published training diverged in step {now + 1}: its loss is {value}.")
        self._update_student(loss)
        _average(self.teacher, self.student, float(schedules.teacher_momentum[now]))
        if self._is_half:
            torch.cuda.synchronize()  # as the published loop does before it logs
        self._now += 1
        return value

    def _update_student(self, loss: Tensor) -> None:
        self._optimizer.zero_grad()
        self._scaler.scale(loss).backward()
        if self._recipe.clip > 0:
            self._scaler.unscale_(self._optimizer)
            _clip(self.student.parameters(), self._recipe.clip)
        self._scaler.step(self._optimizer)
        self._scaler.update()


def write_attention_out(network: Network) -> Network:
    """The network with softmax and products of its attention as steps of their own, as the published code has them."""
    for module in network.modules():
        if hasattr(module, "fused_attn"):
            setattr(module, "fused_attn", False)  # noqa: B010 - a module's attributes have no types
    return network


def _clip(parameters: Iterable[nn.Parameter], max_norm: float) -> list[float]:
    """Shorten each parameter's gradient by itself; the norms, for which the device is waited for one by one."""
    norms = []
    for parameter in parameters:
        if parameter.grad is not None:
            norm = parameter.grad.norm(2)
            norms.append(norm.item())
            factor = max_norm / (norm + 1e-6)
            if factor < 1:
                parameter.grad.mul_(factor)
    return norms


@torch.no_grad()
def _average(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
        slow.mul_(momentum).add_(fast.detach(), alpha=1 - momentum)
