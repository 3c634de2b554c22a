"""DINO: a student network learns to say of any crop of a tile what its own moving average says of large crops.

Caron et al. 2021, Emerging properties in self-supervised vision transformers, arXiv:2104.14294. Written
anew from the paper; where the published code settles what the paper leaves open, the code is followed and
the docstring says so.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ris_core.backbone import Backbone, BackboneSpec, build_backbone
from ris_core.training.augment import GLOBAL_CROPS
from ris_core.training.recipe import DinoRecipe

_INIT_STD = 0.02


class DinoHead(nn.Module):
    """Projection head: three linear layers with GELU between, a point on the unit sphere, K prototypes.

    The last layer is weight-normalised: each of its rows is a direction and a length. With
    ``norm_last_layer`` all lengths are 1 and stay so, which makes the outputs cosines.
    """

    def __init__(self, d: int, recipe: DinoRecipe) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(d, recipe.hidden_dim),
            nn.GELU(),
            nn.Linear(recipe.hidden_dim, recipe.hidden_dim),
            nn.GELU(),
            nn.Linear(recipe.hidden_dim, recipe.bottleneck_dim),
        )
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=_INIT_STD)
                nn.init.zeros_(layer.bias)
        directions = nn.Linear(recipe.bottleneck_dim, recipe.out_dim, bias=False).weight  # torch's own initial values
        self.last_direction = nn.Parameter(directions.detach())
        self.last_length = None if recipe.norm_last_layer else nn.Parameter(torch.ones(recipe.out_dim, 1))

    def forward(self, features: Tensor) -> Tensor:
        """(n, d) features -> (n, K) logits."""
        points = functional.normalize(self.layers(features).float(), dim=1)  # (n, bottleneck)
        prototypes = functional.normalize(self.last_direction, dim=1)  # (K, bottleneck)
        if self.last_length is not None:
            prototypes = prototypes * self.last_length
        return functional.linear(points, prototypes)

    def last_layer(self) -> list[nn.Parameter]:
        """The parameters that stay as they are in the first epochs."""
        return [self.last_direction] if self.last_length is None else [self.last_direction, self.last_length]


class DinoNetwork(nn.Module):
    """A backbone with its head."""

    def __init__(self, backbone: Backbone, head: DinoHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, crops: Iterable[Tensor]) -> Tensor:
        """Batches of crops, one for each size, -> (all crops, K) logits; each size is one pass of the backbone."""
        return self.head(torch.cat([self.backbone(batch) for batch in crops]))


@dataclasses.dataclass(frozen=True, eq=False)
class DinoLossParts:
    """The loss of one batch and what it is made of: scalars in nats, on the device.

    Attributes:
        loss: Cross-entropy of teacher and student, averaged over pairs of different crops and tiles; differentiable.
        teacher_entropy: Entropy of the teacher's distributions, averaged; 0 to ln K.
        kl: Divergence of the student from the teacher, averaged over the same pairs: loss less entropy.
        dominance: Largest of the teacher's probabilities averaged over the batch, 1/K to 1: 1 where one output rules.
    """

    loss: Tensor
    teacher_entropy: Tensor
    kl: Tensor
    dominance: Tensor


class DinoLoss(nn.Module):
    """Cross-entropy between a centred, sharpened teacher and the student, and the centre's moving average."""

    center: Tensor  # (K,) float32

    def __init__(self, recipe: DinoRecipe) -> None:
        super().__init__()
        self.student_temp = recipe.student_temp
        self.center_momentum = recipe.center_momentum
        self.register_buffer("center", torch.zeros(recipe.out_dim))

    def forward(self, student: Tensor, teacher: Tensor, teacher_temp: float) -> DinoLossParts:
        """Loss of a batch of b tiles with v crops each.

        Args:
            student: (v b, K) logits, crop by crop, the two global crops first.
            teacher: (2 b, K) logits of the global crops.
            teacher_temp: Temperature of the teacher's softmax.

        Each of the 2 (v - 1) pairs of a teacher's crop and another crop of the student counts alike. With
        log softmax(s) = s - logsumexp(s) the sum over pairs needs one product with the teacher's
        probabilities for each global crop and one for the sum of all local crops. The divergence costs nothing:
        every global crop meets as many others, so the mean entropy over pairs is that over global crops
        (section 5.3 of the paper).
        """
        _, k = teacher.shape
        scores = student.float().view(-1, len(teacher) // GLOBAL_CROPS, k) / self.student_temp  # (v, b, K)
        with torch.no_grad():
            log_targets = functional.log_softmax((teacher.float() - self.center) / teacher_temp, dim=1)
            targets = log_targets.exp().view(GLOBAL_CROPS, -1, k)  # (2, b, K)
            entropy = -(targets * log_targets.view_as(targets)).sum() / len(teacher)
            both = targets.sum(dim=0)  # (b, K)
            dominance = both.sum(dim=0).amax() / len(teacher)
        views, b, _ = scores.shape
        normalisers = scores.logsumexp(dim=2).sum(dim=1)  # (v,)
        whole, local = scores[:GLOBAL_CROPS], scores[GLOBAL_CROPS:]
        agreement = (whole * targets.flip(0)).sum() + (local.sum(dim=0) * both).sum()
        total = normalisers[:GLOBAL_CROPS].sum() + GLOBAL_CROPS * normalisers[GLOBAL_CROPS:].sum() - agreement
        loss = total / (b * GLOBAL_CROPS * (views - 1))
        return DinoLossParts(loss, entropy, loss.detach() - entropy, dominance)

    @torch.no_grad()
    def update_center(self, teacher: Tensor) -> None:
        """Move the centre towards the mean of the teacher's (n, K) logits."""
        self.center.lerp_(teacher.float().mean(dim=0), 1 - self.center_momentum)


def make_networks(spec: BackboneSpec, recipe: DinoRecipe) -> tuple[DinoNetwork, DinoNetwork]:
    """Student and teacher with the same weights; only the student drops paths and has gradients.

    The head's weights come from torch's global generator.
    """
    student = DinoNetwork(*_with_head(build_backbone(spec, drop_path=recipe.drop_path), recipe))
    teacher = DinoNetwork(*_with_head(build_backbone(spec), recipe))
    teacher.load_state_dict(student.state_dict())
    teacher.requires_grad_(False)
    return student, teacher


def _with_head(backbone: Backbone, recipe: DinoRecipe) -> tuple[Backbone, DinoHead]:
    return backbone, DinoHead(backbone.d, recipe)


def parameter_groups(network: nn.Module) -> list[dict[str, Any]]:
    """Two groups for the optimiser: what decays (first), and biases and vectors, which do not."""
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    decaying = [p for name, p in named if p.ndim > 1 and not name.endswith(".bias")]
    others = [p for name, p in named if p.ndim <= 1 or name.endswith(".bias")]
    return [{"params": decaying}, {"params": others, "weight_decay": 0.0}]


@torch.no_grad()
def clip_each(parameters: Iterable[Tensor], max_norm: float) -> None:
    """Shorten each parameter's gradient to ``max_norm``, in place, without waiting for the device.

    As the published code does: parameter by parameter, not by the norm of all gradients together.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    factors = torch.stack(torch._foreach_norm(gradients)).add_(1e-6).reciprocal_().mul_(max_norm).clamp_(max=1)
    torch._foreach_mul_(gradients, list(factors.unbind()))


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Move every weight of the teacher towards the student's: m teacher + (1 - m) student."""
    torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1 - momentum)
