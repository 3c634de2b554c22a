"""Losses of features by labels: cross-entropy of a linear classifier, and two that compare tiles of one batch."""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from ris_core.training.label_recipe import ClassifyRecipe, ContrastiveRecipe, LabelRecipe, TripletRecipe

_TINY = 1e-12  # under the square root of a squared distance, whose slope at 0 is infinite


class LabelLossParts(NamedTuple):
    """What a loss says of a batch.

    Attributes:
        loss: Scalar, to be minimised.
        right: Scalar, tiles whose label was told; NaN where nothing is told.
    """

    loss: torch.Tensor
    right: torch.Tensor


class LabelLoss(nn.Module):
    """The loss of a recipe: (b, d) features and (b,) codes of their labels -> `LabelLossParts`.

    Its weights, if it has any, come from torch's global generator.
    """

    def __init__(self, recipe: LabelRecipe, d: int, classes: int) -> None:
        super().__init__()
        self.recipe = recipe
        self.classifier = nn.Linear(d, classes) if isinstance(recipe, ClassifyRecipe) else None

    def forward(self, features: torch.Tensor, codes: torch.Tensor) -> LabelLossParts:
        """See the class."""
        recipe, nothing = self.recipe, torch.full((), torch.nan, device=features.device)
        if isinstance(recipe, ClassifyRecipe) and self.classifier is not None:
            logits = self.classifier(features).float()
            loss = functional.cross_entropy(logits, codes, label_smoothing=recipe.label_smoothing)
            return LabelLossParts(loss, (logits.argmax(dim=1) == codes).sum())
        unit = functional.normalize(features.float(), dim=1)
        if isinstance(recipe, ContrastiveRecipe):
            return LabelLossParts(contrastive_loss(unit, codes, recipe.margin, recipe.negatives), nothing)
        if isinstance(recipe, TripletRecipe):
            return LabelLossParts(triplet_loss(unit, codes, recipe.margin, recipe.mining), nothing)
        raise TypeError(f"no loss for {type(recipe).__name__}")


def squared_distances(features: torch.Tensor) -> torch.Tensor:
    """(b, d) of unit length -> (b, b) squared Euclidean distances, in [0, 4]."""
    return (2 - 2 * features @ features.T).clamp(min=0)


def contrastive_loss(features: torch.Tensor, codes: torch.Tensor, margin: float, negatives: int) -> torch.Tensor:
    """Half the squared distance to the other tile of the pair, and half the squared lack of distance to others.

    A tile is compared with its partner and with the ``negatives`` nearest tiles of other labels in the batch.

    Args:
        features: (b, d) of unit length; tiles 2 i and 2 i + 1 are a pair.
        codes: (b,) of their labels.
        margin: Distance beyond which other labels cost nothing.
        negatives: Of each tile, fewer where the batch has fewer.

    Returns:
        Scalar: mean over tiles of the sum over what each is compared with.

    Source:
        Hadsell et al. 2006, Dimensionality reduction by learning an invariant mapping; tuples of a query, a positive
        and five hard negatives as in Radenović et al. 2018, arXiv:1711.02512. Differs: negatives are mined within
        the batch and not in a pool described anew for each epoch, so a label may be there more than once.
    """
    squared = squared_distances(features)
    rows = torch.arange(len(codes), device=codes.device)
    positive = squared[rows, rows ^ 1] / 2
    is_other = codes.unsqueeze(1) != codes.unsqueeze(0)
    nearest = squared.masked_fill(~is_other, torch.inf).topk(min(negatives, len(codes)), largest=False).values
    distances = nearest.clamp(min=_TINY).sqrt()  # infinite for what is no other label: it costs nothing
    lack = (margin - distances).clamp(min=0)
    return (positive + (lack.square() / 2).sum(dim=1)).mean()


def triplet_loss(features: torch.Tensor, codes: torch.Tensor, margin: float, mining: str) -> torch.Tensor:
    """By how much other labels are not farther, by a margin, than tiles of one's own label.

    Args:
        features: (b, d) of unit length.
        codes: (b,) of their labels.
        margin: In squared distance.
        mining: ``"semi_hard"`` or ``"batch_hard"``.

    Returns:
        Scalar: mean over the triplets; 0 where the batch has none. Semi-hard mining holds some 10 b^3 bytes: 3 MB
        for a batch of 64, 10 GB for one of 1,000.

    Source:
        Schroff et al. 2015, FaceNet, arXiv:1503.03832: squared distances of unit vectors, all pairs of a label, and
        the nearest negative that is farther than the pair, or the farthest where none is. Batch-hard: Hermans et al.
        2017, arXiv:1703.07737. Differs: with squared distances there too.
    """
    squared = squared_distances(features)
    is_other = codes.unsqueeze(1) != codes.unsqueeze(0)
    is_pair = ~is_other & ~torch.eye(len(codes), dtype=torch.bool, device=codes.device)
    if mining == "batch_hard":
        near, far = squared.masked_fill(~is_pair, -torch.inf).amax(dim=1), squared.masked_fill(~is_other, torch.inf)
        return _mean_where((near - far.amin(dim=1) + margin).clamp(min=0), is_pair.any(dim=1) & is_other.any(dim=1))
    farther = is_other.unsqueeze(1) & (squared.unsqueeze(1) > squared.unsqueeze(2))  # (anchor, positive, negative)
    nearest = squared.unsqueeze(1).expand_as(farther).masked_fill(~farther, torch.inf).amin(dim=2)
    farthest = squared.masked_fill(~is_other, -torch.inf).amax(dim=1, keepdim=True)
    negative = torch.where(nearest.isinf(), farthest, nearest)
    return _mean_where((squared - negative + margin).clamp(min=0), is_pair & is_other.any(dim=1, keepdim=True))


def _mean_where(values: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Mean of the values that count; 0, with a gradient of 0, where none does."""
    return values.masked_fill(~counts, 0).sum() / counts.sum().clamp(min=1)
