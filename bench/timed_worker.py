"""The worker of a cluster that measures a run's cells: one for all of them, alone with them.

They are measured by the code that measures them without a cluster, in a process that the worker starts on its machine
(`bench.running.timed_cells`). The worker does one thing at a time, and waits for it, so it takes no other work
meanwhile.
"""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from ris_core.errors import ClusterError

RESOURCE = "ris_timed"  # offered by the worker that is to measure: `dask worker ... --resources "ris_timed=1"`
OUT, ERR = "out", "err"
_LOOK_S = 0.5
_ENDING_S = 60.0  # an interrupted process ends its own, and writes how far it came


@dataclasses.dataclass(frozen=True, eq=False)
class TimedWorker:
    """A worker that measures.

    Attributes:
        client: The connection to its scheduler.
        address: Where it is.
        name: What it is called there.
    """

    client: Any
    address: str
    name: str

    def ask(self, function: Callable[[], Any]) -> Any:
        """What a function of a module returns there.

        Raises:
            ClusterError: If the worker is lost.
        """
        return self._wait(self._submit(function))

    def measure(self, options: dict[str, Any], tell: Callable[[str, str], None]) -> int:
        """Measure there what is left of a run, and return the exit status of `bench.running.timed_cells`.

        Args:
            options: Fields of `bench.running.run_suite.RunOptions` that fit JSON; paths hold in this process'
                working folder.
            tell: Called with `OUT` or `ERR` and each line that is said there, in a thread of the connection.

        Raises:
            ClusterError: If the worker is lost; what was measured is on disk.
        """
        topic = f"ris-bench-{uuid.uuid4().hex}"
        self.client.subscribe_topic(topic, lambda event: tell(event[1]["stream"], event[1]["line"]))
        future = self._submit(_host, options, str(Path.cwd()), topic)
        try:
            return int(self._wait(future))
        finally:
            with reaching_scheduler():
                future.cancel()  # of one that is done: nothing; else the process over there is told to end
                self.client.unsubscribe_topic(topic)

    def _submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        key = f"{function.__name__}-{uuid.uuid4().hex}"
        return self.client.submit(function, *arguments, workers=[self.address], allow_other_workers=False, key=key)

    def _wait(self, future: Any) -> Any:
        """The result, or an error as soon as the worker is gone; that it measures another run is said."""
        import distributed

        gone = (distributed.CancelledError, distributed.scheduler.KilledWorker)
        is_waiting = True  # for all we know
        with contextlib.suppress(*gone):
            while True:
                try:
                    return future.result(timeout=2 * _LOOK_S)
                except TimeoutError:  # ours, or else the function's own
                    if future.status == "error":
                        return future.result()
                    if self._is_gone():
                        break
                    if is_waiting and self._measures_another(future.key):
                        sys.stderr.write(f"worker {self.name} measures another run: waiting until it has ended ...\n")
                    is_waiting = False  # asked once: a question now would disturb what is measured
        raise ClusterError(
            f"worker {self.name}: is gone, or its scheduler is. Everything measured is kept: go on with --resume; "
            "another worker on such a machine will do."
        )

    def _is_gone(self) -> bool:
        try:
            return self.address not in self.client.nthreads()
        except OSError:  # of a connection that is lost
            return True

    def _measures_another(self, key: str) -> bool:
        under_way: list[str] = []
        with reaching_scheduler():
            under_way = self.client.run(_under_way, workers=[self.address])[self.address]
        return any(_is_order(other) and other != key for other in under_way)


@contextlib.contextmanager
def reaching_scheduler() -> Iterator[None]:
    """For the last words to a scheduler: one that is gone neither hears them nor needs them."""
    with contextlib.suppress(Exception):  # dask raises what it comes upon: closed clients, connections, streams
        yield


def choose_worker(client: Any) -> TimedWorker:
    """The worker that offers the resource ``ris_timed``, else the first by name.

    Of several that offer it, one that measures no other run. Those that offer nothing may share a machine, so that the
    first measures one run after another.
    """
    workers = client.scheduler_info(n_workers=-1)["workers"]  # some versions list five by default
    offering = [address for address, worker in workers.items() if worker["resources"].get(RESOURCE)]
    busy = {address for address, keys in client.processing(offering).items() if any(_is_order(key) for key in keys)}
    free = [address for address in offering if address not in busy]
    address = min(free or offering or workers, key=lambda address: (str(workers[address]["name"]), address))
    return TimedWorker(client, address, str(workers[address]["name"]))


def _is_order(key: object) -> bool:
    """Whether that is the name of an order to measure a run."""
    return str(key).startswith(f"{_host.__name__}-")


def _under_way(dask_worker: Any) -> list[str]:
    """On the worker: names of what it does now."""
    return [str(task.key) for task in dask_worker.state.executing]


def _host(order: dict[str, Any], where: str, topic: str) -> int:
    """On the worker: let a process carry out an order; its exit status.

    It is told to end when nobody waits for it any more: the run was interrupted, or died.
    """
    import distributed

    worker = distributed.get_worker()
    task = worker.get_current_task()
    if not Path(where).is_dir():
        raise ClusterError(
            f"worker {worker.name}: does not see {where}, from where the run was started. Start it in a folder that "
            "all machines share."
        )
    words = [sys.executable, "-m", "bench.running.timed_cells", json.dumps(order)]
    process = subprocess.Popen(
        words, cwd=where, env=_environment(), text=True, errors="replace",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    with _telling(process, lambda stream, line: worker.log_event(topic, {"stream": stream, "line": line})):
        while process.poll() is None and _is_wanted(worker, task):
            time.sleep(_LOOK_S)
        assert process.stdin is not None
        process.stdin.close()  # the process ends with it
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_ENDING_S)
        process.kill()
    return process.wait()


def _is_wanted(worker: Any, task: Any) -> bool:
    """Whether the task that is under way is still waited for: one that is not goes on, but is called cancelled."""
    known = worker.state.tasks.get(task)
    return known is not None and known.state == "executing"


@contextlib.contextmanager
def _telling(process: subprocess.Popen[str], tell: Callable[[str, str], None]) -> Iterator[None]:
    """Tell each line of a process, to the last."""

    def read(stream: str, lines: IO[str]) -> None:
        with lines:
            for line in lines:
                tell(stream, line.rstrip("\n"))

    readers = [
        threading.Thread(target=read, args=(stream, lines), daemon=True)
        for stream, lines in ((OUT, process.stdout), (ERR, process.stderr))
    ]
    for reader in readers:
        reader.start()
    yield
    for reader in readers:
        reader.join(_LOOK_S * 10)  # one that a child of the process holds open ends with that child


def _environment() -> dict[str, str]:
    """The worker's own, without what dask set for it, such as one thread for each library; and the harness' own."""
    import dask

    ours = {"GOMP_SPINCOUNT": "1000", "TQDM_MININTERVAL": "10"}  # see `bench.__main__`
    set_by_dask = dask.config.get("distributed.nanny.pre-spawn-environ")
    kept = {key: value for key, value in os.environ.items() if str(set_by_dask.get(key)) != value}
    return {**ours, **kept}
