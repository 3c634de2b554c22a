import contextlib
import copy
import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pytest
import torch

from ris_core.backbone import BackboneSpec
from ris_core.records import Tiles
from ris_core.tile_batches import TileBatches
from ris_core.training import loop as training_loop
from ris_core.training.augment import draw_crops, make_crops
from ris_core.training.distributed import Ranks
from ris_core.training.flops import peak_flops, training_flops
from ris_core.training.log import CollapseWarning
from ris_core.training.loop import TrainingLoop, step_seed
from ris_core.training.options import DEFAULT_OPTIONS, TrainOptions
from ris_core.training.recipe import DinoRecipe
from ris_core.training.schedules import make_schedules
from ris_core.training.state import TrainingState

SPEC = BackboneSpec(
    "vit_tiny_patch16_224",
    {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2},
    preprocess="native",
)
RECIPE = DinoRecipe(
    epochs=2, batch=4, global_px=16, local_px=8, local_crops=2, out_dim=16, hidden_dim=24, bottleneck_dim=8,
    base_lr=0.1, warmup_epochs=0, freeze_last_layer_epochs=0, drop_path=0.0, clip=0.05, teacher_momentum=0.9,
)  # fmt: skip
CPU = torch.device("cpu")
CALM = dataclasses.replace(RECIPE, base_lr=0.005)


def some_tiles(n: int = 13, size_px: int = 20) -> Tiles:
    pixels = np.random.default_rng(0).integers(0, 256, (n, size_px, size_px, 3), dtype=np.uint8)
    return Tiles(pixels, pd.DataFrame({"id": np.arange(n)}))


def make_loop(tmp_path, recipe=RECIPE, tiles=None, options=DEFAULT_OPTIONS, device=CPU) -> TrainingLoop:
    tiles = tiles or some_tiles()
    torch.manual_seed(0)
    state = TrainingState.start("key", SPEC, recipe, device)
    batches = TileBatches(tiles.pixels, np.arange(len(tiles)), recipe.batch, recipe.seed)
    return TrainingLoop(batches, recipe, state, make_schedules(recipe, batches.steps), tmp_path, options)


def test_utilisation_counts_the_devices_of_all_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(training_loop, "peak_flops", lambda *device_and_precision: 1e9)
    monkeypatch.setattr(Ranks, "averaging", lambda ranks, network, device: network)  # no other process is there
    loop = make_loop(tmp_path, options=TrainOptions(ranks=Ranks(size=4)))
    assert loop.utilisation(100.0) == 100 * training_flops(SPEC, RECIPE) / 4e9


def naive_gradients(student, teacher, center, crops, recipe) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients, one crop at a time through the networks and a loop over pairs."""
    whole, local = crops
    views = [*whole.split(recipe.batch), *local.split(recipe.batch)]
    with torch.no_grad():
        targets = [torch.softmax((teacher([view]) - center) / recipe.teacher_temp, dim=1) for view in views[:2]]
    answers = [torch.log_softmax(student([view]) / recipe.student_temp, dim=1) for view in views]
    pairs = [-(q * p).sum(dim=1).mean() for t, q in enumerate(targets) for v, p in enumerate(answers) if v != t]
    loss = sum(pairs) / len(pairs)
    loss.backward()
    return float(loss.detach()), {name: p.grad for name, p in student.named_parameters()}


def test_step_equals_a_naive_one(tmp_path):
    """Loss, gradients, clipping, AdamW by its formula, moving average and centre, against a second path through all."""
    torch.manual_seed(1)
    loop = make_loop(tmp_path)
    state = loop.state
    state.loss.center.normal_(std=0.1)
    student, teacher, center = (copy.deepcopy(x) for x in (state.student, state.teacher, state.loss.center))
    pixels = torch.from_numpy(loop.batches.pixels[:4])
    parts = loop.train_step(pixels)

    draws = draw_crops(4, pixels.shape[1], RECIPE, torch.Generator().manual_seed(step_seed(RECIPE.seed, 0, 0)))
    crops = make_crops(pixels, draws, RECIPE)
    loss, gradients = naive_gradients(student, teacher, center, crops, RECIPE)
    assert float(parts.loss.detach()) == pytest.approx(loss, rel=1e-5)
    lr, decay, momentum = (
        float(s[0]) for s in (loop.schedules.lr, loop.schedules.weight_decay, loop.schedules.teacher_momentum)
    )
    before = dict(teacher.named_parameters())
    clipped = 0
    for name, after in state.student.named_parameters():
        norm = float(gradients[name].norm())
        clipped += norm > RECIPE.clip
        gradient = gradients[name] * min(1.0, RECIPE.clip / (norm + 1e-6))
        torch.testing.assert_close(after.grad, gradient, rtol=1e-3, atol=1e-6)
        shrink = 1 - lr * decay * (after.ndim > 1)
        expected = before[name] * shrink - lr * gradient / (gradient.abs() + 1e-8)  # AdamW's first step
        clear = gradient.abs() > 1e-4  # elsewhere rounding decides the sign
        torch.testing.assert_close(after[clear], expected[clear], rtol=1e-3, atol=lr * 1e-2)
        moved = momentum * before[name] + (1 - momentum) * after
        torch.testing.assert_close(state.teacher.get_parameter(name), moved, rtol=1e-5, atol=1e-7)
    assert clipped > 3
    expected_center = 0.9 * center + 0.1 * teacher([crops[0]]).mean(dim=0)
    torch.testing.assert_close(state.loss.center, expected_center, rtol=1e-4, atol=1e-6)


def test_last_layer_is_frozen_in_the_first_epoch_only(tmp_path):
    loop = make_loop(tmp_path, dataclasses.replace(RECIPE, freeze_last_layer_epochs=1))
    pixels = torch.from_numpy(loop.batches.pixels[:4])
    start = loop.state.student.head.last_direction.detach().clone()
    others = loop.state.student.head.layers[0].weight.detach().clone()
    loop.train_step(pixels)
    assert torch.equal(loop.state.student.head.last_direction, start)
    assert not torch.equal(loop.state.student.head.layers[0].weight, others)
    loop.state.epoch = 1
    loop.train_step(pixels)
    assert not torch.equal(loop.state.student.head.last_direction, start)


def test_run_visits_full_batches_of_reshuffled_tiles(tmp_path, monkeypatch):
    seen: list[list[int]] = []
    loop = make_loop(tmp_path, CALM)
    which = {tile.tobytes(): i for i, tile in enumerate(loop.batches.pixels)}
    real = TrainingLoop.train_step

    def step(self, pixels):
        seen.append([which[tile.numpy().tobytes()] for tile in pixels])
        return real(self, pixels)

    monkeypatch.setattr(TrainingLoop, "train_step", step)
    loop.run()
    assert [len(rows) for rows in seen] == [4] * 6  # 13 tiles: three steps an epoch
    epochs = np.reshape(seen, (2, 12)).tolist()
    assert all(len(set(rows)) == 12 for rows in epochs)
    assert epochs[0] != epochs[1]
    assert all(rows == sorted(rows) for rows in seen)


def test_log_has_dino_s_keys_and_ours(tmp_path):
    loop = make_loop(tmp_path, CALM)
    loop.run()
    records = [json.loads(line) for line in (tmp_path / "log.txt").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [0, 1]
    for record in records:
        assert {"train_loss", "train_lr", "train_wd", "teacher_entropy", "kl", "images_per_s", "epoch_s"} <= set(record)
        assert record["train_loss"] == pytest.approx(record["teacher_entropy"] + record["kl"], rel=1e-5)
        assert 1 / CALM.out_dim <= record["dominance"] <= 1
        assert record["images_per_s"] == pytest.approx(12 / record["epoch_s"])
        assert record["flops_per_image"] == training_flops(SPEC, CALM)
        peak = peak_flops(torch.device("cpu"), False)
        assert record["mfu"] == pytest.approx(record["images_per_s"] * record["flops_per_image"] / peak)
    assert records[0]["train_lr"] == pytest.approx(loop.schedules.lr[:3].mean())
    assert records[1]["train_wd"] == pytest.approx(loop.schedules.weight_decay[3:].mean())


def test_run_shows_its_progress(tmp_path, capsys):
    loop = make_loop(tmp_path, CALM, options=TrainOptions(progress=True))
    loop.run()
    shown = capsys.readouterr()
    assert "DINO epoch 2/2" in shown.err
    assert re.search(r"loss \d\.\d+, \d+ images/s, MFU \d+%", shown.err)
    assert shown.out == ""


def uniform_recipe(**changes) -> DinoRecipe:
    return dataclasses.replace(
        CALM, student_temp=1.0, teacher_temp=1.0, bottleneck_dim=256, center_momentum=0.0, **changes
    )


def test_collapse_is_named_while_it_happens(tmp_path):
    loop = make_loop(tmp_path, uniform_recipe(), some_tiles(40))
    with pytest.warns(CollapseWarning, match=r"epoch 2: collapse: the loss is ln\(out_dim\) = 2.7726"):
        loop.run()
    first, second = (json.loads(line) for line in (tmp_path / "log.txt").read_text().splitlines())
    assert first["collapse"] is None  # the centre had not settled
    assert "ln(out_dim)" in second["collapse"]


@pytest.mark.parametrize(("outputs", "named"), [([5, 5, 5, 5], True), ([0, 1, 2, 3], False)])
def test_sure_teacher_has_collapsed_only_where_one_output_rules(tmp_path, monkeypatch, outputs, named):
    """Its entropy is 0 in both cases, and the student answers otherwise."""
    real, certain = TrainingLoop.train_step, 9 * torch.eye(CALM.out_dim)

    def step(self, pixels):
        real(self, pixels)
        return self.state.loss(certain[[7] * 16], certain[outputs * 2] + self.state.loss.center, 0.04)

    monkeypatch.setattr(TrainingLoop, "train_step", step)
    loop = make_loop(tmp_path, dataclasses.replace(CALM, center_momentum=0.0), some_tiles(40))
    expected = pytest.warns(CollapseWarning, match="epoch 2: collapse: 100%") if named else contextlib.nullcontext()
    with expected:
        loop.run()
    assert loop.state.log[-1]["teacher_entropy"] == pytest.approx(0, abs=1e-5)
    assert loop.state.log[-1]["dominance"] == pytest.approx(1.0 if named else 0.25)


def test_no_collapse_is_named_before_warm_up_and_thaw(tmp_path):
    make_loop(tmp_path, uniform_recipe(freeze_last_layer_epochs=2), some_tiles(40)).run()  # warnings are errors


def test_step_seeds_differ():
    seeds = {step_seed(seed, epoch, step) for seed in range(4) for epoch in range(10) for step in range(50)}
    assert len(seeds) == 2000
    assert all(0 <= seed < 2**63 for seed in seeds)


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device here")


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("compiling", ["off", "on"])
def test_step_never_waits_for_the_gpu(tmp_path, compiling):
    options = TrainOptions(compile=compiling)
    loop = make_loop(tmp_path, CALM, some_tiles(45), options, torch.device("cuda"))
    batches = loop.batches.read(0, 0, loop.device)
    for _ in range(3):  # memory is found, and networks are compiled
        loop.train_step(next(batches))
        loop.state.step += 1
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            loop.train_step(next(batches))
            loop.state.step += 1
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@needs_gpu
def test_gpu_draws_the_curve_of_the_cpu(tmp_path):
    """In fp32; sums are made in another order."""
    options = TrainOptions(precision="fp32", compile="off")
    curves = []
    for name in ("cpu", "cuda"):
        loop = make_loop(tmp_path, CALM, options=options, device=torch.device(name))
        loop.run()
        curves.append([record["train_loss"] for record in loop.state.log])
    assert curves[1] == pytest.approx(curves[0], rel=1e-3)


@pytest.mark.gpu
@needs_gpu
def test_tiles_reach_the_gpu_whole():
    pixels = some_tiles(64).pixels
    read = TileBatches(pixels, np.arange(64), 8, 0).read(0, 0, torch.device("cuda"))
    expected = TileBatches(pixels, np.arange(64), 8, 0).read(0, 0, torch.device("cpu"))
    for ours, theirs in zip(read, expected, strict=True):
        assert ours.is_cuda
        assert torch.equal(ours.cpu(), theirs)
