"""DINO's crops of one Pillow image by torchvision's transforms."""

import random

from PIL import Image, ImageFilter, ImageOps
from torch import Tensor
from torchvision import transforms

from ris_core.preprocess import Preprocessing
from ris_core.training.augment import CropRecipe

BICUBIC = transforms.InterpolationMode.BICUBIC


class MultiCrop:
    """All crops of an image, each (3, side, side), the two global ones first.

    Source:
        The augmentation of DINO (arXiv:2104.14294, appendix). Differs: none; a recipe's vertical flips and quarter
        turns, which it does not know, are left out.
    """

    def __init__(self, recipe: CropRecipe, statistics: Preprocessing) -> None:
        first, second, others = recipe.blur
        near = (recipe.global_px, recipe.global_scale)
        self._whole = [
            _crop(recipe, *near, [_Blur(recipe, first)], statistics),
            _crop(recipe, *near, [_Blur(recipe, second), _Solarise(recipe.solarise)], statistics),
        ]
        self._local = _crop(recipe, recipe.local_px, recipe.local_scale, [_Blur(recipe, others)], statistics)
        self._local_crops = recipe.local_crops

    def __call__(self, image: Image.Image) -> list[Tensor]:
        """The crops of an image."""
        return [crop(image) for crop in self._whole] + [self._local(image) for _ in range(self._local_crops)]


class _Blur:
    """A Gaussian blur by Pillow, with a chance."""

    def __init__(self, recipe: CropRecipe, chance: float) -> None:
        self._sigma_px, self._chance = recipe.blur_sigma_px, chance

    def __call__(self, image: Image.Image) -> Image.Image:
        if random.random() >= self._chance:
            return image
        return image.filter(ImageFilter.GaussianBlur(random.uniform(*self._sigma_px)))


class _Solarise:
    """Values from 128 up inverted, with a chance."""

    def __init__(self, chance: float) -> None:
        self._chance = chance

    def __call__(self, image: Image.Image) -> Image.Image:
        return ImageOps.solarize(image) if random.random() < self._chance else image


def _crop(
    recipe: CropRecipe, side_px: int, scale: tuple[float, float], looks: list[object], statistics: Preprocessing
) -> transforms.Compose:
    """The transform of an image to one kind of crop; ``looks`` come between the changes of colour and the numbers."""
    jitter = transforms.ColorJitter(recipe.brightness, recipe.contrast, recipe.saturation, recipe.hue)
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(side_px, scale=scale, interpolation=BICUBIC),
            transforms.RandomHorizontalFlip(recipe.horizontal_flip),
            transforms.RandomApply([jitter], p=recipe.jitter),
            transforms.RandomGrayscale(recipe.grey),
            *looks,
            transforms.ToTensor(),
            transforms.Normalize(statistics.mean, statistics.std),
        ]
    )
