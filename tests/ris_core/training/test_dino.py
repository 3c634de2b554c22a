import copy
import dataclasses
import math

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from ris_core.backbone import BackboneSpec
from ris_core.training.dino import (
    DinoHead,
    DinoLoss,
    DinoNetwork,
    clip_each,
    make_networks,
    parameter_groups,
    update_teacher,
)
from ris_core.training.recipe import DinoRecipe

RECIPE = DinoRecipe(out_dim=12, hidden_dim=20, bottleneck_dim=5)
SPEC = BackboneSpec(
    "vit_tiny_patch16_224",
    {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2},
    preprocess="native",
)


def numpy_loss(student: np.ndarray, teacher: np.ndarray, center: np.ndarray, temps: tuple[float, float]) -> float:
    """The paper's algorithm 1 generalised to crops: (v, b, K) and (2, b, K) logits, a loop over pairs and tiles."""
    losses = []
    for t in range(len(teacher)):
        for v in range(len(student)):
            if v == t:
                continue
            for i in range(student.shape[1]):
                target = special.softmax((teacher[t, i] - center) / temps[0])
                losses.append(-(target * special.log_softmax(student[v, i] / temps[1])).sum())
    return float(np.mean(losses))


def some_logits(crops: int, b: int, k: int = RECIPE.out_dim, seed: int = 0) -> torch.Tensor:
    return torch.randn(crops * b, k, generator=torch.Generator().manual_seed(seed)) / 3


@hypothesis.given(
    b=st.integers(1, 4),
    local_crops=st.integers(0, 5),
    temp=st.floats(0.03, 1),
    student_temp=st.floats(0.05, 1),
    seed=st.integers(0, 99),
)
@hypothesis.settings(max_examples=40, deadline=None)
def test_loss_equals_a_loop_over_pairs(b, local_crops, temp, student_temp, seed):
    loss = DinoLoss(dataclasses.replace(RECIPE, student_temp=student_temp))
    loss.center.copy_(some_logits(1, 1, seed=seed + 1)[0])
    student, teacher = some_logits(2 + local_crops, b, seed=seed), some_logits(2, b, seed=seed + 2)
    parts = loss(student, teacher, temp)
    expected = numpy_loss(
        student.view(-1, b, 12).double().numpy(),
        teacher.view(2, b, 12).double().numpy(),
        loss.center.double().numpy(),
        (temp, student_temp),
    )
    assert float(parts.loss) == pytest.approx(expected, rel=2e-5)


def test_loss_gradient_equals_that_of_a_loop_over_pairs():
    b, crops = 3, 5
    loss = DinoLoss(RECIPE)
    loss.center.copy_(some_logits(1, 1, seed=4)[0])
    teacher = some_logits(2, b, seed=1)
    student = some_logits(crops, b).requires_grad_()
    loss(student, teacher, 0.07).loss.backward()

    naive = student.detach().double().requires_grad_()
    targets = [torch.softmax((half.double() - loss.center) / 0.07, dim=1) for half in teacher.split(b)]
    pairs = [
        -(targets[t] * torch.log_softmax(naive[v * b : (v + 1) * b] / 0.1, dim=1)).sum(dim=1).mean()
        for t in range(2)
        for v in range(crops)
        if v != t
    ]
    torch.stack(pairs).mean().backward()
    torch.testing.assert_close(student.grad.double(), naive.grad, rtol=1e-4, atol=1e-7)


def test_loss_is_entropy_plus_divergence():
    b = 4
    loss = DinoLoss(RECIPE)
    student, teacher = some_logits(4, b), some_logits(2, b, seed=1)
    parts = loss(student, teacher, 0.1)
    targets = special.softmax(teacher.double().numpy() / 0.1, axis=1).reshape(2, b, -1)
    answers = special.softmax(student.double().numpy() / 0.1, axis=1).reshape(4, b, -1)
    entropy = np.mean([[stats.entropy(p) for p in half] for half in targets])
    kl = np.mean(
        [stats.entropy(targets[t, i], answers[v, i]) for t in range(2) for v in range(4) if v != t for i in range(b)]
    )
    assert float(parts.teacher_entropy) == pytest.approx(entropy, rel=1e-5)
    assert float(parts.kl) == pytest.approx(kl, rel=1e-4)
    assert float(parts.loss) == pytest.approx(entropy + kl, rel=1e-5)


def test_loss_of_uniform_outputs_is_ln_k():
    parts = DinoLoss(RECIPE)(torch.zeros(8, 12), torch.zeros(4, 12), 0.04)
    assert float(parts.loss) == pytest.approx(math.log(12), rel=1e-6)
    assert float(parts.kl) == pytest.approx(0, abs=1e-6)
    assert float(parts.dominance) == pytest.approx(1 / 12)


def test_dominance_tells_one_output_for_all_from_one_for_each():
    """In both cases the teacher is sure (entropy 0), but only the first is a collapse."""
    for outputs, dominance in (([5, 5, 5, 5], 1.0), ([5, 1, 2, 5], 0.5), ([0, 1, 2, 3], 0.25)):
        parts = DinoLoss(RECIPE)(torch.zeros(4, 12), 9 * torch.eye(12)[outputs], 0.04)
        assert float(parts.teacher_entropy) == pytest.approx(0, abs=1e-6)
        assert float(parts.dominance) == pytest.approx(dominance)


def test_loss_gives_the_teacher_no_gradient():
    teacher = some_logits(2, 2).requires_grad_()
    DinoLoss(RECIPE)(some_logits(3, 2).requires_grad_(), teacher, 0.04).loss.backward()
    assert teacher.grad is None


def test_center_is_a_moving_average_of_the_teacher():
    loss = DinoLoss(dataclasses.replace(RECIPE, center_momentum=0.8))
    first, second = some_logits(2, 3, seed=1), some_logits(2, 3, seed=2)
    loss.update_center(first)
    loss.update_center(second)
    expected = 0.8 * 0.2 * first.mean(dim=0) + 0.2 * second.mean(dim=0)
    torch.testing.assert_close(loss.center, expected)


@pytest.mark.parametrize("norm_last_layer", [True, False])
def test_head_equals_torch_s_weight_norm(norm_last_layer):
    torch.manual_seed(0)
    head = DinoHead(7, dataclasses.replace(RECIPE, norm_last_layer=norm_last_layer))
    if head.last_length is not None:
        nn.init.uniform_(head.last_length, 0.5, 2)
    linear = nn.Linear(RECIPE.bottleneck_dim, RECIPE.out_dim, bias=False)
    linear.weight.data = head.last_direction.data * 3  # only the direction counts
    reference = weight_norm(linear, dim=0)
    reference.parametrizations.weight.original0.data = torch.ones(12, 1) if norm_last_layer else head.last_length.data
    features = torch.randn(4, 7)
    hidden = features.double().numpy()
    layers = [layer for layer in head.layers if isinstance(layer, nn.Linear)]
    for i, layer in enumerate(layers):
        hidden = hidden @ layer.weight.detach().double().numpy().T + layer.bias.detach().double().numpy()
        if i < 2:
            hidden = hidden * stats.norm.cdf(hidden)  # GELU
    points = hidden / np.linalg.norm(hidden, axis=1, keepdims=True)
    torch.testing.assert_close(
        head(features), reference(torch.tensor(points, dtype=torch.float32)), rtol=1e-4, atol=1e-5
    )


def test_head_with_normalised_last_layer_returns_cosines():
    torch.manual_seed(0)
    assert DinoHead(7, RECIPE)(100 * torch.randn(50, 7)).abs().max() <= 1 + 1e-6
    assert DinoHead(7, RECIPE).last_length is None


def test_head_starts_as_published():
    torch.manual_seed(0)
    head = DinoHead(64, dataclasses.replace(RECIPE, hidden_dim=128))
    for layer in head.layers:
        if isinstance(layer, nn.Linear):
            assert layer.bias.abs().max() == 0
            assert 0.017 < layer.weight.std() < 0.023


def test_parameter_groups_spare_biases_and_vectors():
    torch.manual_seed(0)
    student, _ = make_networks(SPEC, dataclasses.replace(RECIPE, norm_last_layer=False))
    decaying, others = parameter_groups(student)
    assert "weight_decay" not in decaying
    assert others["weight_decay"] == 0
    assert min(p.ndim for p in decaying["params"]) >= 2
    names = {id(p): name for name, p in student.named_parameters()}
    spared = {names[id(p)] for p in others["params"]}
    assert spared == {name for name in names.values() if name.endswith(".bias") or ".norm" in name}
    assert max(p.ndim for p in others["params"]) == 1
    assert len(decaying["params"]) + len(others["params"]) == len(list(student.parameters()))


def test_clip_each_shortens_what_is_long_alone():
    long, short, none = (nn.Parameter(torch.zeros(3, 4)) for _ in range(3))
    long.grad, short.grad = torch.full((3, 4), 5.0), torch.full((3, 4), 0.1)
    clip_each([long, short, none], 2.0)
    assert float(long.grad.norm()) == pytest.approx(2, rel=1e-5)
    torch.testing.assert_close(short.grad, torch.full((3, 4), 0.1), rtol=1e-6, atol=0)
    assert none.grad is None


def test_teacher_is_a_moving_average_without_gradients():
    torch.manual_seed(0)
    student, teacher = make_networks(SPEC, RECIPE)
    for ours, theirs in zip(teacher.parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
        assert not ours.requires_grad
    before = [p.clone() for p in teacher.parameters()]
    with torch.no_grad():
        for p in student.parameters():
            p.add_(torch.randn_like(p))
    update_teacher(teacher, student, 0.9)
    for old, new, other in zip(before, teacher.parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(new, 0.9 * old + 0.1 * other)


def test_only_the_student_drops_paths():
    torch.manual_seed(0)
    student, teacher = (network.train() for network in make_networks(SPEC, dataclasses.replace(RECIPE, drop_path=0.5)))
    crops = [torch.randn(8, 3, 16, 16)]
    torch.testing.assert_close(teacher(crops), teacher(crops), rtol=0, atol=0)
    assert not torch.allclose(student(crops), student(crops))


def test_network_answers_crops_of_all_sizes_in_order():
    torch.manual_seed(0)
    _, teacher = make_networks(SPEC, RECIPE)
    whole, local = torch.randn(4, 3, 16, 16), torch.randn(6, 3, 8, 8)
    together = teacher([whole, local])
    torch.testing.assert_close(together[:4], teacher([whole]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together[7:8], teacher([local[3:4]]), rtol=1e-4, atol=1e-5)


def naive_logits(network: DinoNetwork, view: torch.Tensor) -> torch.Tensor:
    """The head on the backbone's features by plain formulas in float64; the backbone's weights are float64 already."""
    hidden = network.backbone(view.double())
    layers = [layer for layer in network.head.layers if isinstance(layer, nn.Linear)]
    for i, layer in enumerate(layers):
        hidden = hidden @ layer.weight.T + layer.bias
        if i < len(layers) - 1:
            hidden = hidden * torch.special.ndtr(hidden)  # GELU
    directions = network.head.last_direction
    return (hidden / hidden.norm(dim=1, keepdim=True)) @ (directions / directions.norm(dim=1, keepdim=True)).T


def test_networks_and_loss_equal_a_naive_loop_over_views_in_float64():
    """Loss and the gradient of every weight, one view at a time, and a pair of views at a time."""
    b, temp, student_temp = 3, 0.05, RECIPE.student_temp
    torch.manual_seed(0)
    student, teacher = make_networks(SPEC, dataclasses.replace(RECIPE, drop_path=0.0))
    with torch.no_grad():
        for weight in teacher.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    loss = DinoLoss(RECIPE)
    loss.center.normal_(std=0.1)
    whole, local = torch.randn(2 * b, 3, 16, 16), torch.randn(4 * b, 3, 8, 8)
    naive, naive_teacher = copy.deepcopy(student).double(), copy.deepcopy(teacher).double()
    parts = loss(student([whole, local]), teacher([whole]), temp)
    parts.loss.backward()

    views = [*whole.split(b), *local.split(b)]
    pairs = []
    for t in range(2):
        target = torch.softmax((naive_logits(naive_teacher, views[t]) - loss.center.double()) / temp, dim=1)
        for v, view in enumerate(views):
            if v != t:
                answer = naive_logits(naive, view) / student_temp
                pairs.append(-(target * torch.log(torch.softmax(answer, dim=1))).sum(dim=1).mean())
    expected = torch.stack(pairs).mean()
    expected.backward()
    assert float(parts.loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    for (name, weight), other in zip(student.named_parameters(), naive.parameters(), strict=True):
        assert weight.grad is not None, name
        torch.testing.assert_close(weight.grad.double(), other.grad, rtol=1e-3, atol=1e-6, msg=name)


def test_optimiser_follows_adamw_by_its_formula_and_spares_biases():
    """Three steps in NumPy, float64, with another rate and decay each."""
    torch.manual_seed(0)
    matrix, bias = nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(4))
    module = nn.Module()
    module.weight, module.bias = matrix, bias
    optimizer = torch.optim.AdamW(parameter_groups(module), lr=0.0, weight_decay=0.0)
    mirrors = [(p, p.detach().double().numpy().copy(), 0.0, 0.0, decays) for p, decays in ((matrix, 1), (bias, 0))]
    for step, (lr, decay) in enumerate([(0.1, 0.04), (0.05, 0.2), (0.02, 0.4)], start=1):
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.param_groups[0]["weight_decay"] = decay
        following = []
        for parameter, value, first, second, decays in mirrors:
            parameter.grad = torch.randn_like(parameter)
            gradient = parameter.grad.double().numpy()
            first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
            direction = (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
            following.append((parameter, value * (1 - lr * decay * decays) - lr * direction, first, second, decays))
        mirrors = following
        optimizer.step()
    for parameter, value, *_ in mirrors:
        np.testing.assert_allclose(parameter.detach().numpy(), value, rtol=1e-5, atol=1e-6)


def test_paths_are_dropped_more_often_the_deeper_they_are():
    spec = dataclasses.replace(SPEC, arch={**SPEC.arch, "depth": 5})
    student, teacher = make_networks(spec, dataclasses.replace(RECIPE, drop_path=0.2))
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in student.backbone.network.blocks]
    assert rates == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])
    assert all(isinstance(block.drop_path2, nn.Identity) for block in teacher.backbone.network.blocks)


@pytest.mark.parametrize(
    ("model", "parameters"),
    [("vit_tiny_patch16_224", 5.5), ("vit_small_patch16_224", 21.7), ("vit_base_patch16_224", 85.8)],
)
def test_published_sizes_have_the_published_heads(model, parameters):
    """Millions of parameters, as the papers of DeiT and DINO give them; the head's by hand."""
    with torch.device("meta"):
        student, _ = make_networks(BackboneSpec(model), DinoRecipe())
    assert student.backbone.parameters_count / 1e6 == pytest.approx(parameters, abs=0.05)
    d = student.backbone.d
    head = (d + 1) * 2048 + 2049 * 2048 + 2049 * 256 + 65536 * 256
    assert sum(p.numel() for p in student.head.parameters()) == head


@pytest.mark.parametrize(
    ("model", "patch_px"),
    [
        ("deit_tiny_distilled_patch16_224", 16),  # two class tokens
        ("deit3_small_patch16_224", 16),
        ("eva02_tiny_patch14_224", 14),  # rotary positions
        ("vit_small_patch14_reg4_dinov2", 14),  # registers
        ("vit_base_patch16_siglip_gap_224", 16),  # no class token
    ],
)
def test_transformers_of_other_families_learn_from_crops_of_two_sizes(model, patch_px):
    torch.manual_seed(0)
    arch = {"img_size": 2 * patch_px, "embed_dim": 24, "depth": 1, "num_heads": 3}
    student, teacher = make_networks(BackboneSpec(model, arch, preprocess="native"), RECIPE)
    whole, local = torch.randn(4, 3, 2 * patch_px, 2 * patch_px), torch.randn(6, 3, patch_px, patch_px)
    DinoLoss(RECIPE)(student([whole, local]), teacher([whole]), 0.04).loss.backward()
    gradients = [p.grad for p in student.backbone.network.blocks.parameters()]
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in gradients)
