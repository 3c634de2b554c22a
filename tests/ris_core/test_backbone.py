import dataclasses
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import nn

from ris_core.backbone import Backbone, BackboneSpec, build_backbone, refuse_tiles
from ris_core.errors import CheckpointError, CorpusError

SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
SPEC = BackboneSpec(arch=SMALL, preprocess="native")


def images(size_px: int = 32, n: int = 3) -> torch.Tensor:
    return torch.randn(n, 3, size_px, size_px, generator=torch.Generator().manual_seed(1))


def features_of(backbone: Backbone, size_px: int = 32) -> torch.Tensor:
    with torch.inference_mode():
        return backbone.eval()(images(size_px))


def test_class_token_is_that_of_plain_timm() -> None:
    backbone = build_backbone(SPEC)
    plain = timm.create_model(SPEC.model, num_classes=0, **SMALL).eval()
    plain.load_state_dict(backbone.network.state_dict())
    with torch.inference_mode():
        expected = plain(images())
    torch.testing.assert_close(features_of(backbone), expected, rtol=0, atol=1e-6)
    assert backbone.d == 24
    assert backbone.parameters_count == sum(p.numel() for p in plain.parameters())


@pytest.mark.parametrize("registers", [0, 4])
def test_pools_are_those_of_the_tokens(registers: int) -> None:
    spec = dataclasses.replace(SPEC, arch={**SMALL, "reg_tokens": registers})
    with torch.inference_mode():
        tokens = build_backbone(spec).eval().network.forward_features(images()).numpy()
    assert tokens.shape == (3, 1 + registers + 16, 24)
    patches = tokens[:, 1 + registers :].astype(np.float64)
    gem = (np.maximum(patches, 1e-6) ** 4).mean(axis=1) ** 0.25
    expected = {
        "cls": tokens[:, 0],
        "mean": patches.mean(axis=1),
        "cls_gem": np.concatenate([tokens[:, 0], gem], axis=1),
    }
    for pool, values in expected.items():
        pooled = build_backbone(dataclasses.replace(spec, pool=pool))
        np.testing.assert_allclose(features_of(pooled).numpy(), values, atol=1e-5)
        assert pooled.d == values.shape[1]


def test_transformer_takes_any_size_that_its_patches_divide() -> None:
    backbone = build_backbone(SPEC)
    assert features_of(backbone, 64).shape == (3, 24)
    with pytest.raises(CorpusError, match="36 x 36 px do not divide into the 8 px patches"):
        features_of(backbone, 36)


@pytest.mark.parametrize(
    ("model", "pool", "d"),
    [
        ("resnet18", "cls", 512),
        ("resnet18", "mean", 512),
        ("mobilenetv3_small_050", "cls", 1024),  # its own pooling ends in one more layer
        ("mobilenetv3_small_050", "mean", 288),
        ("vit_relpos_small_patch16_224", "cls", 384),  # no class token
    ],
)
def test_network_without_class_token_gives_its_pooled_map(model: str, pool: str, d: int) -> None:
    backbone = build_backbone(BackboneSpec(model=model, pool=pool))
    assert backbone.d == d
    features = features_of(backbone, 224)
    assert features.shape == (3, d)
    with torch.inference_mode():
        if pool == "cls":
            torch.testing.assert_close(features, backbone.network(images(224)))
        else:
            torch.testing.assert_close(features, backbone.network.forward_features(images(224)).mean(dim=(2, 3)))


def test_patch_tokens_without_class_token_are_averaged() -> None:
    arch = {**SMALL, "class_token": False, "global_pool": "avg"}
    backbone = build_backbone(BackboneSpec(arch=arch, preprocess="native", pool="mean"))
    with torch.inference_mode():
        tokens = backbone.eval().network.forward_features(images()).numpy()  # (3, 16, 24)
    np.testing.assert_allclose(features_of(backbone).numpy(), tokens.mean(axis=1), atol=1e-5)
    with pytest.raises(CheckpointError, match="'cls_gem' needs a class token"):
        build_backbone(BackboneSpec(arch=arch, preprocess="native", pool="cls_gem"))


@pytest.mark.parametrize(
    ("model", "patch_px"),
    [
        ("vit_tiny_patch16_224", 16),
        ("xcit_nano_12_p16_224", 16),  # says a number, not a pair
        ("vit_tiny_r_s16_p8_224", 32),  # 8 x 8 of the map of a small ResNet
        ("resnet18", None),
    ],
)
def test_patches_are_counted_in_pixels_of_the_input(model: str, patch_px: int | None) -> None:
    with torch.device("meta"):
        assert build_backbone(BackboneSpec(model)).patch_px == patch_px


def test_tiles_of_a_size_that_the_network_refuses_are_told_without_weights() -> None:
    refuse_tiles(SPEC, 64)
    refuse_tiles(BackboneSpec("mixer_s32_224", preprocess="resize224"), 64)
    with pytest.raises(CorpusError, match="36 x 36 px do not divide into the 8 px patches"):
        refuse_tiles(SPEC, 36)
    with pytest.raises(CorpusError, match=r"takes no images of 64 px, .*'native' makes of tiles of 64 px.*'resize224'"):
        refuse_tiles(BackboneSpec("mixer_s32_224", preprocess="native"), 64)


def test_channels_last_map_is_averaged_over_space() -> None:
    arch = {"embed_dim": 8, "depths": (1, 1), "num_heads": (1, 2), "img_size": 56, "window_size": 7}
    backbone = build_backbone(BackboneSpec("swin_tiny_patch4_window7_224", arch=arch, pool="mean"))
    with torch.inference_mode():
        tokens = backbone.eval().network.forward_features(images(56))  # (3, 7, 7, 16)
    torch.testing.assert_close(features_of(backbone, 56), tokens.mean(dim=(1, 2)))
    assert backbone.d == 16


def test_colour_is_mean_and_spread_by_hand() -> None:
    colour = build_backbone(BackboneSpec("colour"))
    image = torch.zeros(1, 3, 2, 2)
    image[0, 0] = torch.tensor([[1.0, 3.0], [1.0, 3.0]])  # mean 2, standard deviation 1
    image[0, 1] = 5.0
    assert colour(image).tolist() == [[2.0, 5.0, 0.0, 1.0, 0.0, 0.0]]
    assert (colour.d, colour.parameters_count) == (6, 0)
    assert build_backbone(BackboneSpec("colour", pool="mean"))(image).tolist() == [[2.0, 5.0, 0.0, 1.0, 0.0, 0.0]]


def test_random_weights_follow_the_seed_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = build_backbone(SPEC)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(6)
    again, other = build_backbone(SPEC), build_backbone(dataclasses.replace(SPEC, seed=1))
    assert torch.equal(features_of(first), features_of(again))
    assert not torch.allclose(features_of(first), features_of(other), atol=1e-3)


def test_weights_of_a_path_are_loaded(tmp_path: Path) -> None:
    trained = build_backbone(dataclasses.replace(SPEC, seed=9))
    torch.save(trained.network.state_dict(), tmp_path / "trained.pth")
    loaded = build_backbone(dataclasses.replace(SPEC, weights=str(tmp_path / "trained.pth")))
    assert torch.equal(features_of(loaded), features_of(trained))


def test_drop_path_acts_in_training_only() -> None:
    backbone = build_backbone(SPEC, drop_path=0.5)
    with torch.inference_mode():
        assert not torch.equal(backbone(images(n=32)), backbone(images(n=32)))
    assert torch.equal(features_of(backbone), features_of(build_backbone(SPEC)))


def test_shape_is_known_on_the_meta_device() -> None:
    with torch.device("meta"):
        backbone = build_backbone(SPEC)
    assert backbone.d == 24
    assert next(backbone.parameters()).is_meta


def test_faults_are_told_at_once_with_what_is_known() -> None:
    spec = BackboneSpec("vit_tini_patch16_224", weights="absent.pth", preprocess="thesys", pool="max", seed=-1)
    told = " ".join(spec.faults())
    assert len(spec.faults()) == 5
    for part in ("vit_tiny_patch16_224", "'absent.pth' is no file", "thesis", "cls_gem", "seed = -1"):
        assert part in told
    with pytest.raises(CheckpointError, match=r"close names: vit_tiny_patch16_224.*'max' is unknown"):
        build_backbone(spec)
    assert SPEC.faults() == BackboneSpec().faults() == BackboneSpec("colour").faults() == []


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (BackboneSpec("colour", weights="pretrained"), "takes neither arch nor weights"),
        (BackboneSpec("vit_small_patch16_224.dyno", weights="pretrained"), "vit_small_patch16_224.dino"),
        (BackboneSpec(arch={"num_classes": 10}), "arch cannot set num_classes"),
        (BackboneSpec("resnet18", arch={"patch_size": 8}), "unexpected keyword argument 'patch_size'"),
        (BackboneSpec(arch={"embed_dim": 10}), "divisible by num_heads"),
        (BackboneSpec("resnet18", pool="cls_gem"), "needs a class token"),
    ],
)
def test_impossible_backbone_is_refused(spec: BackboneSpec, told: str) -> None:
    with pytest.raises(CheckpointError, match=told):
        build_backbone(spec)


def refuse_download(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    create = timm.create_model

    def offline(*names: object, **arguments: object) -> nn.Module:
        if arguments.get("pretrained"):
            raise error
        return create(*names, **arguments)

    monkeypatch.setattr(timm, "create_model", offline)


def test_pretrained_without_network_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_download(monkeypatch, FileNotFoundError("no connection"))
    with pytest.raises(CheckpointError, match=r"timm/vit_small_patch16_224\.dino .*model\.safetensors.*weights = \"/"):
        build_backbone(BackboneSpec("vit_small_patch16_224.dino", weights="pretrained"))


def test_pretrained_that_does_not_fit_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_download(monkeypatch, RuntimeError("size mismatch for pos_embed"))
    with pytest.raises(CheckpointError, match=r"do not fit arch = \{'depth': 2\}.*size mismatch"):
        build_backbone(BackboneSpec("vit_small_patch16_224.dino", weights="pretrained", arch={"depth": 2}))


def test_pretrained_with_other_statistics_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_download(monkeypatch, FileNotFoundError())
    spec = BackboneSpec("vit_tiny_patch16_224.augreg_in21k", weights="pretrained")
    with pytest.warns(UserWarning, match=r"mean \(0.5, 0.5, 0.5\)"), pytest.raises(CheckpointError):
        build_backbone(spec)
    with pytest.raises(CheckpointError):  # and no warning, which would be an error
        build_backbone(dataclasses.replace(spec, preprocess="thesis_half"))
