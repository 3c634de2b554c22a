"""suites/thesis.toml says what the thesis did, whatever the defaults become."""

import tomllib
from pathlib import Path

import pytest

from bench.suites.suite import Suite
from bench.suites.suite_file import find_suite, read_suite
from bench.tables.published import MODELS
from ris_core.preprocess import PREPROCESSING, Preprocessing

SUITE = Path(__file__).parents[3] / "suites" / "thesis.toml"
SMALLER = ["corpus.source=scene", "corpus.sample=250", "engine.falconn.hash_bits=10", "queries.count=200"]
RECIPE = {
    "global_px": 224, "local_px": 96, "local_crops": 8, "global_scale": (0.4, 1.0), "local_scale": (0.05, 0.4),
    "horizontal_flip": 0.5, "vertical_flip": 0.0, "quarter_turns": False,
    "jitter": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1, "grey": 0.2,
    "blur": (1.0, 0.1, 0.5), "solarise": 0.2, "out_dim": 65536, "norm_last_layer": True,
    "teacher_temp": 0.04, "warmup_teacher_temp": 0.04, "student_temp": 0.1, "center_momentum": 0.9,
    "base_lr": 0.0005, "warmup_epochs": 10, "min_lr": 1e-6, "weight_decay": 0.04, "weight_decay_end": 0.4,
    "teacher_momentum": 0.996, "clip": 3.0, "freeze_last_layer_epochs": 1, "drop_path": 0.1,
}  # fmt: skip


@pytest.fixture(scope="module")
def suite() -> Suite:
    return read_suite(SUITE, SMALLER)


def test_four_models_are_trained_by_the_published_recipe(suite: Suite) -> None:
    assert [entry.name for entry in suite.backbones] == list(MODELS)
    trained = {entry.name: (entry.recipe.epochs, entry.recipe.batch) for entry in suite.backbones if entry.recipe}
    assert trained == {
        "tiny": (100, 200), "tiny_longer": (150, 200), "small": (100, 125), "small_pretrained": (100, 125),
    }  # fmt: skip
    for entry in suite.backbones:
        assert {name: getattr(entry.recipe, name) for name in RECIPE} == RECIPE


def test_networks_and_what_they_read_are_the_published_ones(suite: Suite) -> None:
    specs = {entry.name: (entry.spec.model, entry.spec.weights) for entry in suite.backbones}
    assert specs == {
        "tiny": ("vit_tiny_patch16_224", "random"),
        "tiny_longer": ("vit_tiny_patch16_224", "random"),
        "small": ("vit_small_patch16_224", "random"),
        "small_pretrained": ("vit_small_patch16_224.dino", "pretrained"),
    }
    assert {(entry.spec.preprocess, entry.spec.pool) for entry in suite.backbones} == {("thesis", "cls")}
    assert PREPROCESSING["thesis"] == Preprocessing(resize_px=256, crop_px=224)


def test_index_is_the_published_one_asked_both_ways(suite: Suite) -> None:
    grids = {grid.kind: grid for grid in suite.engines}
    (build,), (query,) = grids["falconn"].builds, grids["falconn"].queries
    own = {name: build.as_dict()[name] for name in ("family", "tables", "rotations", "storage", "distance")}
    assert own == {
        "family": "cross_polytope", "tables": 10, "rotations": 2, "storage": "bit_packed",
        "distance": "euclidean_squared",
    }  # fmt: skip
    assert query.as_dict()["probes_per_table"] == 20
    assert tomllib.loads(SUITE.read_text())["engine"]["falconn"]["hash_bits"] == 20
    assert (suite.space.center, suite.space.normalize, suite.space.whiten) == (True, True, None)
    assert suite.queries.space == ("corrected", "as_published")
    assert suite.queries.k == 100
    assert "exact" in grids


def test_corpus_and_queries_are_the_published_ones(suite: Suite) -> None:
    corpus = tomllib.loads(SUITE.read_text())["corpus"]
    assert (corpus["sample"], suite.corpus.tile_px, suite.corpus.min_coverage) == (400_000, 512, 0.9)
    assert suite.corpus.tile_spec().output_px == 512
    judge = suite.judge
    assert (judge.easy, judge.medium, judge.hard) == (10, 20, 10)
    assert (judge.easy_depth, judge.medium_depth, judge.hard_depth) == (100, 50, 20)


def test_suite_is_found_by_name() -> None:
    assert find_suite("thesis").read_text() == SUITE.read_text()
