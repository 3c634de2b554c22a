"""Changes of colour and sharpness in batches, each image with its own draw.

The changes are those of torchvision's PIL transforms (`ColorJitter`, `RandomGrayscale`, `GaussianBlur`,
`RandomSolarize`) on float images in [0, 1]. Draws are made on the CPU, so that they are the same on every
device, and groups of images are formed there, so that nothing waits for the device.
"""

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as PIL's mode L
SOLARISE_FROM = 128 / 255  # PIL's threshold
BLUR_REACH = 4.0  # in standard deviations; the weight beyond is below 1e-4


@dataclasses.dataclass(frozen=True)
class PhotometricRecipe:
    """How far and how often the look of a crop is changed.

    Attributes:
        jitter: Probability that brightness, contrast, saturation and hue are changed, in an order drawn anew.
        brightness: Largest change of the brightness factor around 1.
        contrast: Largest change of the contrast factor around 1.
        saturation: Largest change of the saturation factor around 1.
        hue: Largest shift of the hue, in turns of the colour circle, at most 0.5.
        grey: Probability of losing all colour.
        blur: Probability of a Gaussian blur.
        blur_sigma_px: Range of the blur's standard deviation, in pixels of the crop.
        solarise: Probability that values from 128 up are inverted.
    """

    jitter: float
    brightness: float
    contrast: float
    saturation: float
    hue: float
    grey: float
    blur: float
    blur_sigma_px: tuple[float, float]
    solarise: float


@dataclasses.dataclass(frozen=True, eq=False)
class PhotometricDraws:
    """What is done to each of n images; all on the CPU.

    Attributes:
        order: (n, 4) int64, permutations of `_JITTERS`; -1 throughout where an image is not jittered.
        factors: (n, 4) float32, one column for each of `_JITTERS`.
        grey: (n,) bool.
        blur_sigma_px: (n,) float32, 0 = no blur.
        solarise: (n,) bool.
    """

    order: Tensor
    factors: Tensor
    grey: Tensor
    blur_sigma_px: Tensor
    solarise: Tensor

    @classmethod
    def join(cls, draws: "list[PhotometricDraws]") -> "PhotometricDraws":
        """The draws of several batches as those of one."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(*(torch.cat([getattr(draw, name) for draw in draws]) for name in names))


def draw_photometric(n: int, recipe: PhotometricRecipe, generator: torch.Generator) -> PhotometricDraws:
    """Independent draws for n images, from a generator of the CPU."""

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    reach = torch.tensor([recipe.brightness, recipe.contrast, recipe.saturation])
    low = (1 - reach).clamp(min=0)
    factors = low + (1 + reach - low) * uniform(n, 3)
    hue = recipe.hue * (2 * uniform(n, 1) - 1)
    order = uniform(n, 4).argsort(dim=1)
    order[uniform(n) >= recipe.jitter] = -1
    low_px, high_px = recipe.blur_sigma_px
    sigma_px = low_px + (high_px - low_px) * uniform(n)
    return PhotometricDraws(
        order=order,
        factors=torch.cat([factors, hue], dim=1),
        grey=uniform(n) < recipe.grey,
        blur_sigma_px=torch.where(uniform(n) < recipe.blur, sigma_px, 0.0),
        solarise=uniform(n) < recipe.solarise,
    )


def change_look(images: Tensor, draws: PhotometricDraws) -> Tensor:
    """Change images in place as drawn: jitter, grey, blur, solarise, in this order as in DINO.

    Args:
        images: (n, 3, height, width) float in [0, 1].
        draws: Of n images.
    """
    for position in range(draws.order.shape[1]):
        for number, jitter in enumerate(_JITTERS):
            chosen = draws.order[:, position] == number
            _change(images, chosen, jitter, draws.factors[:, number])
    _change(images, draws.grey, lambda x, _: _luma(x).expand_as(x))
    _change(images, draws.blur_sigma_px > 0, blur, draws.blur_sigma_px)
    _change(images, draws.solarise, lambda x, _: torch.where(x >= SOLARISE_FROM, 1 - x, x))
    return images


def change_brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Images times (n, 1, 1, 1) factors, clipped to [0, 1]."""
    return (images * factors).clamp_(0, 1)


def change_contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Images drawn towards (factor < 1) or away from their mean grey, clipped to [0, 1]."""
    mean = _luma(images).mean(dim=(2, 3), keepdim=True)
    return torch.lerp(mean, images, factors).clamp_(0, 1)


def change_saturation(images: Tensor, factors: Tensor) -> Tensor:
    """Images drawn towards (factor < 1) or away from each pixel's grey, clipped to [0, 1]."""
    return torch.lerp(_luma(images), images, factors).clamp_(0, 1)


def change_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Images with the hue of HSV shifted by (n, 1, 1, 1) turns of the colour circle.

    Source: A. R. Smith, Color gamut transform pairs, SIGGRAPH 1978; the way back in the form
    ``value - chroma * clip(min(k, 4 - k), 0, 1)``, ``k = (n + 6 hue) mod 6``, n = 5, 3, 1 for red, green, blue.
    """
    red, green, blue = images.unbind(1)  # (n, height, width)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    safe = chroma.clamp(min=1e-8)
    is_red, is_green = red == value, green == value
    sextant = torch.where(
        is_red, (green - blue) / safe, torch.where(is_green, (blue - red) / safe + 2, (red - green) / safe + 4)
    )
    sextant += 6 * turns[:, :, 0]
    shifted = [_falloff(sextant + n).mul_(chroma) for n in (5, 3, 1)]
    return value.unsqueeze(1) - torch.stack(shifted, dim=1)


def blur(images: Tensor, sigma_px: Tensor) -> Tensor:
    """Images convolved with Gaussians of (n, 1, 1, 1) standard deviations in pixels.

    Differs from PIL, which repeats the edge and comes near the Gaussian by box filters: here the weights are
    exact and those beyond the edge go to the others in proportion.
    """
    columns = _blur_matrix(images.shape[3], sigma_px.view(-1, 1, 1)).unsqueeze(1)  # (n, 1, width, width)
    rows = columns
    if images.shape[2] != images.shape[3]:
        rows = _blur_matrix(images.shape[2], sigma_px.view(-1, 1, 1)).unsqueeze(1)
    return rows @ images @ columns.transpose(2, 3)


_JITTERS: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    change_brightness,
    change_contrast,
    change_saturation,
    change_hue,
)


def _change(
    images: Tensor, chosen: Tensor, change: Callable[[Tensor, Tensor], Tensor], amounts: Tensor | None = None
) -> None:
    """Replace the chosen images, in place, by ``change(images, amounts)``."""
    rows = chosen.nonzero().squeeze(1)
    if len(rows) == 0:
        return
    taken = torch.empty(0) if amounts is None else amounts[rows].view(-1, 1, 1, 1)
    rows = rows.to(images.device, non_blocking=True)
    images[rows] = change(images[rows], taken.to(images.device, non_blocking=True))


def _luma(images: Tensor) -> Tensor:
    """(n, 1, height, width) grey of RGB images."""
    red, green, blue = images.split(1, dim=1)
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def _falloff(k: Tensor) -> Tensor:
    """``clip(min(k, 4 - k), 0, 1)`` of k modulo 6, in place."""
    k.remainder_(6)
    return torch.minimum(k, 4 - k).clamp_(0, 1)


def _blur_matrix(size_px: int, sigma_px: Tensor) -> Tensor:
    """(n, size, size) weights of a Gaussian around each pixel, rows of sum 1; (n, 1, 1) standard deviations."""
    place = torch.arange(size_px, device=sigma_px.device, dtype=torch.float32)
    distance = (place.view(-1, 1) - place).unsqueeze(0) / sigma_px
    weights = torch.exp(-0.5 * distance.square())
    weights = torch.where(distance.abs() > BLUR_REACH, 0.0, weights)
    return weights / weights.sum(dim=2, keepdim=True)
