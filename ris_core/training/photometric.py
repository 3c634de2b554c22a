"""Changes of colour and sharpness in batches, each image with its own draw.

The changes are those of torchvision's PIL transforms (`ColorJitter`, `RandomGrayscale`, `RandomSolarize`) and of
PIL's `GaussianBlur`, on float images in [0, 1]. Draws are made on the CPU, so that they are the same on every
device, and groups of images are formed there, so that nothing waits for the device.
"""

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from ris_core.device import send

JITTERS = ("brightness", "contrast", "saturation", "hue")
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as PIL's mode L
SOLARISE_FROM = 127.5 / 255  # between PIL's grey levels 127 and 128: rounding does not matter
BLUR_REACH = 4.0  # in standard deviations; the weight beyond is below 1e-4
_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = range(len(JITTERS))
_LEAST_CHROMA = 2**-13  # below it a hue is noise; a normal number of 16 bits
_CACHE_BYTES = 2**20  # of the images whose hues a CPU shifts at once


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
        order: (n, 4) int64, permutations of places in `JITTERS`; -1 throughout where an image is not jittered.
        factors: (n, 4) float32, one column for each of `JITTERS`: three factors, and turns of the colour circle.
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
        images: (n, 3, height, width) in [0, 1], float32 or float16.
        draws: Of n images.
    """
    jitter(images, draws.order, draws.factors)
    _change(images, draws.grey, lambda x: _luma(x).expand_as(x))
    blurred = draws.blur_sigma_px > 0
    _change(images, blurred, lambda x: blur(x, draws.blur_sigma_px[blurred]))
    _change(images, draws.solarise, lambda x: torch.where(x >= SOLARISE_FROM, 1 - x, x))
    return images


def jitter(images: Tensor, order: Tensor, factors: Tensor) -> None:
    """Change brightness, contrast, saturation and hue, in place and each image in its own order.

    All hues are shifted at once; before come up to three rounds of blends and after it up to three. Images are
    sorted by the place of the hue in their order, so that each round's are neighbours and none is copied for it.

    Args:
        images: (n, 3, height, width) in [0, 1].
        order: (n, 4), as `PhotometricDraws` has it.
        factors: (n, 4), likewise.
    """
    jittered, hue_place = (order == _HUE).nonzero(as_tuple=True)
    if len(jittered) == 0:
        return
    by_place = hue_place.argsort(stable=True)
    jittered, hue_place = jittered[by_place], hue_place[by_place]
    first = torch.searchsorted(hue_place, torch.arange(len(JITTERS) + 1)).tolist()  # whose hue comes so late or later
    places = (hue_place.unsqueeze(1) + torch.arange(-_HUE, _HUE + 1)).clamp_(0, _HUE)  # (n, 7), rounds by column
    kinds = order[jittered].gather(1, places)
    amounts = factors[jittered].gather(1, kinds)
    weights = torch.stack([amounts, (1 - amounts) * (kinds == _CONTRAST), (1 - amounts) * (kinds == _SATURATION)])
    weights = send(weights, images.device).to(images.dtype)  # (3, n, 7)
    rows = send(jittered, images.device)
    chosen = images[rows]
    for before in range(_HUE, 0, -1):
        blend(chosen[first[before] :], *weights[:, first[before] :, _HUE - before])
    shift_hue(chosen, weights[0, :, _HUE])
    for after in range(1, _HUE + 1):
        end = first[len(JITTERS) - after]
        blend(chosen[:end], *weights[:, :end, _HUE + after])
    images[rows] = chosen


def blend(images: Tensor, factors: Tensor, of_mean: Tensor, of_grey: Tensor) -> None:
    """Replace images by ``factor image + of_mean mean grey + of_grey grey``, clipped to [0, 1].

    With f the factor, brightness is (f, 0, 0), contrast (f, 1 - f, 0) and saturation (f, 0, 1 - f).

    Args:
        images: (n, 3, height, width).
        factors: (n,), like the other two.
        of_mean: Weight of the image's mean grey.
        of_grey: Weight of each pixel's own grey.
    """
    factors, of_mean, of_grey = (weights.view(-1, 1, 1, 1) for weights in (factors, of_mean, of_grey))
    grey = _luma(images)
    mean = grey.mean(dim=(2, 3), keepdim=True)
    torch.addcmul(grey.mul_(of_grey).add_(mean * of_mean), images, factors, out=images).clamp_(0, 1)


def shift_hue(images: Tensor, turns: Tensor) -> None:
    """Shift the hue of HSV of images by (n,) turns of the colour circle, at most one half, in place."""
    together = len(images) if images.is_cuda else max(1, _CACHE_BYTES // images[0].nbytes)
    for some, turns_of_some in zip(images.split(together), turns.split(together), strict=True):
        _shift_hue(some, turns_of_some)


def _shift_hue(images: Tensor, turns: Tensor) -> None:
    """See `shift_hue`.

    Source: A. R. Smith, Color gamut transform pairs, SIGGRAPH 1978. Both ways are written without cases. With lack =
    (value - red) / chroma and lead = (green - blue) / chroma the hue has the sign of lead and is, without it,
    ``|lead| + lack (3 - 2 |lead|)`` sixths of a turn. Back, a channel is ``value - chroma clip(2 - 6 t, 0, 1)``, t the
    turns between the hue and the channel's opposite: cyan, magenta, yellow.
    """
    red, green, blue = channels = images.unbind(1)  # (n, height, width)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    scale = (1 / 6) / chroma.clamp(min=_LEAST_CHROMA)
    lack, lead = (value - red).mul_(scale), (green - blue).mul_(scale)  # in turns
    size = lead.abs()
    hue = torch.addcmul(size, lack, 3 - 12 * size).copysign_(lead).add_(turns.view(-1, 1, 1))
    for channel, opposite in zip(channels, (1 / 2, 5 / 6, 1 / 6), strict=True):
        torch.sub(hue, opposite, out=channel)
    share = images.sub_(images.round()).abs_().mul_(-6).add_(2).clamp_(0, 1)
    torch.addcmul(value.unsqueeze(1), share, chroma.unsqueeze(1), value=-1, out=images)


def blur(images: Tensor, sigma_px: Tensor) -> Tensor:
    """Images convolved with Gaussians of (n,) standard deviations in pixels, given on the CPU; edges are repeated.

    Differs from PIL, which comes near the Gaussian by box filters: here the weights are exact.
    """
    height, width = images.shape[2:]
    reach = math.ceil(BLUR_REACH * float(sigma_px.max()))
    distance = torch.arange(-reach, reach + 1) / sigma_px.unsqueeze(1)
    exponents = torch.where(distance.abs() > BLUR_REACH, -math.inf, -0.5 * distance.square())
    kernels = send(exponents.softmax(dim=1), images.device).to(images.dtype)  # (n, taps)
    framed = functional.pad(images, (reach, reach, reach, reach), mode="replicate")
    if images.is_cuda:
        return _toeplitz(kernels, height) @ framed @ _toeplitz(kernels, width).transpose(2, 3)
    return _convolve(framed, kernels)


def _convolve(framed: Tensor, kernels: Tensor) -> Tensor:
    """Images with a frame, less the frame, each convolved with its own of (n, taps) kernels along columns and rows."""
    n, channels, _, _ = framed.shape
    each = kernels.repeat_interleave(channels, dim=0)  # (3 n, taps)
    narrow = functional.conv2d(framed.flatten(0, 1), each[:, None, None], groups=len(each))
    return functional.conv2d(narrow, each[:, None, :, None], groups=len(each)).unflatten(0, (n, channels))


def _toeplitz(kernels: Tensor, size_px: int) -> Tensor:
    """(n, 1, size, size + taps - 1) matrices that convolve with (n, taps) kernels."""
    taps = kernels.shape[1]
    return functional.pad(kernels, (size_px - 1, size_px - 1)).unfold(1, size_px + taps - 1, 1).flip(1).unsqueeze(1)


def _change(images: Tensor, chosen: Tensor, change: Callable[[Tensor], Tensor]) -> None:
    """Replace the chosen images, in place, by ``change(images)``."""
    rows = chosen.nonzero().squeeze(1)
    if len(rows) == 0:
        return
    rows = send(rows, images.device)
    images[rows] = change(images[rows])


def _luma(images: Tensor) -> Tensor:
    """(n, 1, height, width) grey of RGB images."""
    red, green, blue = images.split(1, dim=1)
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])
