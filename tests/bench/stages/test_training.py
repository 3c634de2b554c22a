"""Backbones of a suite that train with labels: read, refused, trained, and told of in tables and figures."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import safetensors.torch
from PIL import Image

from bench.figures.losses import draw_losses
from bench.figures.training import draw_curves
from bench.finished.finished_run import spec_of
from bench.results import StageNote
from bench.running.progress import plan_lines
from bench.stages.base import Cut
from bench.stages.flow import Cache, prepare_checkpoint, prepare_tiles
from bench.stages.training import label_faults, refuse_backbone, train_backbone
from bench.suites.cells import PaceCell, expand_cells
from bench.suites.suite import BackboneEntry, CorpusSpec
from bench.suites.suite_file import read_suite
from bench.tables.table import read_table, write_table
from bench.tables.training_table import loss_table, losses_page, model_table
from ris_core.backbone import BackboneSpec
from ris_core.bottleneck import Bottleneck
from ris_core.errors import CorpusError, SuiteError
from ris_core.training.label_recipe import ClassifyRecipe, ContrastiveRecipe, TripletRecipe
from ris_core.training.recipe import DinoRecipe

SUITE = """
[corpus]
source = "images"
tile_px = 16
train_frac = 0.5

[backbone.codes]
model = "test_resnet"
arch = { channels = [8, 8, 8, 8], stem_width = 8 }
preprocess = "native"
bottleneck = { kind = "binary", units = 12 }
space = { center = false, normalize = false }
train = { method = "classify", epochs = 2, batch = 4, lr = 0.01 }

[engine.exact]

[queries]
count = 4
k = 3

[judge]
per_label = 2
label_depth = 2

[measure]
processes = 1
rounds = 1
modes = ["single"]
"""
SPEC = BackboneSpec("test_resnet", {"channels": [8, 8, 8, 8], "stem_width": 8}, preprocess="native")
RECIPE = ClassifyRecipe(epochs=1, batch=4, warmup_epochs=0)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two classes, told by their colour, of twelve images each."""
    rng = np.random.default_rng(0)
    for name, colour in (("water", (20, 40, 200)), ("wood", (20, 150, 30))):
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        for i in range(12):
            pixels = np.clip(np.array(colour) + rng.integers(-20, 20, (16, 16, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    return tmp_path / "images"


def write(folder: Path, *changes: tuple[str, str]) -> Path:
    text = SUITE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "small.toml"
    path.write_text(text, encoding="utf-8")
    return path


def faults_of(path: Path, *overrides: str) -> str:
    with pytest.raises(SuiteError) as caught:
        read_suite(path, overrides)
    return str(caught.value)


def cut_of(images: Path, **keys: object) -> Cut:
    cache = Cache(images.parent / "cache", lambda note: None)
    return prepare_tiles(cache, CorpusSpec(source=str(images), tile_px=16, **keys))


def test_method_says_which_keys_a_table_train_has(images: Path) -> None:
    train = 'train = { method = "classify", epochs = 2, batch = 4, lr = 0.01 }'
    for table, recipe in (
        ('{ method = "classify", batch = 4, label_smoothing = 0.1 }', ClassifyRecipe(batch=4, label_smoothing=0.1)),
        ('{ method = "contrastive", batch = 4, negatives = 2 }', ContrastiveRecipe(batch=4, negatives=2)),
        ('{ method = "triplet", batch = 4, mining = "batch_hard" }', TripletRecipe(batch=4, mining="batch_hard")),
        ('{ method = "dino", batch = 4, global_px = 16, local_crops = 0 }',
         DinoRecipe(batch=4, global_px=16, local_crops=0)),
    ):  # fmt: skip
        path = write(images.parent, (train, f"train = {table}"))
        assert [entry.recipe for entry in read_suite(path).backbones] == [recipe]
    told = faults_of(write(images.parent, (train, 'train = { method = "triplet", negatives = 3 }')))
    assert "train has unknown key 'negatives'" in told
    assert "mining" in told
    assert "label_smoothing" not in told
    told = faults_of(write(images.parent, (train, 'train = { method = "siamese" }')))
    assert "it must be one of 'dino', 'classify', 'contrastive', 'triplet'" in told
    told = faults_of(write(images.parent, (train, 'train = { method = ["classify", "triplet"] }')))
    assert "it must be one of 'dino'" in told
    told = faults_of(write(images.parent, (train, 'train = { method = "classify", batch = 13 }')))
    assert "train batch = 13, but only 12 tiles train" in told


def test_lists_make_variants_and_a_bottleneck_is_read(images: Path) -> None:
    path = write(images.parent, ("epochs = 2", "epochs = 2, seed = [0, 1]"))
    suite = read_suite(path, ["backbone.codes.bottleneck.estimator=gumbel"])
    assert [entry.name for entry in suite.backbones] == ["codes-seed0", "codes-seed1"]
    assert {entry.spec.bottleneck for entry in suite.backbones} == {Bottleneck("binary", 12, estimator="gumbel")}
    assert suite.to_json()["backbones"][0]["spec"]["bottleneck"]["units"] == 12
    assert "(classify, 2 epochs)" in "\n".join(plan_lines(suite, [], Path(), Path()))
    told = faults_of(path, "backbone.codes.bottleneck.levels=3", "backbone.codes.bottleneck.unit=3")
    assert "binary units have none" in told
    assert "bottleneck has unknown key 'unit'" in told


def test_rasters_without_labels_are_refused_when_the_suite_is_read(images: Path) -> None:
    source, shape = images.parent / "a.tif", {"count": 3, "height": 64, "width": 64, "dtype": "uint8"}
    with rasterio.open(source, "w", driver="GTiff", transform=rasterio.Affine(1, 0, 9, 0, -1, 9), **shape) as raster:
        raster.write(np.full((3, 64, 64), 9, np.uint8))
    told = faults_of(write(images.parent), f"corpus.source={source}")
    assert "[backbone.codes] train: the tiles have no labels to train with. Name a CSV of labels" in told


def test_queries_whose_labels_would_be_learnt_are_refused(images: Path) -> None:
    entry = BackboneEntry("codes", SPEC, RECIPE)
    with pytest.raises(CorpusError, match="every query would be a tile whose label was learnt"):
        refuse_backbone(entry, cut_of(images))
    refuse_backbone(entry, cut_of(images, train_frac=0.5))
    refuse_backbone(dataclasses.replace(entry, recipe=DinoRecipe(batch=4, global_px=16, local_crops=0)), cut_of(images))


def test_one_label_is_refused_before_anything_is_trained(images: Path) -> None:
    (images.parent / "alike").mkdir()
    (images / "water").rename(images.parent / "alike" / "all")
    suite = read_suite(write(images.parent, ('"images"', '"alike"')))
    (fault,) = label_faults(suite, cut_of(images.parent / "alike", train_frac=0.5))
    assert fault.startswith(f"{suite.path}: [backbone.codes] train: 6 tiles train, all of label 'all'")


def test_labels_of_searched_tiles_are_not_seen_in_training(images: Path, tmp_path: Path) -> None:
    cut, entry = cut_of(images, train_frac=0.5), BackboneEntry("codes", SPEC, RECIPE)
    train_backbone(entry, cut, tmp_path / "one")
    table = cut.tiles.table.copy()
    table.loc[cut.base_rows, "label"] = "unheard of"
    others = dataclasses.replace(cut, tiles=dataclasses.replace(cut.tiles, table=table))
    train_backbone(entry, others, tmp_path / "other")
    one, other = (safetensors.torch.load_file(tmp_path / name / "model.safetensors") for name in ("one", "other"))
    assert all((one[name] == other[name]).all() for name in one)
    table.loc[cut.train_rows[0], "label"] = "unheard of"
    with pytest.raises(Exception, match="another training"):
        train_backbone(entry, others, tmp_path / "one")


def test_checkpoint_follows_method_and_bottleneck(images: Path) -> None:
    notes: list[StageNote] = []
    cache, cut = Cache(images.parent / "cache", notes.append), cut_of(images, train_frac=0.5)
    entry = BackboneEntry("codes", SPEC, RECIPE)
    squeezed = dataclasses.replace(SPEC, bottleneck=Bottleneck("binary", 4))
    for changed in (entry, dataclasses.replace(entry, spec=squeezed), dataclasses.replace(entry, recipe=TripletRecipe(
        epochs=1, batch=4, warmup_epochs=0))):  # fmt: skip
        spec, _ = prepare_checkpoint(cache, changed, cut, knn_every=1)
        log = json.loads((Path(spec.weights).parent / "log.txt").read_text().splitlines()[0])
        assert log["method"] == changed.recipe.method
        assert 0 <= log["knn_20"] <= 1
    assert [note.reused for note in notes] == [False] * 3
    prepare_checkpoint(cache, entry, cut, knn_every=1)
    assert notes[-1].reused


def test_throughput_times_dino_alone(images: Path) -> None:
    path = write(images.parent, ("[engine.exact]", "[engine.exact]\n[throughput]\ntiles = 4\nbatch = 4"))
    assert "no backbone is trained by method = 'dino'" in faults_of(path)
    suite = read_suite(path, ['throughput.stages=["extract"]'])
    assert {cell.stage for cell in expand_cells(suite) if isinstance(cell, PaceCell)} == {"extract"}


def test_tables_and_figures_tell_of_labels(images: Path, tmp_path: Path) -> None:
    cache, cut = Cache(images.parent / "cache", lambda note: None), cut_of(images, train_frac=0.5)
    logs, notes = {}, {}
    for recipe in (RECIPE, TripletRecipe(epochs=1, batch=4, warmup_epochs=0)):
        spec, _ = prepare_checkpoint(cache, BackboneEntry(recipe.method, SPEC, recipe), cut, knn_every=1)
        logs[recipe.method] = Path(spec.weights).parent / "log.txt"
        notes[recipe.method] = {"weights": f"{recipe.method} from random", "knn_20": 0.5}
    write_table(loss_table(logs), tmp_path, "losses")
    write_table(model_table(notes, logs), tmp_path, "models")
    losses = read_table(tmp_path / "losses.csv").set_index("backbone")
    assert 0 <= losses.loc["classify", "accuracy"] <= 1
    assert np.isnan(losses.loc["triplet", "accuracy"])
    assert losses[["published_tiny", "teacher_entropy", "mfu"]].isna().all(axis=None)
    assert list(losses_page(losses.reset_index())) == ["epoch", "classify", "triplet"]
    curves, last = draw_curves(tmp_path), draw_losses(tmp_path)
    assert [ax.get_ylabel() for ax in curves.axes] == ["loss", "accuracy on\ntraining tiles", "k-NN accuracy,\nk = 20"]
    words = [" ".join(text.get_text() for text in figure.texts) for figure in (curves, last)]
    assert "collapse" not in words[0]
    assert "Training (classify, triplet)" in words[1]
    assert last.axes[0].get_ylabel() == "loss"


def test_run_notes_the_bottleneck(images: Path) -> None:
    suite = read_suite(write(images.parent))
    assert spec_of(json.loads(json.dumps(suite.to_json()))["backbones"][0]) == suite.backbones[0].spec
