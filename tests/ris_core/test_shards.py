import errno
from pathlib import Path

import numpy as np
import pytest

from ris_core.errors import ArtifactError
from ris_core.shards import clear_shards, has_shard, map_rows, save_shard, shard_folder

VALUES = np.arange(12, dtype=np.float32).reshape(4, 3)


def test_a_shard_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: object, values: np.ndarray) -> None:
        file.write(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full)
        with pytest.raises(ArtifactError, match="Free some space"):
            save_shard(tmp_path / "0.npy", VALUES)
    assert list(tmp_path.iterdir()) == []
    save_shard(tmp_path / "0.npy", VALUES)
    assert [path.name for path in tmp_path.iterdir()] == ["0.npy"]
    np.testing.assert_array_equal(map_rows(tmp_path / "0.npy", 1, 3), VALUES[1:3])


def test_only_a_whole_file_of_the_expected_array_counts(tmp_path: Path) -> None:
    path = tmp_path / "0.npy"
    assert not has_shard(path, (4, 3), np.float32)
    save_shard(path, VALUES)
    assert has_shard(path, (4, 3), np.float32)
    assert not has_shard(path, (4, 2), np.float32)
    assert not has_shard(path, (4, 3), np.float64)
    path.write_bytes(path.read_bytes()[:-1])
    assert not has_shard(path, (4, 3), np.float32)
    path.write_bytes(b"")
    assert not has_shard(path, (4, 3), np.float32)


def test_a_folder_keeps_the_shards_of_its_work_alone(tmp_path: Path) -> None:
    one = shard_folder(tmp_path, "ab" * 32)
    save_shard(one / "0.npy", VALUES)
    assert shard_folder(tmp_path, "ab" * 32) == one
    assert (one / "0.npy").is_file()
    other = shard_folder(tmp_path, "cd" * 32)
    assert [path.name for path in tmp_path.iterdir()] == [other.name]
    (tmp_path / "features.npy").touch()
    clear_shards(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["features.npy"]


def test_a_folder_that_is_gone_is_not_made_again_by_a_late_worker(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot be written"):
        save_shard(tmp_path / "gone" / "0.npy", VALUES)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_a_worker_does_not_see_is_told_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"cannot be read on .* file system that they share"):
        map_rows(tmp_path / "features.npy")
