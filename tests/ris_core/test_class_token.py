import pytest
import torch

from ris_core.backbone import Backbone, BackboneSpec, build_backbone
from ris_core.class_token import ClassTokenBlock, class_token_only
from ris_core.training.flops import count_flops

ARCH = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
SPEC = BackboneSpec(arch=ARCH, preprocess="native")
IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def described(backbone: Backbone) -> torch.Tensor:
    with torch.inference_mode():
        return backbone.eval()(IMAGES)


def lively(backbone: Backbone) -> Backbone:
    """Weights that timm draws as zeros or ones made to matter."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in backbone.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=generator)
    return backbone


@pytest.mark.parametrize(
    ("model", "arch"),
    [
        ("vit_tiny_patch16_224", {}),
        ("vit_tiny_patch16_224", {"reg_tokens": 4}),
        ("vit_tiny_patch16_224", {"qk_norm": True, "scale_attn_norm": True}),
        ("vit_tiny_patch16_224", {"qkv_bias": False, "init_values": 0.1}),
        ("vit_tiny_patch16_224", {"depth": 1}),
        ("deit_tiny_distilled_patch16_224", {}),
    ],
)
def test_class_token_is_that_of_the_whole_block(model: str, arch: dict) -> None:
    backbone = lively(build_backbone(BackboneSpec(model, arch={**ARCH, **arch}, preprocess="native")))
    whole = described(backbone)
    with class_token_only(backbone):
        assert isinstance(backbone.network.blocks[-1], ClassTokenBlock)
        alone = described(backbone)
        assert backbone.network.forward_features(IMAGES).shape == (3, 1, 24)
    torch.testing.assert_close(alone, whole, rtol=1e-5, atol=1e-5)
    assert torch.nn.functional.cosine_similarity(alone, whole).min() > 1 - 1e-6
    assert torch.equal(described(backbone), whole)


def test_it_leaves_out_what_the_other_tokens_would_cost() -> None:
    d, tokens, backbone = 24, 17, build_backbone(SPEC)
    whole = count_flops(backbone, 32)
    with class_token_only(backbone):
        alone = count_flops(backbone, 32)
    linear, attention = 2 * 10 * d * d, 2 * 2 * tokens * d  # of one token: queries, projection, MLP; scores and sum
    assert whole - alone == (tokens - 1) * (linear + attention)


@pytest.mark.parametrize(
    "spec",
    [
        BackboneSpec(arch=ARCH, preprocess="native", pool="mean"),
        BackboneSpec(arch=ARCH, preprocess="native", pool="cls_gem"),
        BackboneSpec("eva02_tiny_patch14_224", arch={**ARCH, "depth": 1, "num_heads": 2}, preprocess="native"),
        BackboneSpec("vit_relpos_small_patch16_224", arch=ARCH, preprocess="native"),  # no class token
        BackboneSpec("resnet18", preprocess="native"),
        BackboneSpec("colour", preprocess="native"),
    ],
)
def test_others_are_left_as_they_are(spec: BackboneSpec) -> None:
    backbone = build_backbone(spec)
    before = described(backbone)
    modules = list(backbone.modules())
    with class_token_only(backbone):
        assert list(backbone.modules()) == modules
        assert torch.equal(described(backbone), before)


def test_the_block_comes_back_after_a_failure() -> None:
    backbone = build_backbone(SPEC)
    last, names = backbone.network.blocks[-1], list(backbone.state_dict())
    with pytest.raises(KeyboardInterrupt), class_token_only(backbone):
        raise KeyboardInterrupt
    assert backbone.network.blocks[-1] is last
    assert list(backbone.state_dict()) == names
