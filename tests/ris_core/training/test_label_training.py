import dataclasses
import itertools
import json
import math

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch

from ris_core.backbone import BackboneSpec, build_backbone, save_weights
from ris_core.bottleneck import Bottleneck
from ris_core.errors import CheckpointError, CorpusError, SuiteError
from ris_core.features import extract_features
from ris_core.preprocess import prepare
from ris_core.records import Tiles
from ris_core.training import label_training
from ris_core.training.distributed import Ranks
from ris_core.training.label_recipe import LABEL_RECIPES, ClassifyRecipe, ContrastiveRecipe, LabelRecipe, TripletRecipe
from ris_core.training.label_training import draw_batches, make_views, refuse_label_training, train_with_labels
from ris_core.training.options import TrainOptions

CODES = Bottleneck("binary", 8, estimator="gumbel")
SPEC = BackboneSpec("test_resnet", {"channels": [8, 8, 8, 8], "stem_width": 8}, preprocess="native", bottleneck=CODES)
SHARED = {"epochs": 3, "batch": 8, "lr": 0.01, "window_scale": (0.8, 1.0)}
RECIPES = [
    ClassifyRecipe(**SHARED),
    ContrastiveRecipe(**SHARED),
    TripletRecipe(**SHARED, mining="batch_hard"),
]
LABELS = np.array(["water", "wood", "field", ""]).repeat(8)


def some_tiles(size_px: int = 16) -> Tiles:
    """Tiles whose colour is that of their label, with noise; the last eight have no label."""
    rng = np.random.default_rng(0)
    colours = np.array([[30, 30, 200], [20, 150, 20], [200, 180, 60], [90, 90, 90]]).repeat(8, axis=0)
    noise = rng.integers(-20, 20, (32, size_px, size_px, 3))
    pixels = (colours[:, None, None] + noise).clip(0, 255).astype(np.uint8)
    places = dict.fromkeys(("row", "col", "row_px", "col_px"), 0)
    return Tiles(pixels, pd.DataFrame({"id": np.arange(32), "raster": "a.tif", **places, "coverage_frac": 1.0}))


def weights_in(folder) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "model.safetensors")


def log_in(folder) -> list[dict]:
    """The log without what depends on the clock."""
    records = [json.loads(line) for line in (folder / "log.txt").read_text().splitlines()]
    return [{key: v for key, v in record.items() if key not in ("epoch_s", "images_per_s")} for record in records]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in other)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.method)
def test_features_of_a_trained_backbone_tell_labels(tmp_path, recipe):
    recipe = dataclasses.replace(recipe, epochs=10)
    spec = dataclasses.replace(SPEC, bottleneck=Bottleneck(units=4))
    path = train_with_labels(some_tiles(), LABELS, spec, recipe, tmp_path)
    features = extract_features(some_tiles()[:24], dataclasses.replace(spec, weights=str(path))).values
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    likeness = unit @ unit.T - 2 * np.eye(24)
    assert (LABELS[likeness.argmax(axis=1)] == LABELS[:24]).mean() >= 0.9
    log = log_in(tmp_path)
    assert log[-1]["train_loss"] < log[0]["train_loss"]
    assert [record["epoch"] for record in log] == list(range(10))
    assert {record["method"] for record in log} == {recipe.method}
    assert ("train_accuracy" in log[-1]) == (recipe.method == "classify")
    assert log[-1].get("train_accuracy", 1.0) >= 0.8


@pytest.mark.parametrize(
    ("recipe", "checkpoint_s", "call"),
    [(RECIPES[0], 1e-9, 5), (RECIPES[1], math.inf, 5), (RECIPES[2], math.inf, 4)],
    ids=["classify", "contrastive", "triplet"],
)
def test_resumed_training_ends_where_an_undisturbed_one_does(tmp_path, monkeypatch, recipe, checkpoint_s, call):
    """Three epochs of three steps, cut off in the second one: with and without a state within the epoch."""
    options = TrainOptions(checkpoint_s=checkpoint_s)
    train_with_labels(some_tiles(), LABELS, SPEC, recipe, tmp_path / "whole")
    real, calls = label_training.make_views, itertools.count(1)

    def interrupted(*arguments):
        if next(calls) == call:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(label_training, "make_views", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_with_labels(some_tiles(), LABELS, SPEC, recipe, tmp_path / "cut", options=options)
    assert (tmp_path / "cut" / "training.pt").exists()
    torch.manual_seed(99)  # the caller's generator plays no part
    train_with_labels(some_tiles(), LABELS, SPEC, recipe, tmp_path / "cut", options=options)
    assert same(weights_in(tmp_path / "cut"), weights_in(tmp_path / "whole"))
    assert log_in(tmp_path / "cut") == log_in(tmp_path / "whole")
    assert not (tmp_path / "cut" / "training.pt").exists()


def test_tiles_without_a_label_take_no_part(tmp_path):
    tiles = some_tiles()
    train_with_labels(tiles, LABELS, SPEC, RECIPES[0], tmp_path / "one")
    tiles.pixels[24:] = 0
    train_with_labels(tiles, LABELS, SPEC, RECIPES[0], tmp_path / "other")
    assert same(weights_in(tmp_path / "one"), weights_in(tmp_path / "other"))


def test_all_of_the_backbone_is_trained(tmp_path):
    spec = dataclasses.replace(SPEC, pool="gem", bottleneck=CODES)
    before = build_backbone(spec).state_dict()
    trained = build_backbone(
        dataclasses.replace(spec, weights=str(train_with_labels(some_tiles(32), LABELS, spec, RECIPES[0], tmp_path)))
    )
    parameters = dict(trained.named_parameters())
    assert {"pooling.p", "bottleneck.linear.weight"} <= parameters.keys()
    assert [name for name, weight in parameters.items() if torch.equal(weight, before[name])] == []


def test_training_starts_from_a_file_without_the_bottleneck(tmp_path):
    plain = dataclasses.replace(SPEC, bottleneck=None, seed=7)
    save_weights(build_backbone(plain), tmp_path / "start.safetensors")
    spec = dataclasses.replace(SPEC, weights=str(tmp_path / "start.safetensors"))
    recipe = dataclasses.replace(RECIPES[0], epochs=1, lr=1e-9, min_lr=0.0, warmup_epochs=0)
    train_with_labels(some_tiles(), LABELS, spec, recipe, tmp_path / "out")
    trained, started = weights_in(tmp_path / "out"), safetensors.torch.load_file(tmp_path / "start.safetensors")
    torch.testing.assert_close(trained["conv1.0.weight"], started["conv1.0.weight"], rtol=0, atol=1e-6)


def test_a_finished_training_is_left_as_it_is_and_another_one_refused(tmp_path):
    path = train_with_labels(some_tiles(), LABELS, SPEC, RECIPES[0], tmp_path)
    written = path.stat().st_mtime_ns
    train_with_labels(some_tiles(), LABELS, SPEC, RECIPES[0], tmp_path)
    assert path.stat().st_mtime_ns == written
    others = LABELS.copy()
    others[0] = "wood"
    with pytest.raises(CheckpointError, match="another training"):
        train_with_labels(some_tiles(), others, SPEC, RECIPES[0], tmp_path)
    with pytest.raises(CheckpointError, match="another training"):
        train_with_labels(some_tiles(), LABELS, SPEC, RECIPES[1], tmp_path)


def test_diverged_training_is_refused(tmp_path):
    recipe = dataclasses.replace(RECIPES[0], lr=1e30, warmup_epochs=0)
    with pytest.raises(CheckpointError, match=r"training diverged.*Lower lr"):
        train_with_labels(some_tiles(), LABELS, SPEC, recipe, tmp_path)
    assert not (tmp_path / "model.safetensors").exists()


def test_classifier_that_diverges_in_the_last_step_of_an_epoch_is_not_kept(tmp_path, monkeypatch):
    true, seen = label_training._Loop._train_step, []

    def spoil(loop, pixels, codes):
        parts = true(loop, pixels, codes)
        seen.append(1)
        if len(seen) == loop.steps:
            next(iter(loop.state.loss.parameters())).data.view(-1)[0] = np.nan
        return parts

    monkeypatch.setattr(label_training._Loop, "_train_step", spoil)
    with pytest.raises(CheckpointError, match=r"epoch 1, by step .*the norm of the weights nan"):
        train_with_labels(some_tiles(), LABELS, SPEC, RECIPES[0], tmp_path)
    assert not list(tmp_path.iterdir())


def test_probe_is_read_of_the_backbone_in_evaluation(tmp_path):
    modes = []
    options = TrainOptions(probe=lambda backbone: modes.append(backbone.training) or {"knn_20": 0.5}, probe_every=2)
    train_with_labels(some_tiles(), LABELS, SPEC, RECIPES[0], tmp_path, options=options)
    assert modes == [False, False]
    assert [record.get("knn_20") for record in log_in(tmp_path)] == [None, 0.5, 0.5]


@pytest.mark.parametrize(
    ("labels", "recipe", "options", "error", "match"),
    [
        (np.full(24, ""), RECIPES[0], {}, CorpusError, "0 tiles train, without labels"),
        (np.full(24, "wood"), RECIPES[0], {}, CorpusError, "24 tiles train, all of label 'wood'"),
        (LABELS[:16], ClassifyRecipe(batch=17), {}, CorpusError, "16 labelled tiles are fewer than one batch of 17"),
        (np.arange(40).astype(str), TripletRecipe(batch=4), {}, CorpusError, "0 paired tiles are fewer than"),
        (LABELS, ClassifyRecipe(epochs=0), {}, SuiteError, "epochs = 0; allowed: 1 or more"),
        (LABELS, RECIPES[0], {"probe_every": 0}, SuiteError, "probe_every = 0"),
        (LABELS, RECIPES[0], {"ranks": Ranks(0, 2)}, SuiteError, "one process, not 2"),
    ],
)
def test_impossible_trainings_are_refused_before_anything_is_built(labels, recipe, options, error, match):
    with pytest.raises(error, match=match):
        refuse_label_training(labels, SPEC, recipe, TrainOptions(**options))


@pytest.mark.parametrize(
    ("method", "keys", "fault"),
    [
        ("classify", {"batch": 1}, "batch = 1; allowed: 2 or more"),
        ("classify", {"lr": math.inf}, "lr = inf; allowed: above 0"),
        ("classify", {"min_lr": 1.0}, "min_lr = 1.0; allowed: 0 to lr = 0.003"),
        ("classify", {"warmup_epochs": 20}, "warmup_epochs = 20; allowed: 0 to below epochs"),
        ("classify", {"window_scale": (0.9, 0.5)}, "window_scale = [0.9, 0.5]"),
        ("classify", {"horizontal_flip": 1.5}, "horizontal_flip = 1.5; allowed: 0 to 1"),
        ("classify", {"label_smoothing": 1.0}, "label_smoothing = 1.0"),
        ("contrastive", {"batch": 7}, "batch = 7; allowed: 4 or more, even"),
        ("contrastive", {"negatives": 0}, "negatives = 0; allowed: 1 or more"),
        ("triplet", {"margin": 0.0}, "margin = 0.0; allowed: above 0"),
    ],
)
def test_impossible_recipes_are_told(method, keys, fault):
    found = LABEL_RECIPES[method](**keys).faults()
    assert len(found) == 1
    assert found[0].startswith(fault)
    assert LABEL_RECIPES[method]().faults() == []
    assert LABEL_RECIPES[method]().method == method


@hypothesis.given(st.lists(st.integers(0, 4), min_size=8, max_size=60), st.integers(0, 3))
@hypothesis.settings(max_examples=60, deadline=None)
def test_batches_are_pairs_of_one_label_and_take_no_tile_twice(codes, epoch):
    codes = np.array(codes)
    recipe = TripletRecipe(batch=4)
    batches = draw_batches(codes, recipe, epoch)
    usable = sum(count // 2 * 2 for count in np.unique(codes, return_counts=True)[1])
    assert batches.shape == (usable // 4, 4)
    assert len(np.unique(batches)) == batches.size
    pairs = codes[batches.reshape(-1, 2)]
    assert (pairs[:, 0] == pairs[:, 1]).all()
    assert np.array_equal(batches, draw_batches(codes, recipe, epoch))


def test_batches_of_classification_are_a_new_order_each_epoch():
    codes, recipe = np.arange(20) % 3, LabelRecipe(batch=5)
    first, second = (draw_batches(codes, recipe, epoch) for epoch in (0, 1))
    assert sorted(first.ravel()) == sorted(second.ravel()) == list(range(20))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, draw_batches(codes, LabelRecipe(batch=5, seed=1), 0))


@pytest.mark.parametrize(("preprocess", "side_px"), [("native", 40), ("resize224", 224), ("thesis", 224)])
def test_views_have_the_size_that_the_network_sees_later(preprocess, side_px):
    pixels = torch.from_numpy(some_tiles(40).pixels[:3])
    recipe = LabelRecipe(window_scale=(1.0, 1.0), horizontal_flip=0.0)
    views = make_views(pixels, recipe, preprocess, torch.Generator().manual_seed(0))
    assert views.shape == (3, 3, side_px, side_px)
    if preprocess == "native":  # the whole tile, as it is
        torch.testing.assert_close(views, prepare(pixels, preprocess), rtol=0, atol=1e-5)


def test_views_are_flipped_as_often_as_asked():
    pixels = torch.from_numpy(some_tiles().pixels[:1])
    recipe = LabelRecipe(window_scale=(1.0, 1.0), horizontal_flip=1.0, vertical_flip=1.0)
    view = make_views(pixels, recipe, "native", torch.Generator().manual_seed(0))
    torch.testing.assert_close(view, prepare(pixels, "native").flip(2, 3), rtol=0, atol=1e-5)
