import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch

from ris_core.backbone import BackboneSpec, build_backbone
from ris_core.errors import CheckpointError, CorpusError, SuiteError
from ris_core.records import Tiles
from ris_core.training import dino_training as train
from ris_core.training import loop as training_loop
from ris_core.training.dino_training import TrainOptions, train_dino
from ris_core.training.distributed import Ranks
from ris_core.training.loop import TrainingLoop
from ris_core.training.recipe import DinoRecipe

SPEC = BackboneSpec(
    "vit_tiny_patch16_224",
    {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2},
    preprocess="native",
)
RECIPE = DinoRecipe(
    epochs=3, batch=4, global_px=16, local_px=8, local_crops=2, out_dim=16, hidden_dim=24, bottleneck_dim=8,
    base_lr=0.02, warmup_epochs=1,
)  # fmt: skip


def some_tiles(n: int = 14, size_px: int = 20) -> Tiles:
    pixels = np.random.default_rng(0).integers(0, 256, (n, size_px, size_px, 3), dtype=np.uint8)
    return Tiles(pixels, pd.DataFrame({"id": np.arange(n)}))


def curve(out) -> list[dict]:
    clocks = ("images_per_s", "epoch_s", "mfu", "probe_s")
    records = [json.loads(line) for line in (out / "log.txt").read_text().splitlines()]
    return [{key: value for key, value in record.items() if key not in clocks} for record in records]


def interrupt_at(monkeypatch, call: int) -> None:
    """Press Ctrl-C at the beginning of that step, counted from 1."""
    real, calls = TrainingLoop.train_step, []

    def step(self, pixels):
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return real(self, pixels)

    monkeypatch.setattr(TrainingLoop, "train_step", step)


def test_training_leaves_weights_log_and_recipe(tmp_path):
    path = train_dino(some_tiles(), SPEC, RECIPE, tmp_path / "out")
    assert sorted(p.name for p in path.parent.iterdir()) == ["log.txt", "model.safetensors", "recipe.json"]
    assert len(curve(path.parent)) == 3
    made = json.loads((path.parent / "recipe.json").read_text())
    assert made["recipe"]["base_lr"] == 0.02
    assert made["backbone"]["model"] == SPEC.model


def test_weights_are_the_teacher_s_and_load_strictly(tmp_path, monkeypatch):
    states = []
    real = TrainingLoop.run
    monkeypatch.setattr(TrainingLoop, "run", lambda self: (real(self), states.append(self.state)))
    path = train_dino(some_tiles(), SPEC, RECIPE, tmp_path)
    trained = build_backbone(dataclasses.replace(SPEC, weights=str(path))).eval()
    images = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(trained(images), states[0].teacher.backbone.eval()(images), rtol=0, atol=0)
    assert not torch.allclose(trained(images), states[0].student.backbone.eval()(images))
    assert not torch.allclose(trained(images), build_backbone(SPEC).eval()(images))
    assert all("head" not in name for name in safetensors.torch.load_file(path))


@pytest.mark.parametrize(
    ("checkpoint_s", "call", "steps_left"), [(math.inf, 4, 6), (math.inf, 6, 6), (1e-9, 6, 4), (math.inf, 2, 9)]
)
def test_resumed_training_draws_the_same_curve(tmp_path, monkeypatch, checkpoint_s, call, steps_left):
    """Three epochs of three steps; cut off in the second at its first and last step, and in the first."""
    train_dino(some_tiles(), SPEC, RECIPE, tmp_path / "whole")
    options = TrainOptions(checkpoint_s=checkpoint_s)
    with monkeypatch.context() as patch:
        interrupt_at(patch, call)
        with pytest.raises(KeyboardInterrupt):
            train_dino(some_tiles(), SPEC, RECIPE, tmp_path / "cut", options=options)
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    calls = []
    real = TrainingLoop.train_step
    monkeypatch.setattr(TrainingLoop, "train_step", lambda self, pixels: (calls.append(1), real(self, pixels))[1])
    torch.manual_seed(99)  # the caller's generator plays no part
    train_dino(some_tiles(), SPEC, RECIPE, tmp_path / "cut", options=options)
    assert len(calls) == steps_left
    assert curve(tmp_path / "cut") == curve(tmp_path / "whole")
    weights = [safetensors.torch.load_file(tmp_path / name / "model.safetensors") for name in ("cut", "whole")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])


def test_training_leaves_the_caller_s_generator_and_threads_alone(tmp_path):
    torch.manual_seed(5)
    expected, threads = torch.rand(3), torch.get_num_threads()
    torch.manual_seed(5)
    train_dino(some_tiles(), SPEC, RECIPE, tmp_path, options=TrainOptions(threads=1))
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads


def test_training_reads_memory_mapped_tiles(tmp_path):
    tiles = some_tiles()
    tiles.save(tmp_path)
    train_dino(Tiles.open(tmp_path), SPEC, RECIPE, tmp_path / "mapped")
    train_dino(tiles, SPEC, RECIPE, tmp_path / "memory")
    assert curve(tmp_path / "mapped") == curve(tmp_path / "memory")


def test_seed_changes_the_curve(tmp_path):
    train_dino(some_tiles(), SPEC, RECIPE, tmp_path / "one")
    train_dino(some_tiles(), SPEC, dataclasses.replace(RECIPE, seed=1), tmp_path / "two")
    assert curve(tmp_path / "one") != curve(tmp_path / "two")


def test_finished_training_is_not_done_again(tmp_path, monkeypatch):
    path = train_dino(some_tiles(), SPEC, RECIPE, tmp_path)
    before = path.stat().st_mtime_ns
    monkeypatch.setattr(TrainingLoop, "run", None)
    assert train_dino(some_tiles(), SPEC, RECIPE, tmp_path) == path
    assert path.stat().st_mtime_ns == before


def test_folder_of_another_training_is_refused(tmp_path):
    train_dino(some_tiles(), SPEC, RECIPE, tmp_path)
    with pytest.raises(CheckpointError, match="result of another training"):
        train_dino(some_tiles(), SPEC, dataclasses.replace(RECIPE, seed=1), tmp_path)


def test_diverged_training_stops_and_keeps_the_last_good_state(tmp_path, monkeypatch):
    train_dino(some_tiles(), SPEC, RECIPE, tmp_path / "whole")
    real, calls = training_loop.make_crops, []

    def crops(*arguments):
        calls.append(1)
        whole, local = real(*arguments)
        return (whole * math.nan if len(calls) == 5 else whole), local

    with monkeypatch.context() as patch:
        patch.setattr(training_loop, "make_crops", crops)
        with pytest.raises(
            CheckpointError,
            match=r"in epoch 2, by step \d of 3, the loss is nan.*state is kept in training\.pt",
        ):
            train_dino(some_tiles(), SPEC, RECIPE, tmp_path / "cut", options=TrainOptions(checkpoint_s=1e-9))
    train_dino(some_tiles(), SPEC, RECIPE, tmp_path / "cut")
    assert curve(tmp_path / "cut") == curve(tmp_path / "whole")


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    MemoryError("Unable to allocate 9.00 GiB"),
]


def fill_memory(monkeypatch, error: Exception, largest: int, first_step: int = 0) -> list[int]:
    """From that step on, let memory hold no batch above ``largest``; the batches that were tried."""
    real, tried = TrainingLoop.train_step, []

    def step(self, pixels):
        tried.append(len(pixels))
        if len(pixels) > largest and self.state.step >= first_step:
            raise error
        return real(self, pixels)

    monkeypatch.setattr(TrainingLoop, "train_step", step)
    return tried


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_out_of_memory_names_the_largest_half_that_fits(tmp_path, monkeypatch, error):
    recipe = dataclasses.replace(RECIPE, batch=12, base_lr=0.128)
    tried = fill_memory(monkeypatch, error, largest=3, first_step=1)
    with pytest.raises(
        SuiteError, match=r"batch = 12 does not fit into the memory of cpu.*Set batch = 3, .*from 0\.006 to 0\.0015\.$"
    ):
        train_dino(some_tiles(25), SPEC, recipe, tmp_path)
    assert tried == [12, 12, 6, 6, 3, 3]
    assert [path.name for path in tmp_path.iterdir()] == []


def test_out_of_memory_of_one_process_tries_its_share_of_the_batch(tmp_path, monkeypatch):
    options = TrainOptions(ranks=Ranks(rank=0, size=2))
    recipe = dataclasses.replace(RECIPE, batch=8)
    training = train._Training(some_tiles(), np.arange(14), SPEC, recipe, tmp_path, options)
    tried = fill_memory(monkeypatch, MemoryError(), largest=2)
    assert training.remedy().startswith("Set batch = 4,")
    assert tried == [2, 2]


def test_out_of_memory_at_every_batch_says_so(tmp_path, monkeypatch):
    fill_memory(monkeypatch, MemoryError(), largest=0)
    with pytest.raises(SuiteError, match=r"batch = 4 does not fit.*No smaller batch fits either"):
        train_dino(some_tiles(), SPEC, RECIPE, tmp_path)


def test_other_errors_of_a_step_are_not_taken_for_a_lack_of_memory(tmp_path, monkeypatch):
    fill_memory(monkeypatch, RuntimeError("mat1 and mat2 shapes cannot be multiplied"), largest=0)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        train_dino(some_tiles(), SPEC, RECIPE, tmp_path)


def test_training_on_some_rows_is_training_on_those_tiles(tmp_path):
    rows = np.array([1, 3, 4, 5, 7, 8, 9, 12, 13])
    train_dino(some_tiles(), SPEC, RECIPE, tmp_path / "rows", rows=rows)
    train_dino(some_tiles()[rows], SPEC, RECIPE, tmp_path / "tiles")
    assert curve(tmp_path / "rows") == curve(tmp_path / "tiles")
    with pytest.raises(CorpusError, match="3 tiles are fewer than one batch of 4"):
        train_dino(some_tiles(), SPEC, RECIPE, tmp_path / "few", rows=rows[:3])


@pytest.mark.parametrize(("probe_every", "probed"), [(1, [0, 1, 2]), (2, [1, 2]), (5, [2])])
def test_probe_sees_the_teacher_and_fills_the_log(tmp_path, probe_every, probed):
    seen = []

    def probe(backbone):
        assert not backbone.training
        images = torch.ones(1, 3, 16, 16)
        with torch.no_grad():
            seen.append(backbone(images))
        torch.rand(3)  # draws of its own play no part in the training
        return {"knn_10": np.float32(len(seen))}

    options = TrainOptions(probe=probe, probe_every=probe_every)
    path = train_dino(some_tiles(), SPEC, RECIPE, tmp_path / "probed", options=options)
    records = [json.loads(line) for line in (path.parent / "log.txt").read_text().splitlines()]
    assert [record["epoch"] for record in records if "knn_10" in record] == probed
    assert [record["knn_10"] for record in records if "knn_10" in record] == list(range(1, len(probed) + 1))
    assert all(record["probe_s"] > 0 for record in records if "knn_10" in record)
    last = build_backbone(dataclasses.replace(SPEC, weights=str(path))).eval()
    assert torch.equal(seen[-1], last(torch.ones(1, 3, 16, 16)))
    train_dino(some_tiles(), SPEC, RECIPE, tmp_path / "alone")
    alone = curve(tmp_path / "alone")
    assert [{name: r[name] for name in alone[0]} for r in curve(tmp_path / "probed")] == alone


def test_compiling_is_for_gpus_unless_asked_for(tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compiled.append(type(module).__name__))
    train_dino(some_tiles(), SPEC, RECIPE, tmp_path / "auto")
    assert compiled == []
    assert TrainOptions().compiles_on(torch.device("cuda"))
    assert not TrainOptions(compile="off").compiles_on(torch.device("cuda"))
    train_dino(some_tiles(), SPEC, RECIPE, tmp_path / "on", options=TrainOptions(compile="on"))
    assert sorted(compiled) == ["DinoLoss", "DinoNetwork", "DinoNetwork"]
    assert curve(tmp_path / "on") == curve(tmp_path / "auto")


def test_impossible_options_are_told_together():
    faults = TrainOptions(compile="yes", checkpoint_s=0, probe_every=0, threads=0).faults()
    assert len(faults) == 4
    assert "compile = 'yes' is unknown; known: auto, on, off." in faults


@pytest.mark.parametrize(
    ("tiles", "spec", "changes", "error", "message"),
    [
        (some_tiles(3), SPEC, {}, CorpusError, r"3 tiles are fewer than one batch of 4\. Set batch = 3"),
        (
            some_tiles(size_px=12),
            SPEC,
            {},
            CorpusError,
            r"tiles of 12 px are smaller than crops of 16 px\. Set global_px = 12",
        ),
        (some_tiles(), SPEC, {"epochs": 0, "hue": 3.0}, SuiteError, r"epochs = 0; allowed.*hue = 3\.0; allowed"),
        (some_tiles(), SPEC, {"local_px": 12}, SuiteError, r"local_px = 12: vit_tiny_patch16_224 takes no crop"),
        (some_tiles(), BackboneSpec("colour"), {}, SuiteError, "'colour' has no weights to train"),
        (some_tiles(), dataclasses.replace(SPEC, model="vit_tinny"), {}, CheckpointError, "vit_tinny"),
    ],
)
def test_impossible_training_is_refused_before_it_starts(tmp_path, tiles, spec, changes, error, message):
    with pytest.raises(error, match=message):
        train_dino(tiles, spec, dataclasses.replace(RECIPE, **changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_absent_device_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(SuiteError, match="no CUDA device here"):
        train_dino(some_tiles(), SPEC, RECIPE, tmp_path, options=TrainOptions(device="cuda"))


def test_training_of_a_convolutional_network_runs(tmp_path):
    spec = BackboneSpec("resnet10t", preprocess="native")
    path = train_dino(
        some_tiles(8, 32), spec, dataclasses.replace(RECIPE, epochs=2, global_px=32, local_px=16), tmp_path
    )
    build_backbone(dataclasses.replace(spec, weights=str(path)))


def test_bf16_training_runs_on_the_cpu(tmp_path):
    train_dino(some_tiles(), SPEC, RECIPE, tmp_path, options=TrainOptions(precision="bf16"))
    assert all(math.isfinite(record["train_loss"]) for record in curve(tmp_path))
