"""What a training with labels does, as one record a method."""

import dataclasses
import math
from typing import Literal


@dataclasses.dataclass(frozen=True)
class LabelRecipe:
    """What the methods share. In training the network sees a window of each tile, at the size that it sees later.

    Attributes:
        epochs: Passes over the tiles.
        batch: Tiles a step.
        lr: Learning rate of AdamW after warm-up.
        warmup_epochs: Epochs of linear warm-up of the learning rate, fewer than ``epochs``.
        min_lr: Learning rate at the end of the half cosine that follows.
        weight_decay: Of matrices; biases and vectors have none.
        window_scale: Range of the share of the tile's area that a window shows.
        horizontal_flip: Probability of mirroring left and right.
        vertical_flip: Probability of mirroring top and bottom; nadir imagery has no up.
        quarter_turns: Whether windows are turned by 0, 90, 180 or 270 degrees, each as likely.
        seed: Of the order of tiles, the windows, the classifier and the noise of discrete units.

    Source:
        AdamW: Loshchilov and Hutter 2019, arXiv:1711.05101. Windows as torchvision's RandomResizedCrop.
    """

    epochs: int = 20
    batch: int = 64
    lr: float = 0.003
    warmup_epochs: int = 1
    min_lr: float = 1e-6
    weight_decay: float = 0.05
    window_scale: tuple[float, float] = (0.6, 1.0)
    horizontal_flip: float = 0.5
    vertical_flip: float = 0.0
    quarter_turns: bool = False
    seed: int = 0

    def faults(self) -> list[str]:
        """Every impossible value, each with what is allowed; empty for a recipe that can be run."""
        low, high = self.window_scale
        rules = [
            (self.epochs >= 1, f"epochs = {self.epochs}", "1 or more"),
            (self.batch >= 2, f"batch = {self.batch}", "2 or more"),
            (0 < self.lr < math.inf, f"lr = {self.lr}", "above 0"),
            (0 <= self.min_lr <= self.lr, f"min_lr = {self.min_lr}", f"0 to lr = {self.lr:g}"),
            (0 <= self.weight_decay < math.inf, f"weight_decay = {self.weight_decay}", "0 or more"),
            (0 <= self.warmup_epochs < self.epochs, f"warmup_epochs = {self.warmup_epochs}", "0 to below epochs"),
            (0 < low <= high <= 1, f"window_scale = {[low, high]}", "two rising shares, above 0, at most 1"),
            (0 <= self.horizontal_flip <= 1, f"horizontal_flip = {self.horizontal_flip}", "0 to 1"),
            (0 <= self.vertical_flip <= 1, f"vertical_flip = {self.vertical_flip}", "0 to 1"),
            (0 <= self.seed < 2**32, f"seed = {self.seed}", "0 to below 2**32"),
            *self._own_rules(),
        ]
        return [f"{found}; allowed: {allowed}" for holds, found, allowed in rules if not holds]

    def _own_rules(self) -> list[tuple[bool, str, str]]:
        """Those of one method: whether each holds, what was found, what is allowed."""
        return []


@dataclasses.dataclass(frozen=True)
class ClassifyRecipe(LabelRecipe):
    """Cross-entropy of a linear classifier on the feature; the classifier is thrown away afterwards.

    Attributes:
        label_smoothing: Share of the target that is spread over all labels: Szegedy et al. 2016, arXiv:1512.00567.
    """

    method: Literal["classify"] = "classify"
    label_smoothing: float = 0.0

    def _own_rules(self) -> list[tuple[bool, str, str]]:
        return [(0 <= self.label_smoothing < 1, f"label_smoothing = {self.label_smoothing}", "0 or more, below 1")]


@dataclasses.dataclass(frozen=True)
class PairRecipe(LabelRecipe):
    """What the methods share that compare tiles: every batch holds pairs of tiles of one label.

    Attributes:
        margin: How far tiles of other labels are to be away: see the methods.
    """

    margin: float = 0.5

    def _own_rules(self) -> list[tuple[bool, str, str]]:
        return [
            (self.batch >= 4 and self.batch % 2 == 0, f"batch = {self.batch}", "4 or more, even: it is made of pairs"),
            (0 < self.margin <= 4, f"margin = {self.margin}", "above 0, at most 4"),
        ]


@dataclasses.dataclass(frozen=True)
class ContrastiveRecipe(PairRecipe):
    """Pairs of one label are drawn together, the hardest of other labels pushed apart; see `contrastive_loss`.

    Attributes:
        margin: Distance of unit vectors, 0 to 2, beyond which other labels are far enough.
        negatives: Tiles of other labels that each tile is pushed from: the nearest of its batch.
    """

    method: Literal["contrastive"] = "contrastive"
    margin: float = 0.7
    negatives: int = 5

    def _own_rules(self) -> list[tuple[bool, str, str]]:
        return [*super()._own_rules(), (self.negatives >= 1, f"negatives = {self.negatives}", "1 or more")]


@dataclasses.dataclass(frozen=True)
class TripletRecipe(PairRecipe):
    """A tile is to be nearer to its own label than to others; see `triplet_loss`.

    Attributes:
        margin: By which squared distances of unit vectors, 0 to 4, are to differ.
        mining: ``"semi_hard"``: for each pair the nearest tile of another label that is farther than the pair.
            ``"batch_hard"``: for each tile the farthest of its label and the nearest of another in the batch.
    """

    method: Literal["triplet"] = "triplet"
    margin: float = 0.2
    mining: Literal["semi_hard", "batch_hard"] = "semi_hard"


LABEL_RECIPES: dict[str, type[LabelRecipe]] = {
    "classify": ClassifyRecipe,
    "contrastive": ContrastiveRecipe,
    "triplet": TripletRecipe,
}
