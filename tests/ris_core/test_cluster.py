import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ris_core import cluster as cluster_module
from ris_core import worker_demands
from ris_core.cluster import IN_PROCESS, Cluster, open_cluster
from ris_core.errors import ClusterError, CorpusError
from ris_core.worker_demands import Demands, mark, meet, unmark, unmet, versions_here


def _square(number: int) -> int:
    return number * number


def _refuse_three(number: int) -> int:
    if number == 3:
        raise CorpusError("three is no corpus")
    return number


def _time_out(number: int) -> int:
    raise TimeoutError("the function's own")


def _process(number: int) -> int:
    return os.getpid()


def _die_once(work: tuple[Path, int]) -> int:
    folder, number = work
    (folder / f"{number}-{os.getpid()}").touch()
    if number == 2 and len(list(folder.glob("2-*"))) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def _die_always(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def _environment(number: int) -> dict[str, str]:
    return {**os.environ, "cwd": str(Path.cwd())}


@pytest.fixture(scope="module")
def two() -> Iterator[Cluster]:
    pytest.importorskip("distributed", reason="dask.distributed is an optional extra")
    from ris_core.dask_cluster import _SETTINGS

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(_SETTINGS, "distributed.scheduler.allowed-failures", 1)  # 3 cost four starts of a process
        with open_cluster("local:2") as cluster:
            yield cluster


@pytest.fixture(params=["in process", "two processes"])
def any_cluster(request: pytest.FixtureRequest) -> Cluster:
    return IN_PROCESS if request.param == "in process" else request.getfixturevalue("two")


def test_results_come_in_the_order_of_the_items(any_cluster: Cluster) -> None:
    assert list(any_cluster.in_order(_square, range(20))) == [i * i for i in range(20)]


def test_items_are_drawn_no_further_ahead_than_twice_the_workers(any_cluster: Cluster) -> None:
    drawn = itertools.count()
    results = any_cluster.in_order(_square, drawn)
    assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
    assert next(drawn) <= 5 + 2 * any_cluster.workers
    del results


def test_an_error_of_the_function_comes_out_as_raised_and_ends_the_work(any_cluster: Cluster) -> None:
    results = any_cluster.in_order(_refuse_three, range(100))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(CorpusError, match=r"^three is no corpus$"):
        next(results)
    assert list(results) == []


def test_a_timeout_of_the_function_is_not_taken_for_one_of_the_cluster(two: Cluster) -> None:
    with pytest.raises(TimeoutError, match="the function's own"):
        list(two.in_order(_time_out, [1]))


def test_pieces_of_one_place_are_computed_by_one_process(two: Cluster) -> None:
    two.client.wait_for_workers(2)  # type: ignore[attr-defined]  # of the dask form
    processes = list(two.in_order(_process, range(12), place=lambda number: number % 2))
    assert len(set(processes[::2])) == len(set(processes[1::2])) == 1
    assert len(set(processes)) == 2


def test_a_piece_whose_worker_was_killed_is_done_again(two: Cluster, tmp_path: Path) -> None:
    work = [(tmp_path, number) for number in range(8)]
    assert list(two.in_order(_die_once, work)) == [i * i for i in range(8)]
    assert len(list(tmp_path.glob("2-*"))) == 2


def test_a_piece_that_kills_every_worker_is_told(two: Cluster) -> None:
    with pytest.raises(ClusterError, match="workers died one after another of the same piece"):
        list(two.in_order(_die_always, [1]))
    assert list(two.in_order(_square, range(3))) == [0, 1, 4]  # and the cluster serves on


def test_local_workers_share_the_cores_and_leave_nothing_behind(two: Cluster) -> None:
    environment = next(iter(two.in_order(_environment, [0])))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    assert environment["OMP_NUM_THREADS"] == str(max(1, cores // 2))
    assert environment["GOMP_SPINCOUNT"] == os.environ.get("GOMP_SPINCOUNT", "1000")
    assert not [path for path in Path(environment["cwd"]).iterdir() if path.name.startswith("dask-")]


def test_a_running_cluster_is_joined_by_its_address(two: Cluster) -> None:
    two.client.wait_for_workers(2)  # type: ignore[attr-defined]  # of the dask form; one may have been killed just now
    with open_cluster(two.client.scheduler.address) as joined:  # type: ignore[attr-defined]
        assert joined.workers == 2
        assert list(joined.in_order(_square, range(3))) == [0, 1, 4]


def test_workers_with_other_versions_are_refused(two: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ris_core.dask_cluster.versions_here", lambda: (*versions_here(), ("numpy", "0.1")))
    with (
        pytest.raises(ClusterError, match=r"has numpy \S+ in place of 0\.1\. Install the same"),
        open_cluster(two.client.scheduler.address),  # type: ignore[attr-defined]
    ):
        pass


def test_workers_that_do_not_see_a_folder_are_refused_also_those_that_come_later(
    two: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_cluster(two.client.scheduler.address) as joined:  # type: ignore[attr-defined]
        joined.require(tmp_path / "seen")
        assert len(list((tmp_path / "seen").iterdir())) == 1
        monkeypatch.setattr("ris_core.dask_cluster.mark", lambda folder: folder / "here" / "alone")
        with pytest.raises(ClusterError, match=r"does not see .*here\. Choose a folder on a file system that all"):
            joined.require(tmp_path)
        with pytest.raises(ClusterError, match="does not see"):  # a worker that came after the check
            list(joined.in_order(_square, [1]))
    assert not list((tmp_path / "seen").iterdir())


def test_a_missing_scheduler_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="dask.distributed is an optional extra")
    monkeypatch.setattr("ris_core.dask_cluster._CONNECT_S", 1)
    with (
        pytest.raises(ClusterError, match=r"no scheduler answers there.*dask scheduler"),
        open_cluster("tcp://127.0.0.1:9"),
    ):
        pass


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    pytest.importorskip("distributed", reason="dask.distributed is an optional extra")
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    arguments = [*command, "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        yield process
        process.kill()


def test_a_scheduler_without_workers_and_one_that_dies_are_told(
    scheduler: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scheduler.stderr is not None
    address = next(line.split()[-1] for line in scheduler.stderr if "Scheduler at:" in line)
    monkeypatch.setattr("ris_core.dask_cluster._CONNECT_S", 1)
    monkeypatch.setattr("ris_core.dask_cluster._PATIENCE_S", 0.1)
    with pytest.raises(ClusterError, match=r"no worker for .*Start some with `dask worker tcp"), open_cluster(address):
        pass
    assert "waiting for a worker of tcp://127.0.0.1" in capsys.readouterr().err
    monkeypatch.setattr("ris_core.dask_cluster.DaskCluster.check", lambda cluster: None)
    with open_cluster(address) as cluster:
        scheduler.kill()
        scheduler.wait()
        with pytest.raises(ClusterError, match="the scheduler is gone"):
            list(cluster.in_order(_square, [1]))


@pytest.mark.parametrize(
    "address", ["locally", "local:0", "local:-1", "http://host:1", "tcp://host", "tcp://host:port", ""]
)
def test_what_is_no_address_is_told(address: str) -> None:
    with pytest.raises(ClusterError, match="not an address; allowed: local"), open_cluster(address):
        pass


def test_no_address_is_this_process() -> None:
    with open_cluster(None) as cluster:
        assert cluster is IN_PROCESS
        assert list(cluster.in_order(_process, [0])) == [os.getpid()]
        cluster.require(Path("/nowhere"))


def test_without_dask_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterError, match=r"pip install 'ris-bench\[cluster\]'"), open_cluster("local"):
        pass


def test_a_process_meets_its_own_demands_and_no_others(tmp_path: Path) -> None:
    meet(Demands(versions_here(), (mark(tmp_path),)))
    assert unmet(Demands((("numpy", "0.1"), ("fortran", "IV")))) is not None
    with pytest.raises(ClusterError, match=r"numpy \S+ in place of 0\.1, fortran none in place of IV"):
        meet(Demands((("numpy", "0.1"), ("fortran", "IV"))))


def test_marks_of_processes_that_were_killed_go_and_those_of_the_living_stay(tmp_path: Path) -> None:
    (tmp_path / ".cluster-0123456789abcdef").touch()
    first, second = mark(tmp_path), mark(tmp_path)
    assert set(tmp_path.iterdir()) == {first, second}
    unmark(first)
    unmark(second)
    unmark(second)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ClusterError, match=r"cannot be written \(Not a directory\), and workers know a folder by"):
        mark(tmp_path / "file" / "cache")


def test_a_folder_of_the_same_name_without_the_mark_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_demands, "_PATIENCE_S", 0.2)
    with pytest.raises(ClusterError, match="does not see"):
        meet(Demands((), (tmp_path / "mark-of-another",)))


def test_the_source_is_part_of_the_versions() -> None:
    name, digest = versions_here()[-1]
    assert name == "ris_core's source"
    assert len(digest) == 12
    assert Path(cluster_module.__file__).parent == Path(worker_demands.__file__).parent
