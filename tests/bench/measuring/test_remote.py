"""A process that may have children: it clears up after itself, takes them along, and answers for their CPU time."""

import multiprocessing.util
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from bench.measuring.remote import Remote, WorkerError

_BURNT_S = 0.3


class Parent:
    """Has children; what it is made of is a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        multiprocessing.util.Finalize(None, (folder / "cleared").touch, exitpriority=0)  # as a lock frees itself

    def burn(self) -> None:
        """A child computes for a while, ends, and is waited for."""
        loop = f"import time\nwhile time.process_time() < {_BURNT_S}: pass"
        subprocess.run([sys.executable, "-c", loop], check=True)

    def hang(self) -> None:
        """A child sleeps, and so does its parent."""
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        (self._folder / "child").write_text(str(child.pid), encoding="ascii")
        time.sleep(600)


def test_closed_process_frees_what_it_shares_with_children(tmp_path: Path) -> None:
    with Remote(Parent, tmp_path, 60, has_children=True) as process:
        assert not (tmp_path / "cleared").exists()
    assert (tmp_path / "cleared").exists()
    assert not psutil.pid_exists(process.pid)


def test_process_that_takes_too_long_is_killed_with_its_children(tmp_path: Path) -> None:
    with (
        Remote(Parent, tmp_path, 2.0, has_children=True) as process,
        pytest.raises(WorkerError, match="killed while hanging"),
    ):
        process.call("hang", "hanging")
    child = int((tmp_path / "child").read_text(encoding="ascii"))
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
    assert not (tmp_path / "cleared").exists()


def test_cpu_time_of_children_that_have_ended_is_counted(tmp_path: Path) -> None:
    with Remote(Parent, tmp_path, 60, has_children=True) as process:
        process.begin()
        process.call("burn", "burning")
        assert process.used_cpu_s() > 0.9 * _BURNT_S
