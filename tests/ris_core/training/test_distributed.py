"""Training in several processes; `torchrun` starts two on the CPU, which talk over gloo."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch

from ris_core.backbone import BackboneSpec, build_backbone
from ris_core.device import is_out_of_memory
from ris_core.errors import SuiteError
from ris_core.records import Tiles
from ris_core.training.dino_training import TrainOptions, train_dino
from ris_core.training.distributed import ALONE, Ranks, connected, find_ranks
from ris_core.training.recipe import DinoRecipe

SPEC = BackboneSpec(  # its own pooling, attn_pool, is left out: those weights get no gradient
    "vit_base_patch16_siglip_224",
    {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2},
    preprocess="native",
    pool="mean",
)
RECIPE = DinoRecipe(
    epochs=3, batch=8, global_px=16, local_px=8, local_crops=2, out_dim=16, hidden_dim=24, bottleneck_dim=8,
    base_lr=0.02, warmup_epochs=1, drop_path=0.0, clip=0.05,
)  # fmt: skip
PROGRAM = """
import json, sys
from pathlib import Path
import torch
from ris_core.backbone import BackboneSpec
from ris_core.training.distributed import connected, find_ranks
from ris_core.training.recipe import DinoRecipe
from ris_core.records import Tiles
from ris_core.training.dino_training import TrainOptions, train_dino
from ris_core.training.loop import TrainingLoop

folder = Path(sys.argv[1])
torch.set_num_threads(1)
real_step = TrainingLoop.train_step

def stop_at(epoch, who):
    def step(self, pixels):
        assert len(pixels) == 4
        if (self.state.epoch, self.state.step) == (epoch, 1) and self.ranks.rank in who:
            raise InterruptedError("power failure")
        return real_step(self, pixels)
    TrainingLoop.train_step = step

asked = json.loads((folder / "asked.json").read_text())
recipe = {name: tuple(value) if isinstance(value, list) else value for name, value in asked["recipe"].items()}
training = Tiles.open(folder / "tiles"), BackboneSpec(**asked["spec"]), DinoRecipe(**recipe)
ranks = find_ranks()
with connected(ranks):
    options = TrainOptions(device="cpu", ranks=ranks, probe=lambda backbone: {"seen_by": ranks.rank})
    stop_at(9, who=[])
    assert train_dino(*training, folder / "pair", options=options).is_file()
    stop_at(2, who=[0, 1])
    try:
        train_dino(*training, folder / "cut", options=options)
    except InterruptedError:
        stop_at(9, who=[])
        train_dino(*training, folder / "cut", options=options)
    stop_at(1, who=[1])
    train_dino(*training, folder / "failed", options=options)
"""


def some_tiles(n: int = 27) -> Tiles:
    pixels = np.random.default_rng(0).integers(0, 256, (n, 20, 20, 3), dtype=np.uint8)
    return Tiles(pixels, pd.DataFrame({"id": np.arange(n)}))


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """The folder in which both trained one network, then one with a break, then one that the second broke off."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "tiles").mkdir()
    some_tiles().save(folder / "tiles")
    asked = {"spec": SPEC.named(), "recipe": dataclasses.asdict(RECIPE)}
    (folder / "asked.json").write_text(json.dumps(asked))
    (folder / "program.py").write_text(PROGRAM)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    ended = subprocess.run(
        [*torchrun, folder / "program.py", folder],
        cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    return folder, ended


def curve(out: Path) -> pd.DataFrame:
    return pd.DataFrame([json.loads(line) for line in (out / "log.txt").read_text().splitlines()])


def test_two_processes_draw_the_curve_of_one_and_resume_it(two_processes):
    """Sums are made in another order, which AdamW magnifies where a gradient is nearly nothing; hence 1e-5 relative."""
    folder, ended = two_processes
    assert (folder / "cut" / "model.safetensors").exists(), ended.stderr
    train_dino(some_tiles(), SPEC, RECIPE, folder / "one", options=TrainOptions(device="cpu"))
    one, pair, cut = (curve(folder / name) for name in ("one", "pair", "cut"))
    for column in ("train_loss", "teacher_entropy", "kl", "train_lr", "train_wd"):
        np.testing.assert_allclose(pair[column], one[column], rtol=1e-5)
        np.testing.assert_allclose(cut[column], pair[column], rtol=1e-9)
    assert one["train_loss"].nunique() == 3
    assert pair["seen_by"].tolist() == [0, 0, 0]
    alone, together = (safetensors.torch.load_file(folder / name / "model.safetensors") for name in ("one", "pair"))
    untrained = build_backbone(SPEC).network.state_dict()
    for name in alone:
        torch.testing.assert_close(together[name], alone[name], rtol=1e-3, atol=1e-4)
        is_still = name.startswith("attn_pool.")  # no gradient, hence no decay either, in one process as in two
        assert torch.equal(together[name], untrained[name]) == torch.equal(alone[name], untrained[name]) == is_still
    assert sorted(path.name for path in (folder / "pair").iterdir()) == ["log.txt", "model.safetensors", "recipe.json"]


def test_training_goes_on_with_another_number_of_processes(two_processes, tmp_path):
    """One process takes over what two had left after their first epoch."""
    folder, _ = two_processes
    shutil.copytree(folder / "failed", tmp_path / "failed")
    train_dino(some_tiles(), SPEC, RECIPE, tmp_path / "failed", options=TrainOptions(device="cpu"))
    one, two = curve(tmp_path / "failed"), curve(folder / "pair")
    for column in ("train_loss", "teacher_entropy", "kl"):  # not the dominance, which is that of a process' share
        np.testing.assert_allclose(one[column], two[column], rtol=1e-5)


def test_failed_process_ends_the_other(two_processes):
    folder, ended = two_processes
    assert ended.returncode != 0
    assert "InterruptedError: power failure" in ended.stderr
    assert sorted(path.name for path in (folder / "failed").iterdir()) == ["log.txt", "training.pt"]  # the first epoch


def test_processes_share_a_batch_evenly():
    parts = [Ranks(rank, 3).part(12) for rank in range(3)]
    assert [np.arange(12)[part].tolist() for part in parts] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert ALONE.part(5) == slice(0, 5)


def test_batch_that_does_not_divide_is_refused_before_anything_starts(tmp_path):
    message = r"batch = 8 does not divide among 3 processes\. Set batch = 6, or"
    with pytest.raises(SuiteError, match=message):
        train_dino(some_tiles(), SPEC, RECIPE, tmp_path / "out", options=TrainOptions(ranks=Ranks(1, 3)))
    assert not (tmp_path / "out").exists()


def test_each_process_has_its_own_gpu(monkeypatch):
    second = Ranks(rank=5, size=8, local_rank=1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [second.device(name) for name in ("auto", "cuda", "cpu", "cuda:3")] == ["cuda:1", "cuda:1", "cpu", "cuda:3"]
    assert [ALONE.device(name) for name in ("auto", "cuda")] == ["auto", "cuda"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert second.device("auto") == "auto"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert "'cuda:1': PyTorch sees 1 CUDA devices" in TrainOptions(device="cuda", ranks=second).faults()[0]


def test_without_torchrun_a_process_is_alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    values = torch.tensor([1.0, 2.0])
    ranks = find_ranks()
    assert ranks == ALONE
    with connected(ranks):
        assert ranks.is_first
        assert ranks.agree("here") == "here"
        assert ranks.mean(values) is values
        network = torch.nn.BatchNorm1d(2)
        ranks.share_statistics(network, torch.device("cpu"))
        assert ranks.averaging(network, torch.device("cpu")) is network


def test_more_processes_than_gpus_are_refused(monkeypatch):
    for name, value in (("RANK", "2"), ("WORLD_SIZE", "3"), ("LOCAL_RANK", "2")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(SuiteError, match="--nproc-per-node 2"), connected(find_ranks()):
        pass


def test_batch_normalisation_on_several_cpus_is_refused():
    with pytest.raises(SuiteError, match=r"batch normalisation trains on 2 processes on CUDA devices only"):
        Ranks(0, 2).share_statistics(torch.nn.Sequential(torch.nn.BatchNorm2d(3)), torch.device("cpu"))


def test_batch_normalisation_on_several_gpus_is_joined():
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
    weight = network[1].weight
    Ranks(0, 2).share_statistics(network, torch.device("cuda"))
    assert isinstance(network[1], torch.nn.SyncBatchNorm)
    assert network[1].weight is weight


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."), True),
        (RuntimeError("shapes cannot be multiplied"), False),
        (OSError("can't allocate memory"), False),
    ],
)
def test_lack_of_memory_is_known_by_its_errors(error, is_memory):
    assert is_out_of_memory(error) == is_memory
