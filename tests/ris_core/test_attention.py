import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ris_core.attention import attention_mask, last_attention
from ris_core.backbone import Backbone, BackboneSpec, build_backbone
from ris_core.errors import CheckpointError, CorpusError, SuiteError
from ris_core.preprocess import prepare

ARCH = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
SPEC = BackboneSpec(arch=ARCH, preprocess="native")


def tiles_of(size_px: int = 32, n: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, size_px, size_px, 3), np.uint8)


def lively(spec: BackboneSpec) -> Backbone:
    """Larger weights than timm draws, so that attention is far from even."""
    backbone = build_backbone(spec).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in backbone.parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=generator)
    return backbone


def normed(x: np.ndarray, layer: torch.nn.Module) -> np.ndarray:
    if isinstance(layer, torch.nn.Identity):
        return x
    scaled = (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + layer.eps)
    return scaled * layer.weight.detach().numpy() + layer.bias.detach().numpy()


def naive(backbone: Backbone, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(b, heads, n, n) attention of the last block from its weights, and the block's output."""
    block, inputs = backbone.network.blocks[-1], []
    hook = block.register_forward_pre_hook(lambda module, given: inputs.append(given[0].double().numpy()))
    with torch.inference_mode():
        backbone(images)
    hook.remove()
    weights = {name: weight.double().numpy() for name, weight in block.state_dict().items()}

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    tokens = inputs[0]
    (b, n, d), heads = tokens.shape, block.attn.num_heads
    qkv = linear(normed(tokens, block.norm1), "attn.qkv")
    matrix, mixed = np.empty((b, heads, n, n)), np.empty((b, n, d))
    for image in range(b):
        for head in range(heads):
            columns = [slice(part * d + head * d // heads, part * d + (head + 1) * d // heads) for part in range(3)]
            q, k, v = (qkv[image][:, part] for part in columns)
            scores = normed(q, block.attn.q_norm) @ normed(k, block.attn.k_norm).T / np.sqrt(d / heads)
            powers = np.exp(scores - scores.max(axis=1, keepdims=True))
            matrix[image, head] = powers / powers.sum(axis=1, keepdims=True)
            mixed[image][:, columns[0]] = matrix[image, head] @ v
    tokens = tokens + linear(mixed, "attn.proj")
    hidden = torch.from_numpy(linear(normed(tokens, block.norm2), "mlp.fc1"))
    return matrix, tokens + linear(torch.nn.functional.gelu(hidden).numpy(), "mlp.fc2")


@pytest.mark.parametrize(
    ("arch", "size_px", "preprocess", "side"),
    [
        ({}, 32, "native", 4),
        ({}, 48, "native", 6),  # another size than the one that the network was made for
        ({"reg_tokens": 4}, 32, "native", 4),
        ({"qk_norm": True}, 32, "native", 4),
        ({"patch_size": 16}, 64, "thesis", 14),  # 256 px, of which the middle 224
    ],
)
def test_attention_is_that_of_numpy(arch: dict, size_px: int, preprocess: str, side: int) -> None:
    backbone = lively(BackboneSpec(arch={**ARCH, **arch}, preprocess=preprocess))
    tiles = tiles_of(size_px)
    images = prepare(tiles, preprocess)
    matrix, output = naive(backbone, images)
    with torch.inference_mode():  # the naive block is timm's block
        tokens = backbone.network.forward_features(images).numpy()
    np.testing.assert_allclose(normed(output, backbone.network.norm), tokens, atol=2e-4)

    prefix = 1 + arch.get("reg_tokens", 0)
    attention = last_attention(backbone, tiles)
    assert attention.dtype == np.float32
    assert attention.shape == (2, 3, side, side)
    np.testing.assert_allclose(attention.reshape(2, 3, -1), matrix[:, :, 0, prefix:], rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(attention.sum(axis=(2, 3)), 1 - matrix[:, :, 0, :prefix].sum(axis=2), atol=1e-5)


def test_rows_and_columns_are_those_of_the_tile() -> None:
    """The class token attends to the one patch whose key it is made to like."""
    backbone = build_backbone(SPEC)
    network = backbone.network
    with torch.no_grad():
        network.pos_embed.zero_()
        network.patch_embed.proj.bias.zero_()
        for block in network.blocks[:-1]:
            block.attn.proj.weight.zero_()
            block.mlp.fc2.weight.zero_()
        attention = network.blocks[-1].attn
        attention.qkv.weight.zero_()
        attention.qkv.bias.zero_()
        attention.qkv.bias[0] = 1.0
        attention.qkv.weight[24] = 5 * network.patch_embed.proj.weight.sum(dim=(1, 2, 3))  # key: how bright a patch is
    tiles = np.full((1, 32, 32, 3), 124, np.uint8)
    tiles[0, 8:16, 24:32] = 255  # row 1, column 3
    seen = last_attention(backbone, tiles)[0, 0]
    assert np.unravel_index(seen.argmax(), seen.shape) == (1, 3)


def test_backbone_comes_back_as_it_was() -> None:
    backbone = build_backbone(SPEC, drop_path=0.5)
    attention = backbone.network.blocks[-1].attn
    was_fused = attention.fused_attn
    first = last_attention(backbone, tiles_of())
    assert backbone.training
    assert attention.fused_attn is was_fused
    assert not attention.attn_drop._forward_pre_hooks
    np.testing.assert_array_equal(last_attention(backbone, tiles_of()), first)
    with pytest.raises(CorpusError, match="do not divide"):
        last_attention(backbone, tiles_of(36))
    assert attention.fused_attn is was_fused
    assert not attention.attn_drop._forward_pre_hooks


def test_rotary_positions_are_in_it() -> None:
    arch = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2}
    backbone = lively(BackboneSpec("eva02_tiny_patch14_224", arch=arch, preprocess="native"))
    attention = last_attention(backbone, tiles_of())
    assert attention.shape == (2, 2, 4, 4)
    shares = attention.sum(axis=(2, 3))
    assert ((shares > 0) & (shares < 1)).all()


@pytest.mark.parametrize(
    ("model", "arch"),
    [
        ("resnet18", {}),
        ("colour", {}),
        ("mixer_s32_224", {}),
        ("vit_relpos_small_patch16_224", {"depth": 1}),  # attention, but no class token
        ("xcit_nano_12_p16_224", {"depth": 1}),  # attention between channels
        ("cait_xxs24_224", {"depth": 1}),  # the class token comes after the last block
    ],
)
def test_network_without_such_attention_is_refused(model: str, arch: dict) -> None:
    backbone = build_backbone(BackboneSpec(model, arch=arch, preprocess="resize224"))
    with pytest.raises(CheckpointError, match=f"{model} has no attention of a class token.*Choose a ViT"):
        last_attention(backbone, tiles_of(64))


def test_mask_is_the_smallest_set_by_hand() -> None:
    attention = np.array([[[0.4, 0.1], [0.2, 0.3]], [[0.0, 0.05], [0.02, 0.03]]])  # the second head sums to 0.1
    assert attention_mask(attention, 0.6).tolist() == [
        [[True, False], [False, True]],
        [[False, True], [False, True]],
    ]
    assert attention_mask(attention, 0.35).tolist() == [
        [[True, False], [False, False]],
        [[False, True], [False, False]],
    ]
    assert attention_mask(attention[0], 1).all()
    assert attention_mask(attention[1], 1).tolist() == [[False, True], [True, True]]


def test_mask_takes_ties_row_by_row() -> None:
    even = np.full((2, 3), 1 / 8, np.float32)
    assert attention_mask(even, 0.5).tolist() == [[True, True, True], [False, False, False]]
    assert attention_mask(even, 0.51).tolist() == [[True, True, True], [True, False, False]]
    assert attention_mask(even, 1).all()


@given(
    hnp.arrays(np.float32, (2, 3, 4), elements=st.floats(2**-10, 1, width=32)),
    st.floats(0.01, 1),
)
def test_mask_holds_the_mass_and_no_patch_too_many(attention: np.ndarray, mass: float) -> None:
    mask = attention_mask(attention, mass)
    for values, kept in zip(attention.astype(np.float64), mask, strict=True):
        share = values[kept].sum() / values.sum()
        assert share >= mass - 1e-9
        assert share - values[kept].min() / values.sum() <= mass + 1e-9
        assert kept.all() or values[kept].min() >= values[~kept].max()


@pytest.mark.parametrize("mass", [0, -0.1, 1.01, float("nan")])
def test_mass_outside_of_its_range_is_refused(mass: float) -> None:
    with pytest.raises(SuiteError, match=r"must be in \(0, 1\]"):
        attention_mask(np.ones((1, 2, 2)), mass)


def test_nothing_to_look_at_is_refused() -> None:
    with pytest.raises(CorpusError, match="no tiles"):
        last_attention(build_backbone(SPEC), tiles_of(n=0))
    assert attention_mask(np.zeros((0, 3, 2, 2)), 0.5).shape == (0, 3, 2, 2)
