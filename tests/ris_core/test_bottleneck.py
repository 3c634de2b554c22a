import dataclasses

import pytest
import torch
from torch import nn

from ris_core.backbone import COLOUR, BackboneSpec, build_backbone, load_weights, save_weights
from ris_core.bottleneck import Bottleneck, BottleneckLayer
from ris_core.errors import CheckpointError

BINARY = Bottleneck("binary", 6)
CATEGORICAL = Bottleneck("categorical", 3, levels=4)
SPEC = BackboneSpec(
    "vit_tiny_patch16_224",
    {"img_size": 16, "patch_size": 8, "embed_dim": 12, "depth": 1, "num_heads": 2},
    preprocess="native",
)


def bare(spec: Bottleneck, logits: torch.Tensor) -> torch.Tensor:
    """What a layer in training makes of logits: without its linear layer and its normalisation."""
    layer = BottleneckLayer(spec, spec.d)
    layer.linear, layer.norm = nn.Identity(), nn.Identity()
    return layer.train()(logits)


@pytest.mark.parametrize("estimator", ["straight_through", "gumbel"])
@pytest.mark.parametrize("spec", [BINARY, CATEGORICAL])
def test_codes_are_exact_and_the_same_each_time(spec, estimator):
    torch.manual_seed(0)
    layer = BottleneckLayer(dataclasses.replace(spec, estimator=estimator), 10)
    features = torch.randn(50, 10)
    layer.train()(features)  # running statistics are not those of birth any more
    codes = layer.eval()(features)
    assert codes.shape == (50, spec.d)
    assert codes.unique().tolist() == [0.0, 1.0]
    assert torch.equal(codes, layer(features))
    if spec.levels:
        assert (codes.unflatten(1, (spec.units, spec.levels)).sum(dim=2) == 1).all()


def test_continuous_bottleneck_is_linear():
    layer = BottleneckLayer(Bottleneck(units=3), 5).train()
    features = torch.randn(4, 5)
    expected = features @ layer.linear.weight.T + layer.linear.bias
    torch.testing.assert_close(layer(features), expected)
    torch.testing.assert_close(layer.eval()(features), expected)


def test_bits_learn_through_the_slope_of_the_sigmoid():
    logits = torch.tensor([[-3.0, -0.5, 0.5, 3.0]], requires_grad=True)
    codes = bare(Bottleneck("binary", 4, temperature=2.0), logits)
    torch.testing.assert_close(codes, torch.tensor([[0.0, 0.0, 1.0, 1.0]]))
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
    (codes * weights).sum().backward()
    soft = torch.sigmoid(logits.detach() / 2)
    torch.testing.assert_close(logits.grad, weights * soft * (1 - soft) / 2)


def test_categories_learn_through_the_softmax():
    logits = torch.tensor([[1.0, 2.0, 0.5, -1.0, 0.0, 3.0]], requires_grad=True)
    codes = bare(Bottleneck("categorical", 2, levels=3, temperature=0.5), logits)
    torch.testing.assert_close(codes, torch.tensor([[0.0, 1.0, 0.0, 0.0, 0.0, 1.0]]))
    weights = torch.arange(6.0)
    (codes * weights).sum().backward()
    again = logits.detach().clone().requires_grad_()
    ((again.view(2, 3) / 0.5).softmax(dim=1).flatten() * weights).sum().backward()
    torch.testing.assert_close(logits.grad, again.grad)


def test_gumbel_draws_units_by_their_probabilities():
    torch.manual_seed(0)
    bits = bare(Bottleneck("binary", 3, estimator="gumbel"), torch.tensor([[-1.0, 0.0, 2.0]]).expand(20_000, 3))
    torch.testing.assert_close(bits.mean(dim=0), torch.sigmoid(torch.tensor([-1.0, 0.0, 2.0])), rtol=0, atol=0.02)
    logits = torch.tensor([[0.0, 1.0, 2.0]])
    choices = bare(Bottleneck("categorical", 1, levels=3, estimator="gumbel"), logits.expand(20_000, 3))
    torch.testing.assert_close(choices.mean(dim=0), logits[0].softmax(dim=0), rtol=0, atol=0.02)


def test_bits_are_balanced_over_a_batch():
    torch.manual_seed(0)
    layer = BottleneckLayer(Bottleneck("binary", 48), 20).train()
    codes = layer(torch.randn(400, 20) + 5)  # without normalisation most bits would be stuck
    assert codes.mean(dim=0).min() > 0.4
    assert codes.mean(dim=0).max() < 0.6


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ({"units": 0}, "units = 0 must be at least 1"),
        ({"kind": "categorical"}, "levels = None: a categorical unit needs at least 2"),
        ({"kind": "categorical", "levels": 1}, "levels = 1"),
        ({"kind": "binary", "levels": 2}, "binary units have none"),
        ({"kind": "binary", "temperature": 0.0}, "temperature = 0.0 must be above 0"),
        ({"estimator": "gumbel"}, "belong to discrete units"),
    ],
)
def test_impossible_bottlenecks_are_told(keys, fault):
    spec = Bottleneck(**keys)
    assert any(fault in found for found in spec.faults())
    with pytest.raises(CheckpointError, match=r"^backbone: "):
        build_backbone(dataclasses.replace(SPEC, bottleneck=spec))


def test_colour_has_no_bottleneck():
    assert any("nothing trains" in fault for fault in BackboneSpec(COLOUR, bottleneck=BINARY).faults())


def test_specs_without_a_bottleneck_keep_their_identity():
    assert "bottleneck" not in SPEC.named()
    assert dataclasses.replace(SPEC, bottleneck=BINARY).named()["bottleneck"]["units"] == 6


@pytest.mark.parametrize("bottleneck", [Bottleneck(units=5), BINARY, CATEGORICAL])
def test_weights_of_the_bottleneck_are_kept_with_the_network(tmp_path, bottleneck):
    spec = dataclasses.replace(SPEC, bottleneck=bottleneck, seed=3)
    saved = build_backbone(spec)
    images = torch.randn(8, 3, 16, 16)
    saved.train()(images)
    save_weights(saved, tmp_path / "a.safetensors")
    loaded = build_backbone(dataclasses.replace(spec, seed=4, weights=str(tmp_path / "a.safetensors")))
    assert loaded.d == bottleneck.d
    assert torch.equal(loaded.eval()(images), saved.eval()(images))


def test_a_file_and_a_backbone_agree_about_the_bottleneck(tmp_path):
    plain, squeezed = build_backbone(SPEC), build_backbone(dataclasses.replace(SPEC, bottleneck=BINARY))
    save_weights(plain, tmp_path / "plain.safetensors")
    save_weights(squeezed, tmp_path / "squeezed.safetensors")
    with pytest.raises(CheckpointError, match=r"bottleneck\.linear\.weight.*the network alone.*train it"):
        load_weights(squeezed, tmp_path / "plain.safetensors")
    with pytest.raises(CheckpointError, match=r"unexpected: bottleneck"):
        load_weights(plain, tmp_path / "squeezed.safetensors")
    before = squeezed.bottleneck.linear.weight.clone()
    load_weights(squeezed, tmp_path / "plain.safetensors", to_train=True)
    assert torch.equal(squeezed.bottleneck.linear.weight, before)
    assert torch.equal(squeezed.network.cls_token, plain.network.cls_token)
    wider = build_backbone(dataclasses.replace(SPEC, bottleneck=Bottleneck("binary", 7)))
    with pytest.raises(CheckpointError, match=r"bottleneck\.linear\.weight \(6, 12\) in the file, \(7, 12\)"):
        load_weights(wider, tmp_path / "squeezed.safetensors", to_train=True)


def test_bottleneck_s_first_weights_follow_the_seed():
    spec = dataclasses.replace(SPEC, bottleneck=BINARY)
    one, same, other = (build_backbone(dataclasses.replace(spec, seed=s)).bottleneck.linear.weight for s in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
