"""The last block of a transformer for its class token alone, where nothing else of that block is read."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from timm.layers.attention import Attention
from timm.models.vision_transformer import Block
from torch import nn
from torch.nn import functional

from ris_core.backbone import Backbone


class ClassTokenBlock(nn.Module):
    """A block that computes the first token only: (b, n, d) -> (b, 1, d), for evaluation.

    The other tokens give keys and values, so what comes back is the block's own first token, to rounding. Of a block
    of width d it leaves out ten of the twelve products of n x d with d x d.
    """

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block

    def forward(self, tokens: torch.Tensor, **unmasked: None) -> torch.Tensor:
        """See the class."""
        block = self.block
        first = tokens[:, :1] + block.ls1(self._attend(block.norm1(tokens)))
        return first + block.ls2(block.mlp(block.norm2(first)))

    def _attend(self, tokens: torch.Tensor) -> torch.Tensor:
        """(b, n, d) normed tokens -> (b, 1, d): what the attention gives the first one."""
        attention: Any = self.block.attn
        width, weight, bias = attention.attn_dim, attention.qkv.weight, attention.qkv.bias
        q_bias, kv_bias = (None, None) if bias is None else (bias[:width], bias[width:])
        q = functional.linear(tokens[:, :1], weight[:width], q_bias)
        k, v = functional.linear(tokens, weight[width:], kv_bias).chunk(2, dim=2)
        heads = (attention.num_heads, attention.head_dim)
        q, k, v = (part.unflatten(2, heads).transpose(1, 2) for part in (q, k, v))  # (b, heads, 1 or n, head_dim)
        mixed = functional.scaled_dot_product_attention(attention.q_norm(q), attention.k_norm(k), v)
        return attention.proj(attention.norm(mixed.transpose(1, 2).flatten(2)))


@contextlib.contextmanager
def class_token_only(backbone: Backbone) -> Iterator[None]:
    """Within it the last block is computed for the class token alone, where the features are that token.

    Networks whose last block is not timm's plain one, and other pools, are left as they are.
    """
    blocks = getattr(backbone.network, "blocks", None)
    last: Any = blocks[-1] if isinstance(blocks, nn.Sequential) else None
    is_plain = type(last) is Block and type(last.attn) is Attention and last.attn.gate is None
    reads_token = backbone.has_class_token and backbone.spec.pool == "cls"
    if blocks is None or not (is_plain and reads_token):
        yield
        return
    blocks[-1] = ClassTokenBlock(last)
    try:
        yield
    finally:
        blocks[-1] = last
