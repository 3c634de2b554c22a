import dataclasses
import errno
import os

import numpy as np
import pandas as pd
import pytest
import torch

from ris_core.backbone import BackboneSpec
from ris_core.errors import ArtifactError, CheckpointError
from ris_core.records import Tiles
from ris_core.training.recipe import DinoRecipe
from ris_core.training.state import STATE, TrainingState, training_key

SPEC = BackboneSpec("vit_tiny_patch16_224", {"img_size": 16, "embed_dim": 16, "depth": 1, "num_heads": 2})
ROWS = np.arange(5)
RECIPE = DinoRecipe(out_dim=8, hidden_dim=8, bottleneck_dim=4)


def make_state(key: str = "key") -> TrainingState:
    return TrainingState.start(key, SPEC, RECIPE, torch.device("cpu"))


def some_tiles(seed: int = 0, first_id: int = 0) -> Tiles:
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    return Tiles(pixels, pd.DataFrame({"id": np.arange(first_id, first_id + 5)}))


def test_key_changes_with_recipe_backbone_and_tiles():
    keys = [
        training_key(some_tiles(), ROWS, SPEC, RECIPE),
        training_key(some_tiles(), ROWS, SPEC, dataclasses.replace(RECIPE, epochs=99)),
        training_key(some_tiles(), ROWS, dataclasses.replace(SPEC, arch={**SPEC.arch, "depth": 2}), RECIPE),
        training_key(some_tiles(seed=1), ROWS, SPEC, RECIPE),
        training_key(some_tiles(first_id=1), ROWS, SPEC, RECIPE),
        training_key(some_tiles(), ROWS[1:], SPEC, RECIPE),
    ]
    assert len(set(keys)) == len(keys)
    assert training_key(some_tiles(), ROWS, SPEC, RECIPE) == keys[0]


def test_state_comes_back_as_it_was(tmp_path):
    state = make_state()
    state.student([torch.randn(4, 3, 16, 16)]).sum().backward()
    state.optimizer.param_groups[0]["lr"] = 0.1
    state.optimizer.step()
    state.loss.center.normal_()
    state.sums += torch.tensor([1.0, 2.0, 3.0, 4.0])
    state.epoch, state.step, state.epoch_s = 3, 2, 1.5
    state.log.append({"train_loss": 1.25, "epoch": 0, "collapse": None})
    state.save(tmp_path)
    other = make_state()
    other.resume(tmp_path)
    for name in ("student", "teacher", "loss"):
        ours, theirs = getattr(state, name).state_dict(), getattr(other, name).state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    for p, q in zip(state.student.parameters(), other.student.parameters(), strict=True):
        assert torch.equal(state.optimizer.state[p]["exp_avg"], other.optimizer.state[q]["exp_avg"])
    assert (other.epoch, other.step, other.epoch_s, other.log) == (3, 2, 1.5, state.log)
    assert torch.equal(state.sums, other.sums)


def test_full_disk_is_told_whatever_torch_makes_of_it_and_the_old_state_stays(tmp_path, monkeypatch):
    make_state().save(tmp_path)
    before = (tmp_path / STATE).read_bytes()

    def full(content, file):
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            raise RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 704 vs 598")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(ArtifactError, match=r"training\.pt: cannot be written \(No space left.*Free some space"):
        make_state().save(tmp_path)
    assert (tmp_path / STATE).read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {STATE}
    monkeypatch.setattr(torch, "save", lambda content, file: (_ for _ in ()).throw(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        make_state().save(tmp_path)


def test_state_of_another_training_is_refused(tmp_path):
    make_state("one").save(tmp_path)
    with pytest.raises(CheckpointError, match="another training"):
        make_state("two").resume(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a state", None])
def test_damaged_state_is_refused(tmp_path, content):
    make_state().save(tmp_path)
    whole = (tmp_path / STATE).read_bytes()
    (tmp_path / STATE).write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(CheckpointError, match=r"training\.pt: not a training state.*Delete it"):
        make_state().resume(tmp_path)


def test_state_of_an_older_version_is_refused(tmp_path):
    state = make_state()
    state.sums = state.sums[:3]
    state.save(tmp_path)
    with pytest.raises(CheckpointError, match=r"training\.pt: not a training state.*3 sums, not 4.*Delete it"):
        make_state().resume(tmp_path)


@pytest.mark.parametrize("content", [{"key": "key", "sums": torch.zeros(4)}, {"key": "key", "sums": 1}, [1, 2]])
def test_state_without_all_its_parts_is_refused(tmp_path, content):
    torch.save(content, tmp_path / STATE)
    with pytest.raises(CheckpointError, match=r"training\.pt: not a training state.*Delete it"):
        make_state().resume(tmp_path)


def test_state_that_would_run_code_is_refused(tmp_path):
    torch.save({"key": "key", "student": print}, tmp_path / STATE)
    with pytest.raises(CheckpointError, match="not a training state"):
        make_state().resume(tmp_path)


def test_failed_save_keeps_the_old_state(tmp_path, monkeypatch):
    state = make_state()
    state.save(tmp_path)
    before = (tmp_path / STATE).read_bytes()

    def full_disk(content, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(ArtifactError, match="No space left"):
        state.save(tmp_path)
    assert (tmp_path / STATE).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [STATE]
