"""Who computes stages and who measures; with real workers in `tests.reliability.schedulers`."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench import crew as crew_module
from bench import timed_worker
from bench.__main__ import main
from bench.crew import Crew, open_crew
from bench.report.page import cluster_words
from bench.results import RunRecord, StageNote, read_results, read_run, write_run
from bench.running import run_suite
from bench.running.run_suite import RunOptions, measure_rest
from bench.running.session import Session
from bench.timed_worker import ERR, OUT, TimedWorker, choose_worker
from ris_core.cluster import InProcess
from ris_core.errors import CheckpointError, ClusterError, ComparabilityError, CorpusError

SUITE = """
[corpus]
source = "pictures"
tile_px = 16

[backbone.colour]
model = "colour"
preprocess = "native"

[backbone.gray]
model = "colour"
preprocess = "native"

[engine.exact]

[queries]
count = 5
k = 3

[judge]
per_label = 2
label_depth = 4

[measure]
rounds = 1
processes = 1
modes = ["single"]
"""
MACHINE = {"cpu": {"model": "A processor", "usable_cores": 2}, "memory_gib": 4.0, "load_average": [0.0, 0.0, 0.0]}
HOST = "node17.example"


class Shared(InProcess):
    """A cluster of two workers that computes here, and notes what it was given."""

    workers = 2

    def __init__(self) -> None:
        self.pieces: list[str] = []

    def in_order(self, function: Any, items: Any, place: Any = None) -> Iterator[Any]:
        for item in items:
            self.pieces.append(function.__name__)
            yield function(item)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a corpus and a suite; reports are not drawn."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_suite, "write_report", lambda folder: folder / "index.html")
    monkeypatch.setattr(run_suite, "fingerprint", lambda: MACHINE)
    monkeypatch.delenv("RIS_CACHE", raising=False)
    rng = np.random.default_rng(0)
    for label in ("field", "water"):
        (tmp_path / "pictures" / label).mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(1, 254, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / label / f"{i}.png")
    (tmp_path / "small.toml").write_text(SUITE, encoding="utf-8")
    return tmp_path


@pytest.fixture
def crew(monkeypatch: pytest.MonkeyPatch) -> Crew:
    """Two workers on this machine, as a run finds them."""
    found = Crew(Shared(), (HOST,), 2)

    @contextlib.contextmanager
    def opened(address: str | None, say: object) -> Iterator[Crew]:
        yield found if address else Crew()

    monkeypatch.setattr(run_suite, "open_crew", opened)
    return found


def test_all_stages_are_made_before_the_first_cell_and_the_workers_are_gone_by_then(
    desk: Path, crew: Crew, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster, order = crew.cluster, []
    tell, measure, dismiss = Session._note, Session.measure_build, Crew.dismiss
    monkeypatch.setattr(Session, "_note", lambda self, note: (order.append(note.stage), tell(self, note))[1])
    monkeypatch.setattr(Session, "measure_build", lambda *a: (order.append("cell"), measure(*a))[1])
    monkeypatch.setattr(Crew, "dismiss", lambda self: (order.append("dismissed"), dismiss(self))[1])
    assert main(["run", "small.toml", "--cluster", "local:2", "--run-id", "a"]) == 0
    made = order[: order.index("dismissed")]
    assert made == ["tiles", *["features", "space", "truth"] * 2]
    assert "cell" not in made
    assert order.count("dismissed") == 1
    assert {"make_shard"} < set(cluster.pieces)  # type: ignore[attr-defined]
    assert crew.is_alone
    record = read_run(desk / "reports" / "small" / "a")
    assert record.cluster == {"kind": "local", "workers": 2, "machines": 1}
    assert [n.stage for n in record.stage_notes if "workers" in n.notes] == ["tiles", *["features", "truth"] * 2]
    assert "cluster    2 workers on this machine" in capsys.readouterr().err


@pytest.mark.usefixtures("crew")
def test_only_what_the_chosen_cells_need_is_made(desk: Path) -> None:
    assert main(["run", "small.toml", "--cluster", "local:2", "--run-id", "a", "-k", "gray"]) == 0
    assert {note.backbone for note in read_run(desk / "reports" / "small" / "a").stage_notes} == {"", "gray"}


@pytest.mark.usefixtures("crew")
def test_a_backbone_that_cannot_be_made_fails_in_its_own_cells(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare, asked = Session.prepare, []

    def diverging(self: Session, backbone: str) -> Any:
        asked.append(backbone)
        if backbone == "gray" and asked.count("gray") == 1:  # it would work the second time: it is not tried again
            raise CheckpointError("its training diverged")
        return prepare(self, backbone)

    monkeypatch.setattr(Session, "prepare", diverging)
    assert main(["run", "small.toml", "--cluster", "local:2", "--run-id", "a"]) == 1
    results = read_results(desk / "reports" / "small" / "a")
    assert {(result.backbone, result.status) for result in results} == {("colour", "ok"), ("gray", "failed")}
    assert {result.reason for result in results} == {"", "its training diverged"}


@pytest.mark.usefixtures("crew")
@pytest.mark.parametrize("error", [ClusterError("no worker for 300 s"), CorpusError("it is gone"), OSError(28, "full")])
def test_what_no_cell_would_survive_ends_the_run(
    error: Exception, desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(self: Session, cells: object) -> None:
        raise error

    monkeypatch.setattr(Session, "prepare_ahead", fail)
    assert main(["run", "small.toml", "--cluster", "local:2", "--run-id", "a"]) == 2
    assert str(error.args[-1]) in capsys.readouterr().err
    assert read_run(desk / "reports" / "small" / "a").status == "interrupted"


class Elsewhere(TimedWorker):
    """A worker whose machine is this one, which measures here."""

    def ask(self, function: Any) -> Any:
        return MACHINE

    def measure(self, options: dict[str, Any], tell: Any) -> int:
        fields = json.loads(json.dumps(options))
        paths = {key: Path(fields[key]) for key in ("cache", "reports")}
        tell(OUT, "[1/4] a cell")
        return measure_rest(RunOptions(**{**fields, **paths, "overrides": tuple(fields["overrides"])}))


def test_a_worker_of_a_scheduler_measures_all_cells(
    desk: Path, crew: Crew, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    crew.timed = Elsewhere(None, "tcp://10.0.0.7:1", "clock")
    here = []
    measure = Session.measure_build
    monkeypatch.setattr(Session, "measure_build", lambda self, *a: (here.append(self.cluster), measure(self, *a))[1])
    assert main(["run", "small.toml", "--cluster", "tcp://10.0.0.1:1", "--run-id", "a"]) == 0
    folder = desk / "reports" / "small" / "a"
    assert [result.status for result in read_results(folder)] == ["ok"] * 4
    assert not any(isinstance(cluster, Shared) for cluster in here)
    assert len(here) == 2
    told = capsys.readouterr()
    assert f"2 workers on 1 machine(s): {HOST}" in told.err
    assert "timed on   clock, alone there" in told.err
    assert "[1/4] a cell" in told.out
    assert read_run(folder).status == "ok"
    assert HOST not in (folder / "run.json").read_text(encoding="utf-8")


@pytest.mark.usefixtures("desk", "crew")
def test_a_worker_on_another_machine_does_not_go_on_with_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["run", "small.toml", "--cluster", "local:2", "--run-id", "a", "-k", "gray"]) == 0
    other = {**MACHINE, "cpu": {"model": "Another processor", "usable_cores": 2}}
    options = RunOptions(suite="small.toml", resume="a", cache=Path(".ris_cache"))
    monkeypatch.setattr(run_suite, "fingerprint", lambda: other)
    with pytest.raises(ComparabilityError, match="begun on another machine"):
        measure_rest(options)


@pytest.mark.parametrize(("status", "words"), [(2, "its message stands above"), (-9, "of SIGKILL")])
def test_a_measuring_process_that_ends_badly_is_told_with_how_to_go_on(
    status: int, words: str, desk: Path, crew: Crew, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    crew.timed = Elsewhere(None, "tcp://10.0.0.7:1", "clock")
    monkeypatch.setattr(Elsewhere, "measure", lambda *a: status)
    assert main(["run", "small.toml", "--cluster", "tcp://10.0.0.1:1", "--run-id", "a", "-k", "gray"]) == 2
    told = capsys.readouterr().err
    assert f"worker clock: the process that measured there ended{words if words[0] == ';' else ''}" in told
    assert words in told
    assert "-k gray --cluster tcp://10.0.0.1:1 --resume a" in told
    assert read_run(desk / "reports" / "small" / "a").status == "interrupted"


def client(**workers: dict[str, Any]) -> Any:
    known = {f"tcp://10.0.0.{i}:1": {"name": n, **w} for i, (n, w) in enumerate(workers.items())}
    orders = {address: worker.get("orders", ()) for address, worker in known.items()}
    return SimpleNamespace(
        scheduler_info=lambda **_: {"workers": known},
        processing=lambda addresses: {address: orders[address] for address in addresses},
    )


def test_who_offers_the_resource_measures_else_the_first_by_name() -> None:
    plain: dict[str, Any] = {"resources": {}}
    assert choose_worker(client(b=plain, a=plain, c=plain)).name == "a"
    chosen = choose_worker(client(b=plain, a=plain, d={"resources": {"ris_timed": 1.0}}))
    assert (chosen.name, chosen.address) == ("d", "tcp://10.0.0.2:1")


def test_of_several_that_offer_it_one_that_measures_no_other_run_is_chosen() -> None:
    free: dict[str, Any] = {"resources": {"ris_timed": 1.0}, "orders": ("_read_strips-1",)}
    busy = {**free, "orders": ("_host-1",)}
    plain: dict[str, Any] = {"resources": {}}
    assert choose_worker(client(a=plain, b=busy, c=free)).name == "c"
    assert choose_worker(client(a=plain, b=busy)).name == "b"  # the others may share its machine


@pytest.mark.parametrize(("under_way", "told"), [(["_host-2"], True), (["_host-1"], False), (["_read-3"], False)])
def test_a_run_says_that_it_waits_for_another(
    capsys: pytest.CaptureFixture[str], under_way: list[str], told: bool
) -> None:
    pytest.importorskip("distributed", reason="dask.distributed is an optional extra")
    answers = iter([TimeoutError, TimeoutError, 7])
    asked: list[Any] = []

    def result(timeout: float) -> int:
        answer = next(answers)
        if answer is TimeoutError:
            raise TimeoutError
        return answer

    def run(_: object, workers: list[str]) -> dict[str, list[str]]:
        asked.append(workers)
        return {workers[0]: under_way}

    address = "tcp://10.0.0.1:1"
    fake = SimpleNamespace(run=run, nthreads=lambda: {address: 1})
    future = SimpleNamespace(result=result, status="pending", key="_host-1")
    assert TimedWorker(fake, address, "clock")._wait(future) == 7
    assert ("worker clock measures another run: waiting" in capsys.readouterr().err) == told
    assert asked == [[address]]  # once: more would disturb what is measured


def test_a_scheduler_that_is_gone_is_told_as_such_by_the_worker_that_measures() -> None:
    distributed = pytest.importorskip("distributed", reason="dask.distributed is an optional extra")

    def closed(*_: object, **__: object) -> None:
        raise distributed.client.ClosedClientError("Client is closed.")

    def cancelled(timeout: float) -> None:
        raise distributed.CancelledError("the client is closed")

    future = SimpleNamespace(result=cancelled, done=lambda: True, cancel=closed)
    gone = SimpleNamespace(subscribe_topic=lambda *_: None, submit=lambda *_, **__: future, unsubscribe_topic=closed)
    with pytest.raises(ClusterError, match=r"worker clock: is gone, or its scheduler is\. Everything"):
        TimedWorker(gone, "tcp://10.0.0.1:1", "clock").measure({}, lambda stream, line: None)


def test_a_lost_worker_is_told_with_what_comes_of_it() -> None:
    hear: list[Any] = []
    fake = SimpleNamespace(subscribe_topic=lambda _, heard: hear.append(heard), unsubscribe_topic=lambda _: None)
    told: list[str] = []
    with crew_module._losses_told(fake, "tcp://10.0.0.1:1", told.append):
        hear[0]((0.0, {"action": "remove-worker", "worker": "tcp://10.0.0.2:1"}))
        hear[0]((0.0, {"action": "remove-worker", "worker": "tcp://10.0.0.1:1"}))
        hear[0]((0.0, {"action": "add-worker", "worker": "tcp://10.0.0.3:1"}))
    hear[0]((0.0, {"action": "remove-worker", "worker": "tcp://10.0.0.3:1"}))
    assert told == [
        "a worker of the cluster is gone (tcp://10.0.0.2:1); another does its piece of a stage again",
        "a worker of the cluster is gone (tcp://10.0.0.1:1); no other measures in its place",
    ]


def test_no_address_is_no_crew() -> None:
    with open_crew(None, print) as crew:
        assert crew.is_alone
        assert crew.plan_lines() == []


LIFE = """
import sys
print("one", flush=True)
sys.stdin.read()
print("told to end", file=sys.stderr)
sys.exit(130)
"""


def test_the_process_on_a_worker_ends_when_nobody_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed", reason="dask.distributed is an optional extra")
    task, told = SimpleNamespace(state="executing"), []

    def log_event(topic: str, event: dict[str, str]) -> None:
        told.append((topic, event["stream"], event["line"]))
        task.state = "cancelled"  # the run that waited is gone after the first line

    worker = SimpleNamespace(
        name="clock", get_current_task=lambda: "t", state=SimpleNamespace(tasks={"t": task}), log_event=log_event
    )
    monkeypatch.setattr(distributed, "get_worker", lambda: worker)
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda words, **k: popen([sys.executable, "-c", LIFE], **k))
    assert timed_worker._host({}, str(tmp_path), "topic") == 130
    assert told == [("topic", OUT, "one"), ("topic", ERR, "told to end")]
    with pytest.raises(ClusterError, match=r"worker clock: does not see .*gone, from where the run was started"):
        timed_worker._host({}, str(tmp_path / "gone"), "topic")


def test_what_dask_sets_for_its_workers_does_not_reach_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="dask.distributed is an optional extra")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as dask sets it
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")  # as the worker's user does
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    environment = timed_worker._environment()
    assert environment.keys().isdisjoint({"OMP_NUM_THREADS", "MALLOC_TRIM_THRESHOLD_"})
    assert (environment["OPENBLAS_NUM_THREADS"], environment["GOMP_SPINCOUNT"]) == ("3", "1000")


def record(cluster: dict[str, Any], *workers: int | None) -> RunRecord:
    notes = [
        StageNote("features", name, "folder", "key", False, 1.0, {} if n is None else {"workers": n}).to_json()
        for name, n in zip("ab", workers, strict=False)
    ]
    return RunRecord("r", "s", "s.toml", "", {}, cluster=cluster, stages=notes)


def test_the_report_says_what_was_computed_where_and_names_no_machine(tmp_path: Path) -> None:
    assert cluster_words(record({}, None, None)) == ""
    assert cluster_words(record({}, 4)) == (
        "Stages whose pieces workers computed: features a by 4; all others one process."
    )
    alone = {"kind": "local", "workers": 4, "machines": 1}
    assert "cluster was 4 workers on this machine, which ended before the first" in cluster_words(record(alone, 4, 4))
    many = {"kind": "scheduler", "workers": 1, "machines": 1}
    words = cluster_words(record(many, None))
    assert words.startswith("Stages whose pieces workers computed: none;")
    assert "had 1 worker on 1 machine; one of them measured all cells" in words
    write_run(tmp_path, record(many))
    assert read_run(tmp_path).cluster == many
