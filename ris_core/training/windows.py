"""Windows of tiles, drawn as torchvision's RandomResizedCrop draws them and resized to squares by bicubic weights.

The CPU resizes whole numbers window by window, as Pillow does. A GPU would wait for so many small calls: there the
windows, flips and resizing of a whole batch are two products with matrices that hold a few weights a row.
"""

import dataclasses
import math

import torch
from torch import Tensor
from torch.nn import functional

from ris_core.device import send

ASPECT = (3 / 4, 4 / 3)  # of a window, width over height, as RandomResizedCrop
ATTEMPTS = 10  # windows drawn until one fits into the tile
GPU_DTYPE = torch.float16  # holds 8 bits exactly; its weights and sums err by less than a third of a grey level
_BICUBIC_REACH = 2.0  # of Keys' cubic with a = -1/2, in pixels of the coarser grid


@dataclasses.dataclass(frozen=True)
class WindowRecipe:
    """How windows are drawn; probabilities are in [0, 1].

    Attributes:
        scale: Range of the share of the tile's area that a window has.
        horizontal_flip: Probability of mirroring left and right.
        vertical_flip: Probability of mirroring top and bottom.
        quarter_turns: Whether windows are turned by 0, 90, 180 or 270 degrees, each as likely.
    """

    scale: tuple[float, float]
    horizontal_flip: float
    vertical_flip: float
    quarter_turns: bool


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


def draw_windows(n: int, size_px: int, recipe: WindowRecipe, generator: torch.Generator) -> Windows:
    """Windows of n square tiles, distributed as torchvision's RandomResizedCrop draws them.

    The area is uniform in ``recipe.scale``, the logarithm of width over height uniform in `ASPECT`; a window that
    does not fit is drawn again, ten times at most; then the whole tile is taken.
    """

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    smallest, largest = recipe.scale
    area = size_px**2 * (smallest + (largest - smallest) * uniform(n, ATTEMPTS))
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


def cut_windows(pixels: Tensor, windows: Windows, out_px: int) -> Tensor:
    """Windows of tiles, resized to squares by antialiased bicubic weights and turned.

    Args:
        pixels: (b, size, size, 3) uint8.
        windows: Of v b windows, the first b of one crop of each tile, the next b of another.
        out_px: Side of the result.

    Returns:
        (v b, 3, out_px, out_px) in [0, 1]: float32 and whole grey levels on the CPU, float16 on a GPU.
    """
    if pixels.is_cuda:
        return multiply_windows(pixels, windows, out_px, GPU_DTYPE)
    return interpolate_windows(pixels, windows, out_px)


def interpolate_windows(pixels: Tensor, windows: Windows, out_px: int) -> Tensor:
    """`cut_windows` in whole grey levels, one window at a time; what overshoots is clipped."""
    images = pixels.permute(0, 3, 1, 2)  # channels last in memory, for which PyTorch is fastest
    crops = torch.empty(len(windows.top), 3, out_px, out_px)
    each = zip(*(getattr(windows, field.name).tolist() for field in dataclasses.fields(windows)), strict=True)
    for i, (top, left, height, width, flip_rows, flip_columns, transpose) in enumerate(each):
        tile = i % len(images)
        window = images[tile : tile + 1, :, top : top + height, left : left + width]
        crop = functional.interpolate(window, size=(out_px, out_px), mode="bicubic", antialias=True)[0]
        if flip_rows or flip_columns:
            crop = crop.flip([1] * flip_rows + [2] * flip_columns)
        crops[i] = crop.transpose(1, 2) if transpose else crop
    return crops.mul_(1 / 255)


def multiply_windows(pixels: Tensor, windows: Windows, out_px: int, dtype: torch.dtype) -> Tensor:
    """`cut_windows` by products of matrices in ``dtype``, all tiles at once; what overshoots is clipped."""
    b, size_px, _, _ = pixels.shape
    images = pixels.permute(0, 3, 1, 2).to(dtype, memory_format=torch.contiguous_format).view(b, 3 * size_px, size_px)
    columns = _resampling(windows.left, windows.width, windows.flip_columns, size_px, out_px, images)
    rows = _resampling(windows.top, windows.height, windows.flip_rows, size_px, out_px, images)
    crops = []
    for narrower, lower in zip(columns.split(b), rows.split(b), strict=True):
        narrow = torch.bmm(images, narrower.transpose(1, 2)).clamp_(0, 255)  # (b, 3 size, out), clipped as PIL does
        crops.append(lower.unsqueeze(1) @ narrow.view(b, 3, size_px, out_px))  # (b, 3, out, out)
    cut = torch.cat(crops).clamp_(0, 255).mul_(1 / 255)
    turned = windows.transpose.nonzero().squeeze(1)
    if len(turned) > 0:
        turned = send(turned, cut.device)
        cut[turned] = cut[turned].transpose(2, 3)
    return cut


def _resampling(start: Tensor, length: Tensor, flipped: Tensor, size_px: int, out_px: int, images: Tensor) -> Tensor:
    """(n, out, size) bicubic weights that turn ``length`` pixels from ``start`` on into ``out_px``, each row of sum 1.

    Where the window is larger than the result the kernel is stretched (antialiasing); pixels outside of the
    window weigh nothing, as if it were cut out first. Device and dtype are those of ``images``.
    """
    taps = math.ceil(2 * _BICUBIC_REACH * max(1.0, float(length.max()) / out_px)) + 1
    facts = send(torch.stack([start, length, flipped]).float(), images.device)  # (3, n)
    first, many, mirror = (fact.view(-1, 1, 1) for fact in facts)
    step = many / out_px
    stretch = step.clamp(min=1)
    place = torch.arange(out_px, device=images.device).view(1, -1, 1)
    place = torch.where(mirror > 0, out_px - 1 - place, place)
    centre = first + (place + 0.5) * step - 0.5  # (n, out, 1)
    pixel = (centre - _BICUBIC_REACH * stretch).ceil() + torch.arange(taps, device=images.device)  # (n, out, taps)
    weights = _cubic((pixel - centre).div_(stretch))
    weights *= (pixel >= first) & (pixel < first + many)
    weights /= weights.sum(dim=2, keepdim=True)
    # The margins take the weights outside of the tile, which are 0: so no place is written twice.
    matrix = images.new_zeros(len(weights), out_px, taps + size_px + taps)
    return matrix.scatter_(2, pixel.long().add_(taps), weights.to(images.dtype))[:, :, taps : taps + size_px]


def _cubic(distance: Tensor) -> Tensor:
    """Keys' cubic kernel, a = -1/2, as two clipped polynomials: no branches.

    Source: R. G. Keys, Cubic convolution interpolation for digital image processing, IEEE TASSP 1981.
    """
    distance = distance.abs_()
    outer = (_BICUBIC_REACH - distance).clamp_(min=0)
    inner = (1 - distance).clamp_(min=0)
    return (outer - 1).mul_(outer).mul_(outer).mul_(0.5).add_((1 - 2 * inner).mul_(inner).mul_(inner))
