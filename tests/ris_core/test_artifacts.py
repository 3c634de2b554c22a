import errno
import json
import os
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
    file_digest,
    make_once,
    new_matrix,
    write_json,
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
