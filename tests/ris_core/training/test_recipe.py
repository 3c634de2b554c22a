import dataclasses
import math

import pytest

from ris_core.training.recipe import DinoRecipe


def test_recipe_defaults_are_the_published_ones_and_can_be_run():
    recipe = DinoRecipe()
    assert recipe.faults() == []
    published = {
        "epochs": 100,
        "global_px": 224,
        "local_px": 96,
        "local_crops": 8,
        "global_scale": (0.4, 1.0),
        "local_scale": (0.05, 0.4),
        "horizontal_flip": 0.5,
        "jitter": 0.8,
        "brightness": 0.4,
        "contrast": 0.4,
        "saturation": 0.2,
        "hue": 0.1,
        "grey": 0.2,
        "blur": (1.0, 0.1, 0.5),
        "solarise": 0.2,
        "out_dim": 65536,
        "norm_last_layer": True,
        "teacher_temp": 0.04,
        "student_temp": 0.1,
        "center_momentum": 0.9,
        "base_lr": 0.0005,
        "warmup_epochs": 10,
        "min_lr": 1e-6,
        "weight_decay": 0.04,
        "weight_decay_end": 0.4,
        "teacher_momentum": 0.996,
        "clip": 3.0,
        "freeze_last_layer_epochs": 1,
        "drop_path": 0.1,
    }
    assert {name: getattr(recipe, name) for name in published} == published


def test_peak_lr_scales_with_the_batch():
    assert DinoRecipe(batch=200).peak_lr == pytest.approx(0.0005 * 200 / 256)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"epochs": 3}, "warmup_epochs = 10"),
        ({"epochs": 0, "warmup_epochs": 0}, "epochs = 0"),
        ({"batch": 1}, "batch = 1"),
        ({"out_dim": 1}, "out_dim"),
        ({"local_crops": -1}, "local_crops"),
        ({"global_scale": (0.9, 0.4)}, "global_scale"),
        ({"local_scale": (0.0, 0.4)}, "local_scale"),
        ({"jitter": 1.5}, "jitter"),
        ({"hue": 0.7}, "hue"),
        ({"blur": (1.0, 0.1, 2.0)}, "blur"),
        ({"blur_sigma_px": (0.0, 1.0)}, "blur_sigma_px"),
        ({"brightness": -0.1}, "brightness"),
        ({"teacher_temp": 0.0}, "teacher_temp"),
        ({"base_lr": math.nan}, "base_lr"),
        ({"min_lr": 1.0}, "min_lr"),
        ({"teacher_momentum": 1.1}, "teacher_momentum"),
        ({"drop_path": 1.0}, "drop_path"),
        ({"clip": -1.0}, "clip"),
        ({"weight_decay": math.inf}, "weight_decay"),
        ({"warmup_teacher_epochs": 101}, "warmup_teacher_epochs"),
        ({"freeze_last_layer_epochs": 101}, "freeze_last_layer_epochs"),
        ({"seed": -1}, "seed"),
    ],
)
def test_recipe_names_an_impossible_value_and_what_is_allowed(change, named):
    faults = dataclasses.replace(DinoRecipe(), **change).faults()
    assert any(fault.startswith(named) and "allowed: " in fault for fault in faults), faults


def test_recipe_names_all_faults_at_once():
    faults = DinoRecipe(epochs=3, batch=0, hue=2.0, drop_path=-1.0, student_temp=0.0).faults()
    assert len(faults) >= 5
