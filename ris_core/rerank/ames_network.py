"""The network of AMES: how similar two sets of local descriptors are, in the names of its published weights."""

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from ris_core.errors import CheckpointError
from ris_core.local_detector import PUBLISHED
from ris_core.weights import check_fit, read_state

_HEADS = 2
_BINARY, _FLOAT = "remap_local.0.W", "remap_local.0.weight"


class Signs(nn.Module):
    """(..., d) -> (..., c) signs of a projection."""

    def __init__(self, d: int, c: int) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.zeros(d, c))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """-1, 0 or 1 of each projected value."""
        return torch.sign(functional.normalize(tokens, dim=-1) @ self.W)


class Layer(nn.Module):
    """Attention within each set, attention between the sets, and a perceptron, each added and then normalised."""

    def __init__(self, c: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(c, _HEADS, batch_first=True)
        self.cross_attn = nn.MultiheadAttention(c, _HEADS, batch_first=True)
        self.linear1, self.linear2 = nn.Linear(c, hidden), nn.Linear(hidden, c)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(c), nn.LayerNorm(c), nn.LayerNorm(c)

    def forward(self, tokens: torch.Tensor, within: torch.Tensor, between: torch.Tensor) -> torch.Tensor:
        """(m, t, c) -> (m, t, c); the (t, t) masks are True where a token may not look."""
        x = self.norm1(tokens + self.self_attn(tokens, tokens, tokens, attn_mask=within, need_weights=False)[0])
        x = self.norm2(x + self.cross_attn(x, x, x, attn_mask=between, need_weights=False)[0])
        return self.norm3(x + self.linear2(functional.relu(self.linear1(x))))


class AmesNetwork(nn.Module):
    """Similarity of sets by a matching token that looks at both.

    Args:
        d: Length of a descriptor.
        c: Length that it is mapped to.
        hidden: Width of the perceptrons.
        layers: Number of layers.
        is_binary: Whether descriptors are mapped through signs.

    Source:
        Suma et al. 2024, AMES, arXiv:2408.03282, section 3, and the names and order of the published code
        (github.com/pavelsuma/ames). Differs: sets have no padding, so there is no mask of it; only evaluation.
    """

    def __init__(self, d: int, c: int, hidden: int, layers: int, is_binary: bool) -> None:
        super().__init__()
        self.mtc_token = nn.Parameter(torch.zeros(c))
        mapping: list[nn.Module] = [Signs(d, c), nn.Linear(c, c)] if is_binary else [nn.Linear(d, c)]
        self.remap_local = nn.Sequential(*mapping, nn.LayerNorm(c))
        self.decoder = nn.Module()
        self.decoder.layers = nn.ModuleList([Layer(c, hidden) for _ in range(layers)])
        self.classifier = nn.Linear(c, 1)
        self.is_binary = is_binary
        self.d = d

    def map(self, tokens: torch.Tensor) -> torch.Tensor:
        """(..., c) tokens of (..., d) descriptors."""
        return self.remap_local(functional.normalize(tokens, dim=-1))

    def code(self, tokens: torch.Tensor) -> torch.Tensor:
        """What is stored of (..., d) descriptors: (..., c) signs, or mapped descriptors in half precision."""
        if self.is_binary:
            return self.remap_local[0](functional.normalize(tokens, dim=-1)).to(torch.int8)
        return self.map(tokens).half()

    def decode(self, stored: torch.Tensor) -> torch.Tensor:
        """(..., c) tokens of what `code` stored."""
        return self.remap_local[1:](stored.float()) if self.is_binary else stored.float()

    def forward(self, query: torch.Tensor, sets: torch.Tensor) -> torch.Tensor:
        """(m,) similarities, any real number, of one query's (a, c) tokens to those of m sets (m, b, c)."""
        m, b, _ = sets.shape
        a = len(query)
        tokens = torch.cat([self.mtc_token.expand(m, 1, -1), query.expand(m, -1, -1), sets], dim=1)
        side = torch.tensor([0] + [1] * a + [2] * b, device=tokens.device)
        is_token = (side == 0)[:, None] | (side == 0)[None]
        same = side[:, None] == side[None]
        for layer in self.decoder.layers:  # type: ignore[union-attr]
            tokens = layer(tokens, ~(same | is_token), same & ~is_token)
        return self.classifier(tokens[:, 0])[:, 0]


def load_ames(path: Path) -> AmesNetwork:
    """The network of a published file, all of its weights, in evaluation mode; its sizes are those of the weights.

    Raises:
        CheckpointError: If the file is missing, damaged or of another network.
    """
    state = read_state(path)
    layers = len({name.split(".")[2] for name in state if name.startswith("decoder.layers.")})
    mapping = state.get(_BINARY, state.get(_FLOAT))
    perceptron = state.get("decoder.layers.0.linear1.weight")
    if mapping is None or mapping.ndim != 2 or perceptron is None or perceptron.ndim != 2:
        found = f"{_FLOAT} or {_BINARY} is missing, or no matrix"
        raise CheckpointError(f"{path}: no weights of AMES: {found}. Name one of {PUBLISHED}.")
    is_binary = _BINARY in state
    d, c = mapping.shape if is_binary else mapping.shape[::-1]
    if c % _HEADS:
        raise CheckpointError(
            f"{path}: no weights of AMES: {c} dimensions are no multiple of {_HEADS} heads. Name one of {PUBLISHED}."
        )
    network = AmesNetwork(d, c, len(perceptron), layers, is_binary)
    check_fit(network.state_dict(), state, path, f"Name one of {PUBLISHED}.")
    network.load_state_dict(state)
    return network.eval()
