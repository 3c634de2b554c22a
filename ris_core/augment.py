"""The crops that DINO trains on, made in batches on the device from tiles of 8 bits.

A crop of every tile, its flips and its resizing are two products with matrices of bicubic weights, one for
rows and one for columns, so each tile has its own window and the whole batch is two calls. The weights are
those of torchvision's antialiased bicubic resizing of the window cut out first: same pixels, no PIL.
"""

import dataclasses
import math

import torch
from torch import Tensor

from ris_core.photometric import PhotometricDraws, PhotometricRecipe, change_look, draw_photometric
from ris_core.preprocess import PREPROCESSING, Preprocessing

ASPECT = (3 / 4, 4 / 3)  # of a crop's window, as RandomResizedCrop
ATTEMPTS = 10  # windows drawn until one fits into the tile
GLOBAL_CROPS = 2
_BICUBIC_REACH = 2.0  # of Keys' cubic with a = -1/2, in pixels of the coarser grid


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
class Windows:
    """Windows cut from n tiles, and how each is turned after; all on the CPU.

    Attributes:
        top: (n,) int64, first row in the tile.
        left: (n,) int64, first column.
        height: (n,) int64, at least 1.
        width: (n,) int64, at least 1.
        flip_rows: (n,) bool, top and bottom change places.
        flip_columns: (n,) bool, left and right change places.
        transpose: (n,) bool, rows and columns change places, after the flips.
    """

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor
    flip_rows: Tensor
    flip_columns: Tensor
    transpose: Tensor


def make_crops(
    pixels: Tensor, recipe: CropRecipe, generator: torch.Generator, preprocess: str = "native"
) -> tuple[Tensor, Tensor | None]:
    """Global and local crops of a batch of tiles, normalised as features are extracted later.

    Args:
        pixels: (b, size, size, 3) uint8, on the device that is to do the work.
        recipe: How they are drawn.
        generator: Of the CPU; the draws are the same on every device.
        preprocess: Key of `PREPROCESSING`, of which only the mean and standard deviation are used.

    Returns:
        (2 b, 3, global_px, global_px) and (local_crops b, 3, local_px, local_px) float32, crop by crop: the
        first b belong to the first crop. The second is None where the recipe has no local crops.

    Source:
        The multi-crop augmentation of DINO (arXiv:2104.14294, appendix) with torchvision's definitions.
        Differs: values stay float between the changes, where PIL rounds to 8 bits each time.
    """
    images = pixels.permute(0, 3, 1, 2).contiguous().float().div_(255)  # (b, 3, size, size)
    looks = [_look(recipe, blur, solarise) for blur, solarise in zip(recipe.blur, (0, recipe.solarise, 0), strict=True)]
    crops = []
    for look_of_each, out_px, scale in (
        (looks[:GLOBAL_CROPS], recipe.global_px, recipe.global_scale),
        (looks[GLOBAL_CROPS:] * recipe.local_crops, recipe.local_px, recipe.local_scale),
    ):
        if look_of_each:
            n, size_px = len(images), images.shape[2]
            windows = [draw_windows(n, size_px, scale, recipe, generator) for _ in look_of_each]
            draws = PhotometricDraws.join([draw_photometric(n, look, generator) for look in look_of_each])
            changed = change_look(torch.cat([cut_windows(images, window, out_px) for window in windows]), draws)
            crops.append(_normalise(changed, PREPROCESSING[preprocess]))
    return crops[0], crops[1] if recipe.local_crops else None


def draw_windows(
    n: int, size_px: int, scale: tuple[float, float], recipe: CropRecipe, generator: torch.Generator
) -> Windows:
    """Windows of n square tiles, distributed as torchvision's RandomResizedCrop draws them.

    The area is uniform in ``scale``, the logarithm of width over height uniform in `ASPECT`; a window that does
    not fit is drawn again, ten times at most; then the whole tile is taken.
    """

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    area = size_px**2 * (scale[0] + (scale[1] - scale[0]) * uniform(n, ATTEMPTS))
    low, high = math.log(ASPECT[0]), math.log(ASPECT[1])
    aspect = torch.exp(low + (high - low) * uniform(n, ATTEMPTS))
    sides = torch.stack([(area / aspect).sqrt().round(), (area * aspect).sqrt().round()])  # (2, n, attempts)
    fits = ((sides > 0) & (sides <= size_px)).all(dim=0)
    first = fits.to(torch.uint8).argmax(dim=1, keepdim=True)
    height, width = sides.gather(2, first.expand(2, n, 1)).squeeze(2).where(fits.any(dim=1), size_px).long()
    top, left = ((size_px + 1 - side) * uniform(n) for side in (height, width))
    turns = torch.randint(4, (n,), generator=generator) * recipe.quarter_turns
    return Windows(
        top=top.long(),
        left=left.long(),
        height=height,
        width=width,
        # A quarter turn is a flip of the columns, then a transposition; a half turn is both flips.
        flip_rows=(uniform(n) < recipe.vertical_flip) ^ (turns >= 2),
        flip_columns=(uniform(n) < recipe.horizontal_flip) ^ ((turns == 1) | (turns == 2)),
        transpose=turns % 2 == 1,
    )


def cut_windows(images: Tensor, windows: Windows, out_px: int) -> Tensor:
    """The windows of images, resized to squares by antialiased bicubic weights and turned.

    Args:
        images: (n, 3, size, size) float in [0, 1].
        windows: Of n images.
        out_px: Side of the result.

    Returns:
        (n, 3, out_px, out_px) in [0, 1]: overshoot of the bicubic weights is clipped, as 8-bit images do.
    """
    device, size_px = images.device, images.shape[2]
    columns = _resampling(windows.left, windows.width, windows.flip_columns, size_px, out_px, device)
    rows = _resampling(windows.top, windows.height, windows.flip_rows, size_px, out_px, device)
    n = len(images)
    narrow = torch.bmm(images.reshape(n, 3 * size_px, size_px), columns.transpose(1, 2))  # (n, 3 size, out)
    crops = rows.unsqueeze(1) @ narrow.view(n, 3, size_px, out_px)  # (n, 3, out, out)
    turned = windows.transpose.nonzero().squeeze(1).to(device, non_blocking=True)
    if len(turned) > 0:
        crops[turned] = crops[turned].transpose(2, 3)
    return crops.clamp_(0, 1)


def _look(recipe: CropRecipe, blur: float, solarise: float) -> PhotometricRecipe:
    """The photometric part of a recipe for one kind of crop."""
    shared = {name: getattr(recipe, name) for name in ("jitter", "brightness", "contrast", "saturation", "hue", "grey")}
    return PhotometricRecipe(**shared, blur=blur, blur_sigma_px=recipe.blur_sigma_px, solarise=solarise)


def _normalise(images: Tensor, statistics: Preprocessing) -> Tensor:
    """Images in [0, 1] less the mean, over the standard deviation, in place; (n, 3, height, width)."""
    mean = torch.tensor(statistics.mean, device=images.device).view(3, 1, 1)
    std = torch.tensor(statistics.std, device=images.device).view(3, 1, 1)
    return images.sub_(mean).div_(std)


def _resampling(
    start: Tensor, length: Tensor, flipped: Tensor, size_px: int, out_px: int, device: torch.device
) -> Tensor:
    """(n, out, size) bicubic weights that turn ``length`` pixels from ``start`` on into ``out_px``, each row of sum 1.

    Where the window is larger than the result the kernel is stretched (antialiasing); pixels outside of the
    window weigh nothing, as if it were cut out first.
    """
    facts = torch.stack([start, length, flipped.long()]).to(device, non_blocking=True)  # (3, n)
    first, many, mirror = (fact.view(-1, 1, 1) for fact in facts)
    step = many / out_px
    place = torch.arange(out_px, device=device).view(1, -1, 1)
    place = torch.where(mirror > 0, out_px - 1 - place, place)
    pixel = torch.arange(size_px, device=device).view(1, 1, -1)
    centre = first + (place + 0.5) * step - 0.5
    weights = _cubic((pixel - centre).div_(step.clamp(min=1)))  # (n, out, size)
    weights *= (pixel >= first) & (pixel < first + many)
    return weights.div_(weights.sum(dim=2, keepdim=True))


def _cubic(distance: Tensor) -> Tensor:
    """Keys' cubic kernel, a = -1/2, as two clipped polynomials: no branches.

    Source: R. G. Keys, Cubic convolution interpolation for digital image processing, IEEE TASSP 1981.
    """
    distance = distance.abs_()
    outer = (_BICUBIC_REACH - distance).clamp_(min=0)
    inner = (1 - distance).clamp_(min=0)
    return (outer - 1).mul_(outer).mul_(outer).mul_(0.5).add_((1 - 2 * inner).mul_(inner).mul_(inner))
