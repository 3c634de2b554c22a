"""Where a transformer's class token looks: the attention of its last block, and masks of it."""

from typing import Any

import numpy as np
import torch
from torch import nn

from ris_core.backbone import Backbone, evaluating
from ris_core.errors import CheckpointError, CorpusError, SuiteError
from ris_core.preprocess import prepare


def last_attention(backbone: Backbone, pixels: np.ndarray) -> np.ndarray:
    """Attention of the class token to each patch in the last block.

    The backbone comes back in the mode and on the device that it had. Where its preprocessing crops, the patches cover
    only the middle of a tile: `Preprocessing.seen_frac` of its side.

    Args:
        backbone: A transformer of timm with a class token, with or without register tokens.
        pixels: (b, s, s, 3) uint8 tiles.

    Returns:
        (b, heads, rows, cols) float32, at least 0. A head's sum is the share of its attention that does not go to
        the class token and the registers: less than 1.

    Raises:
        CheckpointError: If the network has no class token, or no attention in its last block.
        CorpusError: If there are no tiles, or they do not divide into patches.

    Source:
        ``get_last_selfattention`` of the DINO repository (Caron et al. 2021, arXiv:2104.14294). Differs: taken where
        timm itself computes it, so that normed queries, rotary positions and relative biases are in it.
    """
    attention = _attention_of(backbone)
    if len(pixels) == 0:
        raise CorpusError("there are no tiles whose attention could be shown. Choose one at least.")
    seen: list[torch.Tensor] = []
    hook = attention.attn_drop.register_forward_pre_hook(lambda module, softmax: seen.append(softmax[0]))
    was_fused = attention.fused_attn
    attention.fused_attn = False  # the fused kernel never holds the matrix
    device = next(backbone.parameters()).device
    try:
        with evaluating(backbone, device), torch.inference_mode():
            images = prepare(pixels, backbone.spec.preprocess, device)
            backbone(images)
    finally:
        attention.fused_attn = was_fused
        hook.remove()
    side = images.shape[2] // (backbone.patch_px or images.shape[2])
    tokens = backbone.prefix_tokens + side * side
    if [matrix.shape[2:] for matrix in seen] != [(tokens, tokens)]:  # between channels, or in windows
        raise _no_attention(backbone)
    to_patches = seen[0][:, :, 0, backbone.prefix_tokens :]  # (b, heads, patches)
    return to_patches.float().unflatten(2, (side, side)).cpu().numpy()


def attention_mask(attention: np.ndarray, mass: float) -> np.ndarray:
    """The fewest patches that hold a share of the attention to all patches, chosen for each head.

    Of patches with equal attention the earlier ones, row by row, are taken first.

    Args:
        attention: (..., rows, cols), at least 0, as `last_attention` returns it.
        mass: Share in (0, 1]; 1 takes every patch with any attention.

    Returns:
        (..., rows, cols) bool.

    Raises:
        SuiteError: If the share is outside of its range.

    Source:
        ``visualize_attention.py`` of the DINO repository, ``threshold``.
    """
    if not 0 < mass <= 1:
        raise SuiteError(f"mass = {mass} must be in (0, 1]: a share of the attention to all patches.")
    *others, rows, cols = attention.shape
    flat = attention.reshape(*others, rows * cols).astype(np.float64)
    rising = np.argsort(-flat, axis=-1, kind="stable")[..., ::-1]
    summed = np.take_along_axis(flat, rising, axis=-1).cumsum(axis=-1)  # of the patch and all weaker ones
    mask = np.empty(flat.shape, bool)
    np.put_along_axis(mask, rising, summed > (1 - mass) * summed[..., -1:], axis=-1)
    return mask.reshape(attention.shape)


def _attention_of(backbone: Backbone) -> Any:
    """The attention module of the last block, one of several classes of timm."""
    blocks = getattr(backbone.network, "blocks", None)
    attention = getattr(blocks[-1], "attn", None) if isinstance(blocks, nn.Sequential | nn.ModuleList) else None
    has_softmax = hasattr(attention, "fused_attn") and hasattr(attention, "attn_drop")
    if attention is None or not has_softmax or not backbone.has_class_token:
        raise _no_attention(backbone)
    return attention


def _no_attention(backbone: Backbone) -> CheckpointError:
    return CheckpointError(
        f"{backbone.spec.model} has no attention of a class token to patches in its last block. Choose a ViT of timm "
        "with a class token, such as 'vit_small_patch16_224'."
    )
