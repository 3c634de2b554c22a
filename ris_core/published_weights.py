"""Checkpoints of published image retrieval networks: their names for weights, and ours."""

import re
from collections.abc import Mapping

import torch

# A ResNet's parts by their places in the sequence that cnnimageretrieval-pytorch makes of torchvision's.
_RESNET_PARTS = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
_PART = re.compile(r"(?:features\.)?(\d+)\.(.+)")
_OWN_NAMES = {
    "pool.p": "pooling.p",
    "whiten.weight": "bottleneck.linear.weight",
    "whiten.bias": "bottleneck.linear.bias",
}


def rename_published(state: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of a file under our names, where they bear those of cnnimageretrieval-pytorch.

    Args:
        state: Weights by their names in the file: a ResNet's parts as ``features.0`` to ``features.7``, or as ``0`` to
            ``7``; GeM's power as ``pool.p``; the layer after the pooling as ``whiten``.
        own: Weights of the network; of another kind than timm's ResNets, ``state`` comes back as it is.

    Source:
        ``cirtorch.networks.imageretrievalnet`` of github.com/filipradenovic/cnnimageretrieval-pytorch.
    """
    if "layer1.0.conv1.weight" not in own or not {"features.0.weight", "0.weight"} & set(state):
        return dict(state)
    return {_renamed(name): weight for name, weight in state.items()}


def _renamed(name: str) -> str:
    part = _PART.fullmatch(name)
    if part and part[1] in _RESNET_PARTS:
        return f"{_RESNET_PARTS[part[1]]}.{part[2]}"
    return _OWN_NAMES.get(name, name)
