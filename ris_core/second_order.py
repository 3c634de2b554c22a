"""Second-order attention: every place of a feature map gathers from the places that look like it."""

import torch
from torch import nn
from torch.nn import functional

_REDUCTION = 2  # of channels within the block, as the authors' code has it for the last map


class SecondOrderAttention(nn.Module):
    """(b, c, h, w) -> (b, c, h, w): a map plus what its places gather from each other; untrained, the map itself.

    The last layer starts at zero, so that a network without the block, and one with it, begin alike.

    Source:
        SOLAR: Ng et al. 2020, arXiv:2001.08972. Differs: one block, on the last map; the paper has a second one before
        the last stage of a ResNet.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        within = max(1, channels // _REDUCTION)
        self.query = _projection(channels, within)
        self.key = _projection(channels, within)
        self.value = nn.Conv2d(channels, within, 1)
        self.out = nn.Conv2d(within, channels, 1)
        nn.init.kaiming_normal_(self.value.weight)
        for parameter in (self.value.bias, self.out.weight, self.out.bias):
            nn.init.zeros_(parameter)  # type: ignore[arg-type]

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """See the class."""
        query, key, value = (part(maps).flatten(2).mT for part in (self.query, self.key, self.value))  # (b, hw, within)
        gathered = functional.scaled_dot_product_attention(query, key, value)
        return maps + self.out(gathered.mT.unflatten(2, maps.shape[2:]))


def _projection(channels: int, within: int) -> nn.Sequential:
    """Queries or keys: non-negative, so that places agree by what they show, not by what they lack."""
    linear = nn.Conv2d(channels, within, 1)
    nn.init.kaiming_normal_(linear.weight)
    nn.init.zeros_(linear.bias)  # type: ignore[arg-type]
    return nn.Sequential(linear, nn.BatchNorm2d(within), nn.ReLU())
