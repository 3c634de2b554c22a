"""Global descriptors: how a feature map becomes one vector of unit length, at one scale or several."""

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional

GEM_POWER = 3.0  # from which training starts, and of weights that bring none
SUPERGLOBAL_POWER = 4.6  # GeM+
RMAC_LEVELS = 3

_FLOOR = 1e-6  # smaller activations, negative ones among them, count as this where a power is taken
_OVERLAP = 0.4  # of neighbouring R-MAC regions, in parts of their side
_REGION = 5  # side of Regional-GeM's regions, in places of the map
_REGION_POWER = 2.5


def mac(maps: torch.Tensor) -> torch.Tensor:
    """(b, c, h, w) -> (b, c): the largest activation of each channel.

    Source:
        MAC: Tolias et al. 2016, arXiv:1511.05879.
    """
    return maps.amax(dim=(2, 3))


def spoc(maps: torch.Tensor) -> torch.Tensor:
    """(b, c, h, w) -> (b, c): the mean activation of each channel.

    Source:
        SPoC: Babenko and Lempitsky 2015, arXiv:1510.07493. Differs: without its prior that weights the middle of the
        image, as Radenović et al. 2018 compare it.
    """
    return maps.mean(dim=(2, 3))


def gem(maps: torch.Tensor, power: torch.Tensor | float) -> torch.Tensor:
    """(b, c, h, w) -> (b, c): the generalised mean of each channel; power 1 is SPoC, and large ones tend to MAC.

    Source:
        GeM: Radenović et al. 2018, arXiv:1711.02512, with one power for all channels.
    """
    return maps.clamp(min=_FLOOR).pow(power).mean(dim=(2, 3)).pow(1 / power)


def rmac(maps: torch.Tensor, levels: int = RMAC_LEVELS) -> torch.Tensor:
    """(b, c, h, w) -> (b, c): the sum over regions of their MAC, each of unit length.

    Source:
        R-MAC: Tolias et al. 2016, arXiv:1511.05879. Differs: a region is not whitened by itself. The code of
        Radenović et al. adds the MAC of the whole map, which a square map has as its first region.
    """
    total = torch.zeros_like(maps[:, :, 0, 0])
    for row, col, side in rmac_regions(maps.shape[2], maps.shape[3], levels):
        total = total + functional.normalize(mac(maps[:, :, row : row + side, col : col + side]), dim=1)
    return total


def rmac_regions(height: int, width: int, levels: int = RMAC_LEVELS) -> list[tuple[int, int, int]]:
    """First row, first column and side of R-MAC's square regions of a map, level by level.

    At level l a region's side is 2 min(h, w) / (l + 1), rounded down; l of them lie along the shorter side. Along the
    longer one there are more, so many that neighbours at level 1 overlap by 40 % of their side as nearly as can be.
    """
    extra = _extra_regions(height, width)
    regions = []
    for level in range(1, levels + 1):
        side = 2 * min(height, width) // (level + 1)
        if side == 0:
            break
        rows = _places(height, side, level + (extra if height > width else 0))
        cols = _places(width, side, level + (extra if width > height else 0))
        regions += [(row, col, side) for row in rows for col in cols]
    return regions


def _extra_regions(height: int, width: int) -> int:
    """How many more regions of level 1 lie along the longer side of a map than along the shorter one."""
    side, more = min(height, width), abs(height - width)
    if more == 0:
        return 0
    most = round(more / ((1 - _OVERLAP) * side)) + 1
    return min(range(1, most + 1), key=lambda extra: abs(1 - more / (extra * side) - _OVERLAP))


def _places(length: int, side: int, count: int) -> list[int]:
    """Where ``count`` regions begin that are spread evenly from one end to the other."""
    return [place * (length - side) // max(1, count - 1) for place in range(count)]


def regional_gem(maps: torch.Tensor) -> torch.Tensor:
    """(b, c, h, w) -> (b, c, h, w): the mean of each activation and the generalised mean of the region around it.

    Source:
        Regional-GeM: Shao et al. 2023, arXiv:2308.06954; side 5, power 2.5 and mirrored borders are those of the
        authors' code. Differs: a map of under three places along a side has smaller regions there.
    """
    pads = [min(_REGION // 2, size - 1) for size in maps.shape[2:]]
    floored = maps.clamp(min=_FLOOR)
    mirrored = functional.pad(floored.pow(_REGION_POWER), (pads[1], pads[1], pads[0], pads[0]), mode="reflect")
    means = functional.avg_pool2d(mirrored, [2 * pad + 1 for pad in pads], stride=1)
    return (floored + means.pow(1 / _REGION_POWER)) / 2


def superglobal(maps: torch.Tensor) -> torch.Tensor:
    """(b, c, h, w) -> (b, c): Regional-GeM, then the generalised mean with a larger power than in training.

    Source:
        Regional-GeM and GeM+ of Shao et al. 2023, arXiv:2308.06954, with the power of the authors' code. Differs: the
        raised threshold of the network's own ReLUs, which that code has too, is not taken over.
    """
    return gem(regional_gem(maps), SUPERGLOBAL_POWER)


class Gem(nn.Module):
    """`gem` with a power that is trained, ``p``: (b, c, h, w) -> (b, c)."""

    def __init__(self) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor([GEM_POWER]))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return gem(maps, self.p)


class Plain(nn.Module):
    """A pooling without parameters: (b, c, h, w) -> (b, c)."""

    def __init__(self, pool: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.pool(maps)


POOLINGS: dict[str, Callable[[], nn.Module]] = {
    "mac": lambda: Plain(mac),
    "spoc": lambda: Plain(spoc),
    "gem": Gem,
    "rmac": lambda: Plain(rmac),
    "superglobal": lambda: Plain(superglobal),
}


def _sum(descriptors: torch.Tensor, power: torch.Tensor | float) -> torch.Tensor:
    return descriptors.sum(dim=0)


def _generalised_mean(descriptors: torch.Tensor, power: torch.Tensor | float) -> torch.Tensor:
    return descriptors.clamp(min=_FLOOR).pow(power).mean(dim=0).pow(1 / power)


def _max(descriptors: torch.Tensor, power: torch.Tensor | float) -> torch.Tensor:
    return descriptors.amax(dim=0)


SCALE_POOLS = {"sum": _sum, "gem": _generalised_mean, "max": _max}


def pool_scales(descriptors: Sequence[torch.Tensor], how: str, power: torch.Tensor | float = GEM_POWER) -> torch.Tensor:
    """One descriptor of unit length of those of several scales.

    Args:
        descriptors: (b, d) of each scale; they are brought to unit length first.
        how: ``"sum"``; ``"gem"``: the generalised mean; ``"max"``: the largest of each dimension.
        power: Of the generalised mean.

    Source:
        Sum and generalised mean, with GeM's own power: Radenović et al. 2018, arXiv:1711.02512. Max: Scale-GeM with
        an infinite power, as in the code of Shao et al. 2023, arXiv:2308.06954.
    """
    stacked = torch.stack([functional.normalize(one.float(), dim=1) for one in descriptors])  # (scales, b, d)
    return functional.normalize(SCALE_POOLS[how](stacked, power), dim=1)


def resize_images(images: torch.Tensor, scale: float, multiple_px: int) -> torch.Tensor:
    """(b, 3, h, w) normalised images at another scale, bilinear; sides are whole multiples of ``multiple_px``.

    Source:
        The multi-scale evaluation of Radenović et al. Differs: sides are rounded to the patches of a transformer;
        those of other networks are rounded down, as there.
    """
    sides = [side * scale for side in images.shape[2:]]
    if multiple_px > 1:
        sides = [multiple_px * round(side / multiple_px) for side in sides]
    size = [max(multiple_px, int(side)) for side in sides]
    return functional.interpolate(images, size=size, mode="bilinear", align_corners=False)
