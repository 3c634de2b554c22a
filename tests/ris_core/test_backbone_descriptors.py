"""Backbones whose feature is a pooled map: pools, scales, second-order attention, and their weights in files."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from ris_core.backbone import Backbone, BackboneSpec, build_backbone, refuse_tiles, save_weights
from ris_core.errors import CheckpointError, CorpusError
from ris_core.pooling import GEM_POWER, POOLINGS, pool_scales, resize_images
from ris_core.preprocess import WHOLE

CNN = BackboneSpec("resnet10t", preprocess="native")
VIT = BackboneSpec(
    arch={"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 3}, preprocess="native"
)
SWIN = BackboneSpec(
    "swin_tiny_patch4_window7_224",
    arch={"embed_dim": 8, "depths": (1, 1), "num_heads": (1, 2), "img_size": 56, "window_size": 7},
)


def images(height: int = 64, width: int = 64) -> torch.Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def features_of(backbone: Backbone, batch: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return backbone.eval()(batch)


def with_pool(spec: BackboneSpec, pool: str, **others: object) -> Backbone:
    return build_backbone(dataclasses.replace(spec, pool=pool, **others))


@pytest.mark.parametrize("pool", POOLINGS)
def test_feature_is_the_pooled_map_with_unit_length(pool: str) -> None:
    layer = POOLINGS[pool]()
    for spec, batch in ((CNN, images(64, 96)), (VIT, images(32, 48)), (SWIN, images(56, 56))):
        backbone = with_pool(spec, pool)
        with torch.inference_mode():
            tokens = backbone.eval().network.forward_features(batch)
            if spec == VIT:  # class token, then 4 x 6 patches, row by row
                tokens = tokens[:, 1:].reshape(2, 4, 6, 24).permute(0, 3, 1, 2)
            elif spec == SWIN:
                tokens = tokens.permute(0, 3, 1, 2)
            expected = functional.normalize(layer(tokens), dim=1)
        torch.testing.assert_close(features_of(backbone, batch), expected)
        assert backbone.d == expected.shape[1]


def test_places_of_patches_are_those_in_the_image() -> None:
    backbone = with_pool(VIT, "rmac")
    tokens = torch.zeros(1, 1 + 24, 1)
    tokens[0, 1 + 2 * 6 + 5] = 1.0
    placed = backbone._map(tokens, torch.Size([32, 48]))
    assert placed.shape == (1, 1, 4, 6)
    assert placed[0, 0].nonzero().tolist() == [[2, 5]]
    with pytest.raises(CheckpointError, match="returns 24 tokens, which are no 4 x 4 patches"):
        backbone._map(tokens, torch.Size([32, 32]))


def test_scales_are_those_of_single_passes_and_for_evaluation_alone() -> None:
    for spec, batch in ((CNN, images(64, 96)), (VIT, images(32, 48))):
        plain = with_pool(spec, "gem")
        scaled = with_pool(spec, "gem", scales=(1.0, 0.5), scale_pool="gem")
        with torch.no_grad():
            for backbone in (plain, scaled):
                backbone.pooling.p.fill_(2.0)
        half = resize_images(batch, 0.5, plain.patch_px or 1)
        expected = pool_scales([features_of(plain, batch), features_of(plain, half)], "gem", 2.0)
        torch.testing.assert_close(features_of(scaled, batch), expected)
        scaled.train()
        plain.train()
        torch.testing.assert_close(scaled(batch), plain(batch))


def test_class_tokens_of_several_scales_are_summed() -> None:
    plain, scaled = build_backbone(VIT), build_backbone(dataclasses.replace(VIT, scales=(1.0, 0.5)))
    batch = images(32, 32)
    parts = [features_of(plain, batch), features_of(plain, resize_images(batch, 0.5, 8))]
    expected = functional.normalize(sum(functional.normalize(part, dim=1) for part in parts), dim=1)
    torch.testing.assert_close(features_of(scaled, batch), expected)


def test_untrained_attention_changes_no_feature_and_its_weights_follow_the_seed() -> None:
    plain, one, again = (with_pool(CNN, "gem", soa=soa) for soa in (False, True, True))
    assert torch.equal(features_of(plain, images()), features_of(one, images()))
    assert one.parameters_count > plain.parameters_count
    for (name, weight), other in zip(one.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(weight, other), name


def test_power_and_attention_are_trained_saved_and_loaded(tmp_path: Path) -> None:
    spec = dataclasses.replace(VIT, pool="gem", soa=True)
    trained = build_backbone(spec)
    optimizer = torch.optim.SGD(trained.parameters(), lr=1.0)
    for _ in range(2):
        optimizer.zero_grad()
        trained(images(32, 32))[:, 0].sum().backward()
        optimizer.step()
    assert float(trained.pooling.p.detach()) != GEM_POWER
    save_weights(trained, tmp_path / "model.safetensors")
    loaded = build_backbone(dataclasses.replace(spec, weights=str(tmp_path / "model.safetensors")))
    for (name, weight), other in zip(trained.state_dict().items(), loaded.state_dict().values(), strict=True):
        assert torch.equal(weight, other), name
    with pytest.raises(CheckpointError, match=r"unexpected: soa\."):
        build_backbone(dataclasses.replace(VIT, pool="gem", weights=str(tmp_path / "model.safetensors")))


def test_weights_without_a_power_keep_three_and_other_pools_take_weights_with_one(tmp_path: Path) -> None:
    path = tmp_path / "plain.safetensors"
    save_weights(build_backbone(VIT), path)
    with pytest.warns(UserWarning, match=r"lacks pooling.p. These keep what they begin with: a power of 3"):
        loaded = with_pool(VIT, "gem", weights=str(path))
    assert loaded.pooling.p.item() == 3.0
    with pytest.warns(UserWarning, match=r"lacks soa.query.0.weight, soa.query.0.bias, .* and 10 more"):
        with_pool(VIT, "rmac", soa=True, weights=str(path))
    with torch.no_grad():
        loaded.pooling.p.fill_(5.0)
    save_weights(loaded, path)
    assert with_pool(VIT, "gem", weights=str(path)).pooling.p.item() == 5.0
    for pool in ("mac", "superglobal", "cls"):
        with_pool(VIT, pool, weights=str(path))


def cirtorch_names(backbone: Backbone) -> dict[str, torch.Tensor]:
    """A state as github.com/filipradenovic/cnnimageretrieval-pytorch names it: torchvision's children, numbered."""
    places = ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"]
    state = {}
    for name, weight in backbone.network.state_dict().items():
        part, _, rest = name.partition(".")
        if not rest.endswith("num_batches_tracked"):  # which the oldest files lack
            state[f"features.{places.index(part)}.{rest}"] = weight
    return state


def test_published_retrieval_network_is_loaded_by_its_own_names(tmp_path: Path) -> None:
    spec = BackboneSpec("resnet18", pool="gem", seed=3)
    trained = build_backbone(spec)
    whitening = {"retrieval-SfM-120k": {"ss": {"m": np.zeros((512, 1)), "P": np.eye(512)}}}
    meta = {"architecture": "resnet18", "pooling": "gem", "mean": [0.485, 0.456, 0.406], "Lw": whitening}
    state = {**cirtorch_names(trained), "pool.p": torch.tensor([2.9])}
    torch.save({"meta": meta, "state_dict": state}, tmp_path / "gem.pth")
    loaded = build_backbone(dataclasses.replace(spec, seed=0, weights=str(tmp_path / "gem.pth")))
    assert loaded.pooling.p.item() == pytest.approx(2.9)
    torch.testing.assert_close(loaded.network(images()), trained.network(images()))

    harmful = meta | {"Lw": np.array([None])}  # bytes of such arrays could be taken for addresses
    torch.save({"meta": harmful, "state_dict": state}, tmp_path / "harmful.pth")
    with pytest.raises(CheckpointError, match=r"not a whole checkpoint that can be read safely .*array of 'O8'"):
        build_backbone(dataclasses.replace(spec, weights=str(tmp_path / "harmful.pth")))

    bare = {name.removeprefix("features."): weight for name, weight in state.items() if name != "pool.p"}
    torch.save(bare, tmp_path / "features.pth")
    bare_loaded = build_backbone(dataclasses.replace(spec, seed=0, pool="mac", weights=str(tmp_path / "features.pth")))
    torch.testing.assert_close(bare_loaded.network(images()), trained.network(images()))

    del state["features.0.weight"]
    torch.save(state, tmp_path / "partial.pth")
    with pytest.raises(CheckpointError, match=r"does not fit the network. Weights .* missing: conv1.weight"):
        build_backbone(dataclasses.replace(spec, weights=str(tmp_path / "partial.pth")))


def test_layer_after_the_pooling_of_a_published_network_becomes_the_bottleneck(tmp_path: Path) -> None:
    from ris_core.bottleneck import Bottleneck

    spec = BackboneSpec("resnet18", pool="gem", bottleneck=Bottleneck("continuous", 4))
    state = cirtorch_names(build_backbone(spec))
    state |= {"pool.p": torch.tensor([3.0]), "whiten.weight": torch.ones(4, 512), "whiten.bias": torch.arange(4.0)}
    torch.save({"state_dict": state}, tmp_path / "gem-w.pth")
    loaded = build_backbone(dataclasses.replace(spec, weights=str(tmp_path / "gem-w.pth"))).eval()
    plain = build_backbone(dataclasses.replace(spec, bottleneck=None)).eval()
    with torch.inference_mode():
        expected = plain(images()).sum(dim=1, keepdim=True) + torch.arange(4.0)
        torch.testing.assert_close(loaded(images()), expected)


def test_checkpoint_of_torchvision_is_loaded_as_it_is(tmp_path: Path) -> None:
    torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed")
    network = torchvision.models.resnet18(weights=None).eval()
    torch.save(network.state_dict(), tmp_path / "resnet18.pth")
    loaded = with_pool(BackboneSpec("resnet18", weights=str(tmp_path / "resnet18.pth")), "spoc")
    network.fc = torch.nn.Identity()
    with torch.inference_mode():
        expected = functional.normalize(network(images()), dim=1)
    torch.testing.assert_close(features_of(loaded, images()), expected)


def test_impossible_descriptors_are_told_at_once() -> None:
    spec = BackboneSpec(pool="gam", scales=(1.0, 1.0), scale_pool="mean", whole_px=8)
    faults = " ".join(spec.faults())
    assert "pool = 'gam' is unknown; known: cls, mean, cls_gem, mac, spoc, gem, rmac, superglobal." in faults
    assert "scales = [1.0, 1.0] must be different numbers in (0, 4]" in faults
    assert "scale_pool = 'mean' is unknown; known: sum, gem, max." in faults
    assert "whole_px = 8 must be at least 32." in faults
    assert "takes the power of pool = 'gem', not of 'mac'" in BackboneSpec(pool="mac", scale_pool="gem").faults()[0]
    assert "soa comes before a pooling of the map" in BackboneSpec(pool="cls", soa=True).faults()[0]
    for spec in (BackboneSpec("colour", scales=(1.0, 0.5)), BackboneSpec("colour", pool="gem", soa=True)):
        assert "takes neither scales nor soa" in spec.faults()[0]
    with pytest.raises(CheckpointError, match="pool = 'gam' is unknown"):
        build_backbone(BackboneSpec(pool="gam"))


def test_size_of_whole_images_is_tried_before_weights() -> None:
    refuse_tiles(dataclasses.replace(CNN, preprocess=WHOLE, whole_px=100), 64)
    refuse_tiles(dataclasses.replace(VIT, preprocess=WHOLE, whole_px=100), 64)  # 104, whole patches
    fixed = BackboneSpec("mixer_s32_224", preprocess=WHOLE, whole_px=448, pool="mean")
    with pytest.raises(CorpusError, match="takes no images of 448 px"):
        refuse_tiles(fixed, 224)


def test_keys_of_older_work_name_none_of_the_later_fields() -> None:
    old = {"model", "arch", "weights", "seed", "preprocess", "pool"}
    assert set(BackboneSpec().named()) == old
    later = BackboneSpec(pool="gem", scales=(1.0, 0.5), soa=True).named()
    assert set(later) == old | {"scales", "soa"}
    trained = BackboneSpec(pool="superglobal", scales=(1.0, 0.5), scale_pool="max", soa=True).as_trained()
    assert trained == BackboneSpec(pool="gem", soa=True)
