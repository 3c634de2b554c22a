"""The layer after pooling whose output is the feature: a few numbers, bits, or choices of one of several levels.

Discrete outputs have no gradient. Both estimators answer with the hard value and learn through a soft one.
"""

import dataclasses
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

STRAIGHT_THROUGH = "straight_through"
CONTINUOUS, CATEGORICAL = "continuous", "categorical"


@dataclasses.dataclass(frozen=True)
class Bottleneck:
    """What a backbone's feature is squeezed into.

    Attributes:
        kind: ``"continuous"``: numbers, by a linear layer. ``"binary"``: 0.0 or 1.0. ``"categorical"``: groups of
            ``levels`` numbers, one of which is 1.0 and the others 0.0.
        units: Numbers, bits, or groups.
        levels: Values that a categorical unit can take; the other kinds have none.
        estimator: How discrete units learn. ``"straight_through"``: as if the hard value were the sigmoid or softmax.
            ``"gumbel"``: likewise, after noise that makes the hard value a draw by those probabilities.
        temperature: Divides what goes into the sigmoid or softmax that discrete units learn through.
    """

    kind: Literal["continuous", "binary", "categorical"] = "continuous"
    units: int = 32
    levels: int | None = None
    estimator: Literal["straight_through", "gumbel"] = "straight_through"
    temperature: float = 1.0

    @property
    def d(self) -> int:
        """Length of the feature."""
        return self.units * (self.levels or 1)

    @property
    def is_discrete(self) -> bool:
        """Whether features are 0.0 and 1.0 alone."""
        return self.kind != CONTINUOUS

    def faults(self) -> list[str]:
        """Everything that is impossible about it, one sentence a fault."""
        faults = []
        if self.units < 1:
            faults.append(f"units = {self.units} must be at least 1.")
        if self.kind == CATEGORICAL and (self.levels is None or self.levels < 2):
            faults.append(f"levels = {self.levels}: a categorical unit needs at least 2 levels.")
        if self.kind != CATEGORICAL and self.levels is not None:
            faults.append(f"levels = {self.levels}: {self.kind} units have none. Remove it.")
        if not 0 < self.temperature < float("inf"):
            faults.append(f"temperature = {self.temperature} must be above 0.")
        if not self.is_discrete and (self.estimator != STRAIGHT_THROUGH or self.temperature != 1):
            faults.append("estimator and temperature belong to discrete units. Remove them, or set kind = 'binary'.")
        return faults


class BottleneckLayer(nn.Module):
    """(b, channels) pooled features -> (b, d).

    Discrete units are normalised over the batch first, so that a bit is 1 for about half of the images: a bit that is
    always the same says nothing. In evaluation they take running statistics and no noise, and are exactly 0.0 or 1.0.

    Source:
        Straight-through: Bengio et al. 2013, arXiv:1308.3432, section 4; ours is the variant through the sigmoid's
        derivative, without the noise. Gumbel-softmax, straight-through: Jang et al. 2016, arXiv:1611.01144, section
        2.2; for two values its difference of two Gumbel draws is a logistic one. Differs: batch normalisation before,
        for balanced bits, with learnt scales where noise is drawn.
    """

    def __init__(self, spec: Bottleneck, channels: int) -> None:
        super().__init__()
        self.spec = spec
        self.linear = nn.Linear(channels, spec.d)
        draws = spec.estimator != STRAIGHT_THROUGH  # noise of fixed strength: the units learn how far to rise above it
        self.norm = nn.BatchNorm1d(spec.d, affine=draws) if spec.is_discrete else nn.Identity()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """See the class."""
        logits = self.norm(self.linear(features))
        if not self.spec.is_discrete:
            return logits
        if self.training and self.spec.estimator != STRAIGHT_THROUGH:
            logits = logits + self._noise(logits)
        soft, hard = self._categories(logits) if self.spec.levels else self._bits(logits)
        return soft + (hard - soft).detach() if self.training else hard

    def _noise(self, logits: torch.Tensor) -> torch.Tensor:
        """Draws whose addition makes the hard value a sample: Gumbel for categories, logistic for bits."""
        uniform = torch.rand_like(logits, dtype=torch.float32).clamp(1e-6, 1 - 1e-6)
        return -(-uniform.log()).log() if self.spec.levels else uniform.logit()

    def _bits(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.sigmoid(logits / self.spec.temperature), (logits > 0).to(logits.dtype)

    def _categories(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        grouped = logits.unflatten(1, (self.spec.units, -1))  # (b, units, levels)
        chosen = functional.one_hot(grouped.argmax(dim=2), grouped.shape[2]).to(logits.dtype)
        return (grouped / self.spec.temperature).softmax(dim=2).flatten(1), chosen.flatten(1)
