"""The crops that DINO trains on, made in batches on the device from tiles of 8 bits.

First everything that is random is drawn, on the CPU; then the crops follow without another draw. So the same draws
give the same crops on every device, and several processes can share the draws of one batch.
"""

import dataclasses
from typing import TypeVar

import torch
from torch import Tensor

from ris_core.device import send
from ris_core.preprocess import PREPROCESSING
from ris_core.training.photometric import PhotometricDraws, PhotometricRecipe, change_look, draw_photometric
from ris_core.training.windows import WindowRecipe, Windows, cut_windows, draw_windows

GLOBAL_CROPS = 2


@dataclasses.dataclass(frozen=True)
class CropRecipe:
    """How the crops of a tile are drawn; the defaults are the published ones. Probabilities are in [0, 1].

    Attributes:
        global_px: Side of the two global crops.
        local_px: Side of the local crops.
        local_crops: Number of local crops.
        global_scale: Range of the share of the tile's area that a global crop shows.
        local_scale: The same of local crops.
        horizontal_flip: Probability of mirroring left and right.
        vertical_flip: Probability of mirroring top and bottom; nadir imagery has no up.
        quarter_turns: Whether crops are turned by 0, 90, 180 or 270 degrees, each as likely.
        jitter: Probability that brightness, contrast, saturation and hue change, in an order drawn anew.
        brightness: Largest change of the factor around 1.
        contrast: Likewise.
        saturation: Likewise.
        hue: Largest shift, in turns of the colour circle.
        grey: Probability of losing all colour.
        blur: Probabilities of a Gaussian blur of the first and second global crop and of local crops.
        blur_sigma_px: Range of its standard deviation, in pixels of the crop.
        solarise: Probability, for the second global crop only, that values from 128 up are inverted.
    """

    global_px: int = 224
    local_px: int = 96
    local_crops: int = 8
    global_scale: tuple[float, float] = (0.4, 1.0)
    local_scale: tuple[float, float] = (0.05, 0.4)
    horizontal_flip: float = 0.5
    vertical_flip: float = 0.0
    quarter_turns: bool = False
    jitter: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1
    grey: float = 0.2
    blur: tuple[float, float, float] = (1.0, 0.1, 0.5)
    blur_sigma_px: tuple[float, float] = (0.1, 2.0)
    solarise: float = 0.2


@dataclasses.dataclass(frozen=True, eq=False)
class ViewDraws:
    """What makes the crops of one size: v n of them, crop by crop, so that the first n belong to the first crop.

    Attributes:
        windows: Of v n crops.
        looks: Likewise.
    """

    windows: Windows
    looks: PhotometricDraws


@dataclasses.dataclass(frozen=True, eq=False)
class CropDraws:
    """All that is drawn to make the crops of a batch; on the CPU.

    Attributes:
        n: Number of tiles.
        whole: Of the two global crops.
        local: Of the local ones; None where the recipe has none.
    """

    n: int
    whole: ViewDraws
    local: ViewDraws | None

    def part(self, rows: slice) -> "CropDraws":
        """The draws of some of the tiles."""

        def of(draws: ViewDraws) -> ViewDraws:
            return ViewDraws(_rows(draws.windows, self.n, rows), _rows(draws.looks, self.n, rows))

        return CropDraws(len(range(self.n)[rows]), of(self.whole), self.local and of(self.local))


def draw_crops(n: int, size_px: int, recipe: CropRecipe, generator: torch.Generator) -> CropDraws:
    """The draws for a batch of n tiles of ``size_px``, from a generator of the CPU."""
    first, second, local = (
        _look(recipe, blur, solarise) for blur, solarise in zip(recipe.blur, (0, recipe.solarise, 0), strict=True)
    )
    turns = (recipe.horizontal_flip, recipe.vertical_flip, recipe.quarter_turns)
    whole = ViewDraws(
        draw_windows(GLOBAL_CROPS * n, size_px, WindowRecipe(recipe.global_scale, *turns), generator),
        PhotometricDraws.join([draw_photometric(n, look, generator) for look in (first, second)]),
    )
    if not recipe.local_crops:
        return CropDraws(n, whole, None)
    crops = recipe.local_crops * n
    windows = draw_windows(crops, size_px, WindowRecipe(recipe.local_scale, *turns), generator)
    return CropDraws(n, whole, ViewDraws(windows, draw_photometric(crops, local, generator)))


def make_crops(
    pixels: Tensor, draws: CropDraws, recipe: CropRecipe, preprocess: str = "native"
) -> tuple[Tensor, Tensor | None]:
    """Global and local crops of a batch of tiles, normalised as features are extracted later.

    Args:
        pixels: (b, size, size, 3) uint8, on the device that is to do the work.
        draws: For b tiles of that size by this recipe.
        recipe: Which sizes the crops have.
        preprocess: Key of `PREPROCESSING`, of which only the mean and standard deviation are used.

    Returns:
        (2 b, 3, global_px, global_px) and (local_crops b, 3, local_px, local_px) float32, crop by crop: the
        first b belong to the first crop. The second is None where the recipe has no local crops.

    Source:
        The multi-crop augmentation of DINO (arXiv:2104.14294, appendix) with torchvision's definitions.
        Differs: after the crop values stay fractions between the changes, where PIL rounds to 8 bits each time.
    """
    statistics = PREPROCESSING[preprocess]
    mean, std = send(torch.tensor([statistics.mean, statistics.std]), pixels.device).view(2, 3, 1, 1)

    def crops_of(views: ViewDraws, out_px: int) -> Tensor:
        looked_at = change_look(cut_windows(pixels, views.windows, out_px), views.looks)
        return looked_at.float().sub_(mean).div_(std)

    whole = crops_of(draws.whole, recipe.global_px)
    return whole, crops_of(draws.local, recipe.local_px) if draws.local else None


def _look(recipe: CropRecipe, blur: float, solarise: float) -> PhotometricRecipe:
    """The photometric part of a recipe for one kind of crop."""
    shared = {name: getattr(recipe, name) for name in ("jitter", "brightness", "contrast", "saturation", "hue", "grey")}
    return PhotometricRecipe(**shared, blur=blur, blur_sigma_px=recipe.blur_sigma_px, solarise=solarise)


_Draws = TypeVar("_Draws", Windows, PhotometricDraws)


def _rows(draws: _Draws, n: int, rows: slice) -> _Draws:
    """Of draws for v crops of n tiles those of some tiles, crop by crop."""
    fields = (getattr(draws, field.name) for field in dataclasses.fields(draws))
    return type(draws)(*(field.unflatten(0, (-1, n))[:, rows].flatten(0, 1) for field in fields))
