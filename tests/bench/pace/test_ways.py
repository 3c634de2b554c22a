"""Our own way and lightly's, what is known of a measurement besides, and the names that suites use."""

import dataclasses
import gc
import importlib.util
import typing
from collections.abc import Callable
from typing import Any

import pytest
import torch

from bench.measuring.clock import Rounds
from bench.pace import ours, ways
from bench.pace.ours import CutTiles, Extract, Train
from bench.pace.pacer import Pacer
from bench.pace.pil_images import load_rounds
from bench.pace.ways import STAGES, WAYS, Way
from bench.pace.work import WorkOrder, time_into, time_rounds
from bench.suites.suite import StageName, WayName
from ris_core.backbone import build_backbone
from ris_core.training.flops import count_flops, training_flops
from ris_core.training.recipe import DinoRecipe

Order = Callable[..., WorkOrder]
HAS_LIGHTLY = importlib.util.find_spec("lightly") is not None
needs_lightly = pytest.mark.skipif(not HAS_LIGHTLY, reason="lightly is an optional package (extra rivals)")


def test_suites_name_the_ways_and_stages_that_there_are() -> None:
    assert typing.get_args(StageName) == STAGES
    assert typing.get_args(WayName) == tuple(WAYS)
    for name, way in WAYS.items():
        if name != "lightly" or HAS_LIGHTLY:
            assert set(way.load()) == set(way.stages)


def test_way_without_its_package_says_what_to_install() -> None:
    way = Way(("train",), dict, "no_such_package_here")
    assert way.unavailable() == ("the package no_such_package_here is not installed: pip install 'ris-bench[rivals]'")
    assert WAYS["ours"].unavailable() is None


@pytest.mark.parametrize("work", [CutTiles, Extract, Train])
def test_our_rounds_are_timed_one_by_one_and_leave_nothing(order: Order, work: type) -> None:
    asked = order({CutTiles: "tiles", Extract: "extract", Train: "train"}[work], "ours")
    before = sorted(asked.scratch.iterdir())
    done = work(asked)
    times_s = done.run(3)
    assert len(times_s) == 3
    assert min(times_s) > 0
    assert sorted(asked.scratch.iterdir()) == before
    prepared_s = done.prepare()
    assert prepared_s is None if work is CutTiles else prepared_s > 0


def test_garbage_is_collected_by_no_way_while_the_clock_runs(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    collecting = []

    def train(*arguments: Any, **_: Any) -> None:
        collecting.append(gc.isenabled())
        (arguments[3] / "log.txt").write_text('{"epoch_s": 0.5}\n', encoding="utf-8")

    monkeypatch.setattr(ours, "train_dino", train)
    assert Train(order("train", "ours")).run(1) == [0.5]
    time_rounds(lambda: collecting.append(gc.isenabled()), 1)
    assert collecting == [False, False]


def test_steady_recipe_warms_nothing_up(order: Order, recipe: DinoRecipe) -> None:
    steady = order("train", "ours").steady_recipe(5)
    assert steady.epochs == 5
    assert (steady.warmup_epochs, steady.warmup_teacher_epochs, steady.freeze_last_layer_epochs) == (0, 0, 0)
    assert steady.faults() == []
    assert dataclasses.replace(steady, epochs=100, warmup_epochs=10, freeze_last_layer_epochs=1) == recipe


def test_stream_holds_every_round_whole_and_in_order(order: Order) -> None:
    """Seven tiles in batches of three, twice."""
    asked = order("extract", "published", n=7, batch=3)
    batches = list(load_rounds(asked, lambda image: image.getpixel((0, 0))[0], 2))
    rows = asked.pixels()[:, 0, 0, 0].tolist()
    assert [batch.tolist() for batch in batches] == [rows[:3], rows[3:6], rows[6:]] * 2
    assert asked.batches == 3


def test_workers_load_what_the_process_itself_loads(order: Order) -> None:
    alone, helped = (order("extract", "published", workers=n) for n in (0, 1))  # beyond the cores torch warns
    first, second = (list(load_rounds(asked, lambda i: i.getpixel((3, 5)), 1)) for asked in (alone, helped))
    assert [[c.tolist() for c in batch] for batch in first] == [[c.tolist() for c in batch] for batch in second]


def test_clock_times_each_call_and_clears_each_folder(order: Order) -> None:
    asked, calls, folders = order("tiles", "ours"), [], []
    assert len(time_rounds(lambda: calls.append(1), 4)) == len(calls) == 4
    time_into(lambda folder: folders.append((folder, folder.is_dir())), 2, asked.scratch)
    assert [there for _, there in folders] == [True, True]
    assert not any(folder.exists() for folder, _ in folders)


@pytest.mark.parametrize(("stage", "way"), [("tiles", "published"), ("extract", "ours"), ("train", "published")])
def test_process_knows_flops_memory_and_threads(order: Order, stage: str, way: str) -> None:
    asked = order(stage, way)
    before = torch.get_num_threads()
    paced = Pacer(asked).measure(Rounds(rounds=2, warmup=1))
    assert len(paced.times_s) == 2
    assert paced.threads_seen["torch"] == 1
    assert torch.get_num_threads() == before
    assert paced.peak_device_bytes is None
    expected = {
        "tiles": None,
        "extract": count_flops(build_backbone(asked.spec), 16),
        "train": training_flops(asked.spec, asked.steady_recipe(1)),
    }
    assert paced.flops_per_tile == expected[stage]
    assert (paced.peak_flops is None) == (paced.prepare_s is None) == (paced.precision == "") == (stage == "tiles")


@needs_lightly
def test_lightly_takes_the_crops_and_the_loss_of_the_recipe(order: Order, recipe: DinoRecipe) -> None:
    """Its loss is ours on equal logits; one step changes the student, and the teacher follows it in the next."""
    from bench.pace.lightly_way import Trainer, dino_transform
    from ris_core.preprocess import PREPROCESSING
    from ris_core.training.dino import DinoLoss

    asked = order("train", "lightly")
    crops = next(load_rounds(asked, dino_transform(recipe, PREPROCESSING["native"]), 1))
    assert [tuple(crop.shape) for crop in crops] == [(4, 3, 16, 16)] * 2 + [(4, 3, 8, 8)] * 2
    trainer = Trainer(asked.spec, asked.steady_recipe(1), "cpu")
    ours, theirs = trainer.student.state_dict(), trainer.teacher.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    before = [p.detach().clone() for p in trainer.student.parameters() if p.requires_grad]
    assert torch.isfinite(trainer.step(crops))
    assert any(not torch.equal(a, b) for a, b in zip(before, trainer.student.parameters(), strict=False))

    student, teacher = torch.randn(4 * 4, 32), torch.randn(2 * 4, 32)
    expected = DinoLoss(recipe)(student, teacher, recipe.teacher_temp).loss
    trainer.loss.center.zero_()
    found = trainer.loss(list(teacher.chunk(2)), list(student.chunk(4)))
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


@needs_lightly
def test_lightly_rounds_are_timed(order: Order) -> None:
    done = ways.WAYS["lightly"].load()["train"](order("train", "lightly"))
    assert len(done.run(2)) == 2
    assert done.prepare() > 0
