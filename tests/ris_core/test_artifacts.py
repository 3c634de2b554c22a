import errno
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest

from ris_core.artifacts import (
    CorruptArtifactWarning,
    artifact_key,
    damage,
    drop_unfinished,
    exclusive,
    file_digest,
    make_once,
    new_array,
    new_matrix,
    reopen_array,
    write_json,
    written_whole,
)
from ris_core.errors import ArtifactError


def write_number(folder: Path) -> dict[str, int]:
    (folder / "number.txt").write_text("42")
    return {"numbers": 1}


def test_key_changes_with_every_ingredient() -> None:
    keys = {
        artifact_key("tiles", {"size": 1}),
        artifact_key("truth", {"size": 1}),
        artifact_key("tiles", {"size": 2}),
        artifact_key("tiles", {"size": 1}, ["parent"]),
    }
    assert len(keys) == 4
    assert artifact_key("tiles", {"a": 1, "b": 2}) == artifact_key("tiles", {"b": 2, "a": 1})


def test_artifact_is_made_once_and_says_what_it_holds(tmp_path: Path) -> None:
    folder, reused = make_once(tmp_path, "tiles", {"size": 1}, ["p"], write_number)
    again, reused_again = make_once(tmp_path, "tiles", {"size": 1}, ["p"], lambda _: pytest.fail("made twice"))
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (folder, reused, reused_again) == (again, False, True)
    assert manifest["parents"] == ["p"]
    assert manifest["notes"] == {"numbers": 1}
    assert manifest["files"]["number.txt"]["bytes"] == 2


@pytest.mark.parametrize("harm", ["delete", "truncate", "flip", "manifest"])
def test_damaged_artifact_is_found_and_made_again(tmp_path: Path, harm: str) -> None:
    folder, _ = make_once(tmp_path, "tiles", {}, [], write_number)
    path = folder / ("manifest.json" if harm == "manifest" else "number.txt")
    if harm == "delete":
        path.unlink()
    else:
        path.write_text({"truncate": "4", "flip": "24", "manifest": "{"}[harm])
    assert damage(folder) is not None
    with pytest.warns(CorruptArtifactWarning, match="made again"):
        make_once(tmp_path, "tiles", {}, [], write_number)
    assert damage(folder) is None


def test_failed_stage_leaves_no_artifact_but_its_partial_work(tmp_path: Path) -> None:
    def cut_off(folder: Path) -> None:
        (folder / "half.txt").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_once(tmp_path, "tiles", {}, [], cut_off)
    assert not list(tmp_path.glob("tiles-*"))

    def resume(folder: Path) -> None:
        assert (folder / "half.txt").read_text() == "half"

    assert make_once(tmp_path, "tiles", {}, [], resume)[1] is False


def test_two_at_once_do_the_work_once(tmp_path: Path) -> None:
    made = []
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait()
        make_once(tmp_path, "tiles", {}, [], lambda folder: made.append(write_number(folder)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


def test_killed_run_leaves_no_half_artifact(tmp_path: Path) -> None:
    script = textwrap.dedent(
        f"""
        import os, signal
        from pathlib import Path
        from ris_core.artifacts import make_once
        def make(folder):
            (folder / "half.txt").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
        make_once(Path({str(tmp_path)!r}), "tiles", {{}}, [], make)
        """
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not list(tmp_path.glob("tiles-*"))
    make_once(tmp_path, "tiles", {}, [], write_number)  # the dead process' lock does not block


def test_full_disk_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(ArtifactError, match=r"No space left on device.*Free some space"):
        make_once(tmp_path, "tiles", {}, [], fill)


def test_digest_of_a_large_file_sees_its_first_and_last_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ris_core.artifacts._WHOLE_HASH_BYTES", 1000)
    monkeypatch.setattr("ris_core.artifacts._SAMPLE_BYTES", 10)
    path = tmp_path / "large"
    content = bytearray(range(256)) * 16
    path.write_bytes(content)
    digests = {file_digest(path)}
    for position in (0, len(content) - 1):
        changed = bytearray(content)
        changed[position] ^= 1
        path.write_bytes(changed)
        digests.add(file_digest(path))
    assert len(digests) == 3


def test_json_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}


def test_new_matrix_takes_its_room_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.npy"
    values = new_matrix(path, 3, 5)
    values[:] = 7
    values.flush()
    assert (np.load(path) == np.full((3, 5), 7, np.float32)).all()

    def full(descriptor: int, offset: int, length: int) -> None:
        assert (offset, length) == (0, 128 + 4 * 5 * 4)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ArtifactError, match=r"a\.npy: cannot be written .*Free some space"):
        new_matrix(path, 4, 5)
    assert not path.exists()


def test_array_that_is_reopened_takes_its_room_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.npy"
    np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(1000, 1000))
    assert path.stat().st_blocks * 512 < path.stat().st_size  # holes, as a copy may have
    values = reopen_array(path)
    assert path.stat().st_blocks * 512 >= path.stat().st_size
    assert (values.shape, values.dtype) == ((1000, 1000), np.float16)

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ArtifactError, match=r"a\.npy: cannot be written .*Free some space"):
        reopen_array(path)
    assert path.exists()
    with pytest.raises(ArtifactError, match=r"b\.npy: cannot be written .*Free some space"):
        new_array(tmp_path / "b.npy", (2, 3, 4), np.dtype(np.uint8))
    assert not (tmp_path / "b.npy").exists()


def test_array_that_numpy_could_not_write_whole_is_a_lack_of_room(tmp_path: Path) -> None:
    def save(folder: Path) -> None:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))  # as on a full disk, NumPy tells of counts alone
        try:
            np.save(folder / "long.npy", np.zeros(10_000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    with pytest.raises(ArtifactError, match=r"10000 requested and \d+ written.*Free some space"):
        make_once(tmp_path, "tiles", {}, [], save)
    assert not list(tmp_path.glob("tiles-*"))


def test_hidden_leftovers_of_a_killed_attempt_stay_out_of_the_artifact(tmp_path: Path) -> None:
    def make(folder: Path) -> None:
        (folder / "whole.txt").write_text("whole")
        (folder / ".training.pt.partial").write_text("half")
        (folder / ".shards").mkdir()
        (folder / ".shards" / "half").touch()

    folder, _ = make_once(tmp_path, "tiles", {}, [], make)
    assert {path.name for path in folder.iterdir()} == {"whole.txt", "manifest.json"}


def test_missing_input_of_a_stage_is_not_told_as_a_full_disk(tmp_path: Path) -> None:
    def read(folder: Path) -> None:
        (tmp_path / "labels.csv").read_text(encoding="utf-8")

    with pytest.raises(ArtifactError, match=r"labels\.csv: cannot be read \(No such file"):
        make_once(tmp_path / "cache", "tiles", {}, [], read)
    with pytest.raises(ArtifactError, match=r"labels\.csv: cannot be read"):
        file_digest(tmp_path / "labels.csv")


def test_lock_that_cannot_be_made_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match="cannot be written"), exclusive(tmp_path / "file" / ".lock"):
        pass


def test_what_dead_processes_left_unfinished_goes_and_what_living_ones_write_stays(tmp_path: Path) -> None:
    below = tmp_path / "cells"
    below.mkdir()
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    left = [below / f".row.json.{dead.pid}", tmp_path / f".{dead.pid}.ids.npy", tmp_path / f".{dead.pid}.published"]
    kept = [below / f".row.json.{os.getpid()}", tmp_path / ".lock", tmp_path / ".report.lock", below / "row.json"]
    left[-1].mkdir()
    (left[-1] / "index.html").touch()
    for path in [*left[:-1], *kept]:
        path.touch()
    drop_unfinished(tmp_path)
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in kept)


def test_folder_written_whole_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "published"

    def stop(folder: Path) -> None:
        folder.mkdir()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), written_whole(target) as unfinished:
        stop(unfinished)
    assert not list(tmp_path.iterdir())
    with written_whole(target) as unfinished:
        unfinished.mkdir()
        (unfinished / "page").touch()
        assert not target.exists()
    assert [path.name for path in tmp_path.rglob("*")] == ["published", "page"]
    with pytest.raises(ArtifactError, match="not empty"), written_whole(target) as unfinished:
        unfinished.mkdir()
    assert [path.name for path in tmp_path.rglob("*")] == ["published", "page"]


def test_whoever_waits_for_a_lock_is_told_what_its_holder_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / ".tiles-1.lock"
    script = (
        "import sys; from pathlib import Path; from ris_core.artifacts import exclusive\n"
        f"with exclusive(Path({str(lock)!r})): print('held', flush=True); sys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    for doing, told in (("", "making tiles-1"), ("measuring r", "measuring r")):
        with subprocess.Popen([sys.executable, "-c", script], **pipes) as holder:  # type: ignore[call-overload]
            assert holder.stdout.readline() == "held\n"
            waiting = threading.Thread(target=lambda doing=doing: exclusive(lock, doing).__enter__())
            waiting.start()
            said = ""
            while not said:
                said = capsys.readouterr().err
            assert said == f"waiting for another run that is {told} ...\n"
            holder.stdin.close()
            waiting.join(60)
            assert not waiting.is_alive()


@pytest.mark.parametrize("files", [[], {"a": 1}, {"a": {"bytes": 1}}, "a"])
def test_manifest_of_other_values_is_damage(tmp_path: Path, files: object) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"files": files}), encoding="utf-8")
    assert "manifest.json" in str(damage(tmp_path))
