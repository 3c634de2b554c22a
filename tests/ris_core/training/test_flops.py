import dataclasses

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ris_core.backbone import BackboneSpec, build_backbone
from ris_core.errors import CorpusError
from ris_core.training import flops
from ris_core.training.dino import DinoLoss, make_networks
from ris_core.training.flops import count_flops, peak_flops, training_flops
from ris_core.training.recipe import DinoRecipe

D, DEPTH, PATCH_PX = 24, 2, 8
ARCH = {"img_size": 32, "patch_size": PATCH_PX, "embed_dim": D, "depth": DEPTH, "num_heads": 3}
SPEC = BackboneSpec(arch=ARCH, preprocess="native")
RECIPE = DinoRecipe(global_px=32, local_px=16, local_crops=3, out_dim=64, hidden_dim=40, bottleneck_dim=8, drop_path=0)


def transformer_flops(size_px: int) -> tuple[int, int]:
    """Of one image's forward pass: the patch embedding, and all blocks."""
    patches = (size_px // PATCH_PX) ** 2
    tokens = patches + 1
    embedding = 2 * patches * 3 * PATCH_PX**2 * D
    block = 2 * tokens * D * 12 * D + 2 * 2 * tokens * tokens * D  # projections and MLP; scores and weighted sum
    return embedding, DEPTH * block


def test_flops_of_a_transformer_are_those_of_its_formula():
    backbone = build_backbone(SPEC)
    assert count_flops(backbone, 32) == sum(transformer_flops(32))
    assert backbone.training
    assert count_flops(build_backbone(BackboneSpec("colour")), 32) == 0


def test_flops_of_training_are_those_of_its_formula():
    """Backward costs twice forward, but the embedding has no gradient for the pixels."""
    head = 2 * (D * 40 + 40 * 40 + 40 * 8 + 8 * 64)
    embedding, blocks = transformer_flops(32)
    small_embedding, small_blocks = transformer_flops(16)
    teacher = 2 * (embedding + blocks + head)
    student = 2 * (2 * embedding + 3 * (blocks + head)) + 3 * (2 * small_embedding + 3 * (small_blocks + head))
    assert training_flops(SPEC, RECIPE) == teacher + student


@pytest.mark.parametrize("local_crops", [0, 1, 3])
@pytest.mark.parametrize("spec", [SPEC, BackboneSpec("resnet10t")])
def test_flops_of_training_are_those_counted_on_a_step(spec, local_crops):
    recipe = dataclasses.replace(RECIPE, local_crops=local_crops)
    student, teacher = make_networks(spec, recipe)
    b = 3
    whole, local = torch.randn(2 * b, 3, 32, 32), torch.randn(local_crops * b, 3, 16, 16)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        with torch.no_grad():
            targets = teacher([whole])
        DinoLoss(recipe)(student([whole, local] if local_crops else [whole]), targets, 0.04).loss.backward()
    assert b * training_flops(spec, recipe) == counter.get_total_flops()


def test_flops_of_training_need_no_weights():
    assert training_flops(dataclasses.replace(SPEC, weights="absent.safetensors"), RECIPE) > 0


def test_flops_of_the_published_recipe():
    """What is known of ViT-S/16: 4.6 G multiplications with additions an image of 224 px (Touvron et al. 2021)."""
    spec = BackboneSpec("vit_small_patch16_224")
    with torch.device("meta"):
        forward = count_flops(build_backbone(spec), 224)
    assert forward == pytest.approx(2 * 4.6e9, rel=0.01)
    assert 2 * 4 * forward < training_flops(spec, DinoRecipe()) < 2 * 4 * forward * 2


def test_peak_is_positive_and_measured_once(monkeypatch):
    peak = peak_flops(torch.device("cpu"), False)
    assert peak > 0
    monkeypatch.setattr(flops.time, "perf_counter", None)
    assert peak_flops(torch.device("cpu"), False) == peak


def test_peak_is_the_fastest_product(monkeypatch):
    clock = iter([0.0, 2.0, 10.0, 10.1, 20.0, 20.5])
    monkeypatch.setattr(flops.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(flops, "_PEAK_S", 2.55)
    monkeypatch.setattr(flops, "_PEAK_SIDES", {"cpu": (10,)})
    flops._measure_peak.cache_clear()
    assert peak_flops(torch.device("cpu"), False) == pytest.approx(2000 / 0.1)
    flops._measure_peak.cache_clear()


def test_network_that_refuses_an_image_comes_back_as_it_was() -> None:
    backbone = build_backbone(
        BackboneSpec(arch={"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 3})
    )
    with pytest.raises(CorpusError):
        count_flops(backbone, 15)
    assert backbone.training
