import math

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from ris_core.training.recipe import DinoRecipe
from ris_core.training.schedules import cosine, make_schedules


def test_cosine_by_hand():
    np.testing.assert_allclose(cosine(1.0, 0.0, 4), [1, 0.5 + 0.5 * math.sqrt(0.5), 0.5, 0.5 - 0.5 * math.sqrt(0.5)])


def test_cosine_rises_before_it_falls():
    values = cosine(0.6, 0.2, 7, warmup_steps=3)
    np.testing.assert_allclose(
        values, [0, 0.3, 0.6, 0.6, 0.2 + 0.4 * (2 + math.sqrt(2)) / 4, 0.4, 0.2 + 0.4 * (2 - math.sqrt(2)) / 4]
    )


def published_value(start: float, end: float, warmup: int, steps: int, step: int) -> float:
    """One step's value, in the words of the paper: linear from 0, then a half cosine from start to end."""
    if step < warmup:
        return start * step / (warmup - 1) if warmup > 1 else 0.0
    return end + (start - end) * math.cos(math.pi / 2 * (step - warmup) / (steps - warmup)) ** 2


@hypothesis.given(
    epochs=st.integers(1, 6),
    steps_an_epoch=st.integers(1, 7),
    warmup_epochs=st.integers(0, 5),
    warmup_teacher_epochs=st.integers(0, 6),
    batch=st.integers(2, 1024),
)
def test_schedules_equal_a_loop_over_steps(epochs, steps_an_epoch, warmup_epochs, warmup_teacher_epochs, batch):
    warmup_epochs, warmup_teacher_epochs = min(warmup_epochs, epochs - 1), min(warmup_teacher_epochs, epochs)
    recipe = DinoRecipe(
        epochs=epochs, batch=batch, warmup_epochs=warmup_epochs, base_lr=0.002, min_lr=1e-5, teacher_momentum=0.99,
        warmup_teacher_epochs=warmup_teacher_epochs, warmup_teacher_temp=0.02, teacher_temp=0.07,
    )  # fmt: skip
    schedules = make_schedules(recipe, steps_an_epoch)
    steps, warmup = epochs * steps_an_epoch, warmup_epochs * steps_an_epoch
    for values, start, end, rise in (
        (schedules.lr, 0.002 * batch / 256, 1e-5, warmup),
        (schedules.weight_decay, 0.04, 0.4, 0),
        (schedules.teacher_momentum, 0.99, 1.0, 0),
    ):
        np.testing.assert_allclose(values, [published_value(start, end, rise, steps, i) for i in range(steps)])
    for epoch, temperature in enumerate(schedules.teacher_temp):
        share = epoch / (warmup_teacher_epochs - 1) if warmup_teacher_epochs > 1 else 0.0
        expected = 0.02 + 0.05 * share if epoch < warmup_teacher_epochs else 0.07
        assert temperature == pytest.approx(expected)
    assert len(schedules.teacher_temp) == epochs


def test_schedules_follow_the_recipe():
    recipe = DinoRecipe(epochs=5, batch=128, warmup_epochs=2, warmup_teacher_epochs=3, warmup_teacher_temp=0.02)
    schedules = make_schedules(recipe, 10)
    assert schedules.lr.shape == schedules.weight_decay.shape == schedules.teacher_momentum.shape == (50,)
    assert schedules.lr[0] == 0
    assert schedules.lr.max() == schedules.lr[19] == pytest.approx(0.00025)
    assert recipe.min_lr < schedules.lr[-1] < 1e-5
    assert schedules.weight_decay[0] == pytest.approx(0.04)
    assert schedules.weight_decay[25] == pytest.approx(0.22)  # half-way
    assert schedules.teacher_momentum[0] == pytest.approx(0.996)
    assert (np.diff(schedules.teacher_momentum) > 0).all()
    assert schedules.teacher_momentum[-1] < 1
    np.testing.assert_allclose(schedules.teacher_temp, [0.02, 0.03, 0.04, 0.04, 0.04])
