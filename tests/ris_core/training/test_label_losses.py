import math

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch

from ris_core.training.label_losses import LabelLoss, contrastive_loss, triplet_loss
from ris_core.training.label_recipe import ClassifyRecipe, ContrastiveRecipe, TripletRecipe

BATCHES = st.integers(0, 2**16)


def unit(*degrees: float) -> torch.Tensor:
    """Unit vectors of the plane; those t degrees apart have distance 2 sin(t / 2)."""
    angles = torch.deg2rad(torch.tensor(degrees))
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def drawn(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Twelve unit vectors in pairs of one label, of three labels at most."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 3, 6).repeat(2)
    features = rng.standard_normal((12, 4))
    return torch.from_numpy(features / np.linalg.norm(features, axis=1, keepdims=True)), torch.from_numpy(codes)


def test_contrastive_loss_of_four_tiles_by_hand():
    features, codes = unit(0, 60, 90, 180), torch.tensor([0, 0, 1, 1])
    # Squared distances: 0-60 1; 0-90 2; 60-90 2 - sqrt 3; 0-180 4; 60-180 3; 90-180 2. Margin 1.
    near = (1 - math.sqrt(2 - math.sqrt(3))) ** 2 / 2  # of 60 and 90, each from the other
    expected = ((1 + 1 + 2 + 2) / 2 + 2 * near) / 4
    assert contrastive_loss(features, codes, margin=1.0, negatives=1).item() == pytest.approx(expected, rel=1e-5)
    assert contrastive_loss(features, codes, margin=1.0, negatives=9).item() == pytest.approx(expected, rel=1e-5)


def test_triplet_losses_of_four_tiles_by_hand():
    features, codes = unit(0, 60, 90, 180), torch.tensor([0, 0, 1, 1])
    r = math.sqrt(3)
    # Semi-hard: 0 takes 90 (2 > 1), 60 takes 180 (3 > 1), 180 takes 60 (3 > 2); 90 has none beyond 2: 0, its farthest.
    semi = [max(0, 1 - 2 + 1.5), max(0, 1 - 3 + 1.5), 2 - 2 + 1.5, max(0, 2 - 3 + 1.5)]
    assert triplet_loss(features, codes, 1.5, "semi_hard").item() == pytest.approx(sum(semi) / 4, rel=1e-5)
    hard = [max(0, 1 - 2 + 1.5), 1 - (2 - r) + 1.5, 2 - (2 - r) + 1.5, max(0, 2 - 3 + 1.5)]
    assert triplet_loss(features, codes, 1.5, "batch_hard").item() == pytest.approx(sum(hard) / 4, rel=1e-5)


@hypothesis.given(BATCHES)
@hypothesis.settings(max_examples=40, deadline=None)
def test_losses_are_those_of_plain_loops(seed):
    features, codes = drawn(seed)
    x, n = features.numpy(), len(codes)
    squared = ((x[:, None] - x[None]) ** 2).sum(axis=2)
    contrastive, semi, hard = [], [], []
    for a in range(n):
        others = sorted(squared[a, b] for b in range(n) if codes[b] != codes[a])
        same = [squared[a, b] for b in range(n) if b != a and codes[b] == codes[a]]
        lack = [max(0.0, 0.9 - math.sqrt(d)) ** 2 / 2 for d in others[:2]]
        contrastive.append(squared[a, a ^ 1] / 2 + sum(lack))
        if others:
            hard.append(max(0.0, max(same) - others[0] + 0.3))
            for d in same:
                farther = [other for other in others if other > d]
                semi.append(max(0.0, d - (farther[0] if farther else others[-1]) + 0.3))
    assert contrastive_loss(features, codes, 0.9, 2).item() == pytest.approx(np.mean(contrastive), abs=1e-9)
    for name, values in (("semi_hard", semi), ("batch_hard", hard)):
        expected = np.mean(values) if values else 0.0
        assert triplet_loss(features, codes, 0.3, name).item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("recipe", [ContrastiveRecipe(), TripletRecipe(), TripletRecipe(mining="batch_hard")])
def test_gradients_are_finite_where_tiles_are_equal_or_of_one_label(recipe):
    for codes in (torch.zeros(4, dtype=torch.int64), torch.tensor([0, 0, 1, 1])):
        features = torch.ones(4, 3, requires_grad=True)
        parts = LabelLoss(recipe, 3, 2)(features, codes)
        parts.loss.backward()
        assert torch.isfinite(parts.loss)
        assert torch.isfinite(features.grad).all()
        assert torch.isnan(parts.right)


def test_lengths_of_features_do_not_count_in_pairs():
    features, codes = drawn(1)
    lengths = torch.linspace(0.1, 9, len(codes)).unsqueeze(1)
    for recipe in (ContrastiveRecipe(), TripletRecipe()):
        loss = LabelLoss(recipe, 4, 3)
        assert loss(features * lengths, codes).loss.item() == pytest.approx(loss(features, codes).loss.item(), abs=1e-6)


def test_classifier_tells_labels_and_counts_the_right_ones():
    loss = LabelLoss(ClassifyRecipe(), 3, 3)
    with torch.no_grad():
        loss.classifier.weight.copy_(torch.eye(3))
        loss.classifier.bias.zero_()
    features = torch.tensor([[2.0, 0, 0], [0, 2.0, 0], [0, 0, 2.0], [2.0, 0, 0]])
    parts = loss(features, torch.tensor([0, 1, 2, 1]))
    other = math.log(math.exp(2) + 2)
    assert parts.right.item() == 3
    assert parts.loss.item() == pytest.approx((3 * (other - 2) + other) / 4)


def test_label_smoothing_spreads_the_target():
    plain, smooth = (LabelLoss(ClassifyRecipe(label_smoothing=share), 2, 2) for share in (0.0, 0.5))
    smooth.load_state_dict(plain.state_dict())
    features = torch.tensor([[3.0, -1.0]])
    logits = plain.classifier(features)
    expected = -(logits.log_softmax(dim=1) * torch.tensor([0.75, 0.25])).sum()
    assert smooth(features, torch.tensor([0])).loss.item() == pytest.approx(expected.item())
