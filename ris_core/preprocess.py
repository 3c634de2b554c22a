"""Stored tiles -> normalised image batches, on the device that will use them."""

import dataclasses

import numpy as np
import torch
from torch.nn import functional

from ris_core.device import send
from ris_core.errors import SuiteError

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of RGB in [0, 1]
IMAGENET_STD = (0.229, 0.224, 0.225)
WHOLE = "whole"
_HALF = (0.5, 0.5, 0.5)


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """One way from a stored tile to a network's input.

    Attributes:
        resize_px: Side to which the tile is resized (bicubic, antialiased); None = as stored.
        crop_px: Side of the centre crop that follows; None = no crop.
        mean: Of each channel in [0, 1], subtracted.
        std: Of each channel in [0, 1], divided by.
    """

    resize_px: int | None = None
    crop_px: int | None = None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def input_px(self, size_px: int) -> int:
        """Side of the network's input for stored tiles of ``size_px``."""
        return self.crop_px or self.resize_px or size_px

    def seen_frac(self, size_px: int) -> float:
        """Share of the side of a stored tile of ``size_px`` that the input shows, in the middle of the tile."""
        return self.input_px(size_px) / (self.resize_px or size_px)


PREPROCESSING = {
    "thesis": Preprocessing(resize_px=256, crop_px=224),  # the published DINO evaluation
    "resize224": Preprocessing(resize_px=224),  # the whole tile, borders included
    "native": Preprocessing(),  # the tile as stored: small networks on small tiles
    "thesis_half": Preprocessing(resize_px=256, crop_px=224, mean=_HALF, std=_HALF),  # timm's AugReg weights
    "native_half": Preprocessing(mean=_HALF, std=_HALF),
    WHOLE: Preprocessing(),  # the image's file in place of its tile, see `ris_core.whole_images`; a tile as it is
}


def prepare(pixels: np.ndarray | torch.Tensor, name: str, device: torch.device | str = "cpu") -> torch.Tensor:
    """Network input of a batch of stored tiles.

    Args:
        pixels: (b, s, s, 3) uint8, in memory or memory-mapped.
        name: Key of `PREPROCESSING`.
        device: Where the pixels go before they are resized.

    Returns:
        (b, 3, h, h) float32 on ``device``, contiguous.

    Raises:
        SuiteError: If there is no preprocessing of that name.

    Source:
        The evaluation transform of DINO (Caron et al. 2021, arXiv:2104.14294), which the thesis uses through PIL.
        Differs: resized as a batch by PyTorch, so that before normalisation up to one pixel in a hundred is one grey
        level away from Pillow's, seldom two, where Pillow's fixed-point weights round the other way.
    """
    if name not in PREPROCESSING:
        raise SuiteError(f"preprocess = {name!r} is unknown; known: {', '.join(PREPROCESSING)}.")
    chosen = PREPROCESSING[name]
    if isinstance(pixels, np.ndarray):
        pixels = torch.from_numpy(np.array(pixels))  # a copy: tiles are mapped read-only
    images = pixels.to(device, non_blocking=True).permute(0, 3, 1, 2)  # (b, 3, s, s), channels last in memory
    if chosen.resize_px is not None and images.shape[-1] != chosen.resize_px:
        images = _resize(images, chosen.resize_px)
    if chosen.crop_px is not None:
        start = round((images.shape[-1] - chosen.crop_px) / 2)
        images = images[..., start : start + chosen.crop_px, start : start + chosen.crop_px]
    return normalise(images, chosen.mean, chosen.std)


def normalise(
    images: torch.Tensor,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
) -> torch.Tensor:
    """(b, 3, h, w) images in [0, 255], of any dtype, as contiguous float32 ``(images / 255 - mean) / std``."""
    statistics = torch.stack([torch.tensor(mean) * 255, 1 / (255 * torch.tensor(std))])
    shift, scale = send(statistics, images.device).view(2, 3, 1, 1)
    return images.to(torch.float32, memory_format=torch.contiguous_format, copy=True).sub_(shift).mul_(scale)


def _resize(images: torch.Tensor, size_px: int) -> torch.Tensor:
    """(b, 3, s, s) uint8 -> (b, 3, size_px, size_px), whole grey levels; bicubic with antialiasing, as Pillow's."""
    if images.device.type == "cpu":  # PyTorch has integers here, in Pillow's order
        return functional.interpolate(images, size=(size_px, size_px), mode="bicubic", antialias=True)
    return resize_in_float(images.float(), size_px)


def resize_in_float(images: torch.Tensor, size_px: int) -> torch.Tensor:
    """(b, 3, s, s) float -> (b, 3, size_px, size_px): along rows, then columns, each rounded as Pillow does."""
    for size in ((images.shape[2], size_px), (size_px, size_px)):
        images = functional.interpolate(images, size=size, mode="bicubic", antialias=True)
        images = images.add_(0.5).floor_().clamp_(0, 255)
    return images
