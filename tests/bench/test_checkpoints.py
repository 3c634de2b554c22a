"""``python -m bench train`` over forty small pictures, by one process and by two."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.__main__ import main
from bench.checkpoints import CheckpointOrder, make_checkpoints
from bench.stages.flow import Cache, prepare_checkpoint, prepare_tiles
from bench.suites.suite_file import read_suite
from ris_core.backbone import build_backbone
from ris_core.errors import SuiteError

SUITE = """
[corpus]
source = "pictures"
tile_px = 16
train_frac = 0.5

[backbone.colour]
model = "colour"
preprocess = "native"

[backbone.one]
model = "vit_tiny_patch16_224"
arch = { img_size = 16, patch_size = 8, embed_dim = 16, depth = 1, num_heads = 2 }
preprocess = "native"

[backbone.one.train]
method = "dino"
epochs = 2
warmup_epochs = 0
batch = 8
global_px = 16
local_px = 8
local_crops = 1
out_dim = 16
hidden_dim = 16
bottleneck_dim = 8
drop_path = 0.0

[backbone.two]
like = "one"
train.seed = 1

[engine.exact]

[queries]
count = 10
k = 5

[judge]
per_label = 2
label_depth = 4
knn_every = 1
"""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a corpus and a suite."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for label, colour in (("field", (80, 140, 60)), ("water", (40, 60, 150))):
        (tmp_path / "pictures" / label).mkdir(parents=True)
        for i in range(20):
            pixels = np.clip(rng.normal(colour, 25, (16, 16, 3)), 1, 254).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / label / f"{i:02}.png")
    (tmp_path / "small.toml").write_text(SUITE, encoding="utf-8")
    return tmp_path


def logs(cache: Path) -> list[list[dict]]:
    """The records of each checkpoint's log, by backbone."""
    paths = sorted(cache.glob("checkpoint-*/recipe.json"), key=lambda p: json.loads(p.read_text())["recipe"]["seed"])
    return [[json.loads(line) for line in (path.parent / "log.txt").read_text().splitlines()] for path in paths]


def test_train_makes_what_a_run_reuses(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "small.toml", "--cache", "cache"]) == 0
    told = capsys.readouterr()
    paths = [Path(line) for line in told.out.splitlines()]
    assert [path.name for path in paths] == ["model.safetensors"] * 2
    assert "checkpoint two: 20 tiles, 2 epochs, final loss" in told.err
    suite, notes = read_suite(desk / "small.toml"), []
    cache = Cache(desk / "cache", notes.append)
    cut = prepare_tiles(cache, suite.corpus)
    for name, path in (("one", paths[0]), ("two", paths[1])):
        spec, _ = prepare_checkpoint(cache, suite.backbone(name), cut, suite.judge.knn_every)
        assert Path(spec.weights).samefile(path)
        build_backbone(spec)
    assert [note.reused for note in notes] == [True, True, True]
    assert all("knn_10" in record for log in logs(desk / "cache") for record in log)


def test_only_named_backbones_are_trained(desk: Path) -> None:
    (path,) = make_checkpoints(CheckpointOrder("small.toml", ("two",), cache=desk / "cache"))
    assert json.loads((path.parent / "recipe.json").read_text())["recipe"]["seed"] == 1
    assert len(list((desk / "cache").glob("checkpoint-*"))) == 1


def test_overrides_shape_the_training(desk: Path) -> None:
    order = CheckpointOrder("small.toml", ("one",), ("backbone.one.train.epochs=1",), desk / "cache")
    (path,) = make_checkpoints(order)
    assert len((path.parent / "log.txt").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["colour", "three"], "colour, three: no backbone that trains; known: one, two"),
        (["--device", "cuda:7"], "'cuda:7': PyTorch sees"),
        (["--device", "gpu"], "device = 'gpu' is unknown; known: auto, cpu, cuda"),
        (["--set", "backbone.two.train.batch=21"], "batch = 21"),
        (["--set", "backbone.two.train.global_px=24"], "16 px"),
        (["--set", "backbone.two.train.local_px=12"], "local_px = 12: vit_tiny_patch16_224 takes no crop of that size"),
    ],
)
def test_impossible_training_is_refused_before_any(
    desk: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert main(["train", "small.toml", *arguments, "--cache", "cache"]) == 2
    assert told in capsys.readouterr().err
    assert not list((desk / "cache").glob("checkpoint-*"))


def test_suite_without_training_is_refused(desk: Path) -> None:
    off = ("backbone.one.train=false", "backbone.two.train=false")
    with pytest.raises(SuiteError, match=r"none of its backbones trains"):
        make_checkpoints(CheckpointOrder("small.toml", overrides=off, cache=desk / "cache"))


def test_two_processes_make_the_checkpoints_of_one(desk: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, "-m", "bench", "train", "small.toml", "--cache", "pair", "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, cwd=desk, env=environment, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stderr
    assert len(ended.stdout.splitlines()) == 2
    assert ended.stderr.count("checkpoint one: 20 tiles") == 1
    make_checkpoints(CheckpointOrder("small.toml", cache=desk / "alone", device="cpu"))
    for pair, alone in zip(logs(desk / "pair"), logs(desk / "alone"), strict=True):
        for ours, theirs in zip(pair, alone, strict=True):
            assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-4)
            assert ours["knn_10"] == theirs["knn_10"]
