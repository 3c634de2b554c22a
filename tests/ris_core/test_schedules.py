import math

import numpy as np
import pytest

from ris_core.recipe import DinoRecipe
from ris_core.schedules import cosine, make_schedules


def test_cosine_by_hand():
    np.testing.assert_allclose(cosine(1.0, 0.0, 4), [1, 0.5 + 0.5 * math.sqrt(0.5), 0.5, 0.5 - 0.5 * math.sqrt(0.5)])


def test_cosine_rises_before_it_falls():
    values = cosine(0.6, 0.2, 7, warmup_steps=3)
    np.testing.assert_allclose(
        values, [0, 0.3, 0.6, 0.6, 0.2 + 0.4 * (2 + math.sqrt(2)) / 4, 0.4, 0.2 + 0.4 * (2 - math.sqrt(2)) / 4]
    )


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
