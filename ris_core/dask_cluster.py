"""Pieces of work on the workers of a dask cluster, each a process that does one at a time."""

import contextlib
import logging
import os
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, TypeVar

from ris_core.errors import ClusterError
from ris_core.worker_demands import Demands, mark, meet, unmark, unmet, versions_here

Item = TypeVar("Item")
Result = TypeVar("Result")

_CONNECT_S = 10
_PATIENCE_S = 300.0  # without any worker, until it is given up
_LOOK_S = 5  # whether there are workers, while a result is waited for
_AHEAD = 2  # pieces drawn for each worker: one under way, one that waits there

_SETTINGS = {
    "distributed.worker.memory.target": False,  # nothing is spilled: pieces return little
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.scheduler.work-stealing": False,  # a piece goes where its kind was before
    "logging.distributed": "critical",
    "distributed.admin.log-format": "%(message)s",
}


class DaskCluster:
    """Workers of a scheduler; see `ris_core.cluster.Cluster` for what the methods promise.

    Attributes:
        client: The connection, for what needs more than pieces in order.
        address: The scheduler's, for messages.
    """

    def __init__(self, client: Any, address: str) -> None:
        self.client = client
        self.address = address
        self._demands = Demands(versions_here(), start=Path.cwd())
        self._places: dict[int, str] = {}

    @property
    def workers(self) -> int:
        """How many pieces are computed at once now."""
        return max(1, len(self.addresses()))

    def addresses(self) -> list[str]:
        """Addresses of the workers that are there now, in ascending order.

        Raises:
            ClusterError: If the scheduler is lost.
        """
        with self._told():
            return sorted(self.client.nthreads())

    def require(self, folder: Path) -> None:
        """Make sure that every worker, also one that comes later, sees this very folder."""
        if any(path.parent == folder.resolve() for path in self._demands.marks):
            return
        self._demands = replace(self._demands, marks=(*self._demands.marks, mark(folder)))
        self.check()

    def check(self) -> None:
        """Refuse workers that do not meet the demands.

        Raises:
            ClusterError: If there are such; all are named.
        """
        self._wait_for_workers()
        threads = [f"{worker} runs {n} pieces at once" for worker, n in self.client.nthreads().items() if n != 1]
        try:
            lacks = self.client.run(unmet, self._demands)
        except ModuleNotFoundError as error:
            raise ClusterError(
                f"cluster {self.address}: a worker cannot import {error.name}. Install ris-bench there as it is here, "
                "in the same version."
            ) from error
        except OSError as error:
            raise ClusterError(
                f"cluster {self.address}: a worker was lost while it was asked what it has ({error}). Run again: "
                "finished work is kept."
            ) from error
        faults = [f"{worker} {lack}" for worker, lack in sorted(lacks.items()) if lack is not None]
        faults += [f"{text}. Start it with --nthreads 1" for text in threads]
        if faults:
            raise ClusterError(f"cluster {self.address}: " + "; ".join(faults) + ".")

    def close(self) -> None:
        """Remove the marks by which workers recognised the folders."""
        for path in self._demands.marks:
            unmark(path)

    def in_order(
        self,
        function: Callable[[Item], Result],
        items: Iterable[Item],
        place: Callable[[Item], int] | None = None,
    ) -> Iterator[Result]:
        """Yield ``function(item)`` in the order of ``items``, computed by the workers."""
        waiting: deque[Any] = deque()
        try:
            ahead = _AHEAD * self.workers
            for item in items:
                waiting.append(self._submit(function, item, None if place is None else place(item)))
                if len(waiting) >= ahead:
                    yield self._result(waiting.popleft())
                    ahead = _AHEAD * self.workers
            while waiting:
                yield self._result(waiting.popleft())
        finally:
            if waiting:
                with contextlib.suppress(Exception):  # of a scheduler that is lost: then nothing runs for us any more
                    self.client.cancel(list(waiting), force=True)

    def _submit(self, function: Callable[[Item], Result], item: Item, place: int | None) -> Any:
        home = None if place is None else self._home(place)
        with self._told():
            return self.client.submit(
                _piece,
                self._demands,
                function,
                item,
                pure=False,
                workers=home,
                allow_other_workers=home is not None,
                key=f"{function.__name__}-{os.urandom(8).hex()}",
            )

    def _home(self, place: int) -> str:
        """The worker that this place had before, while it lives, or else the one whose turn its number is."""
        while not (alive := self.addresses()):
            self._wait_for_workers()
        if self._places.get(place) not in alive:
            self._places[place] = alive[place % len(alive)]
        return self._places[place]

    def _result(self, future: Any) -> Any:
        """The result of a piece, waited for as long as there are workers."""
        with self._told():
            while True:
                try:
                    return future.result(timeout=_PATIENCE_S if future.done() else _LOOK_S)
                except TimeoutError:  # ours, or else the function's own
                    if future.status == "error":
                        return future.result()
                    self._wait_for_workers()

    def _wait_for_workers(self) -> None:
        start, is_told = time.monotonic(), False
        while not self.addresses():
            if time.monotonic() - start > _PATIENCE_S:
                raise ClusterError(
                    f"cluster {self.address}: no worker for {_PATIENCE_S:.0f} s. Start some with `dask worker "
                    f"{self.address} --nthreads 1 --nworkers N`, then run again: finished work is kept."
                )
            if not is_told:
                sys.stderr.write(f"waiting for a worker of {self.address} ...\n")
                is_told = True
            time.sleep(0.5)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Tell what can happen to a cluster in our words."""
        import distributed

        try:
            yield
        except distributed.scheduler.KilledWorker as error:
            raise ClusterError(
                f"cluster {self.address}: {error.allowed_failures + 1} workers died one after another of the same "
                f"piece of work, the last of them {error.last_worker.address}. Probably it needs more memory than "
                "they have: give them more, then run again. Finished work is kept."
            ) from error
        except (distributed.CancelledError, distributed.comm.CommClosedError, OSError, RuntimeError) as error:
            if self.client.status == "running" and not isinstance(error, distributed.CancelledError):
                raise  # the function's own
            raise ClusterError(
                f"cluster {self.address}: the scheduler is gone ({error}). Start it and its workers again, then run "
                "again: finished work is kept."
            ) from error


def _piece(demands: Demands, function: Callable[[Item], Result], item: Item) -> Result:
    """A piece of work, on a worker."""
    meet(demands)
    return function(item)


@contextlib.contextmanager
def local_cluster(workers: int | None) -> Iterator[DaskCluster]:
    """Processes on this machine; None = one a core. They and what they wrote for themselves are gone at the end."""
    with _dask(), tempfile.TemporaryDirectory(prefix="ris-cluster-") as folder:
        import distributed

        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        n = cores if workers is None else workers
        with (
            _settings(
                {"distributed.nanny.pre-spawn-environ": _environment(max(1, cores // n)), "temporary-directory": folder}
            ),
            _processes(n, folder) as processes,
            distributed.Client(processes, set_as_default=False) as client,
        ):
            yield from _opened(DaskCluster(client, f"local:{n}"))


def _processes(n: int, folder: str) -> Any:
    """Dask's own cluster of ``n`` processes. Ctrl-C does not reach them: this process hears it, and ends them."""
    import distributed

    resource_tracker.ensure_running()  # now: it lifts the mask of the thread that starts it
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited by threads, and by their processes
    try:
        return distributed.LocalCluster(
            n_workers=n,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",  # None would take port 8787, or warn that another has it
            scheduler_kwargs={"dashboard": False},
            memory_limit=None,
            local_directory=folder,
            silence_logs=logging.CRITICAL,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


@contextlib.contextmanager
def remote_cluster(address: str) -> Iterator[DaskCluster]:
    """The workers of a scheduler that someone else started, and stops.

    Raises:
        ClusterError: If it does not answer.
    """
    with _dask(), _settings({"distributed.comm.timeouts.connect": f"{_CONNECT_S}s"}):
        import distributed

        try:
            client = distributed.Client(address, timeout=_CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ClusterError(
                f"cluster {address}: no scheduler answers there ({str(error) or type(error).__name__}). Start one with "
                "`dask scheduler`, and take the address that it prints."
            ) from error
        with client:
            yield from _opened(DaskCluster(client, address))


def _opened(cluster: DaskCluster) -> Iterator[DaskCluster]:
    try:
        cluster.check()
        yield cluster
    finally:
        cluster.close()


@contextlib.contextmanager
def _dask() -> Iterator[None]:
    try:
        import distributed  # noqa: F401
    except ModuleNotFoundError as error:
        raise ClusterError(
            f"a cluster needs dask.distributed ({error}). Install it: pip install 'ris-bench[cluster]'."
        ) from error
    yield


@contextlib.contextmanager
def _settings(more: Mapping[str, Any]) -> Iterator[None]:
    """Dask's settings, which local workers inherit, and its log kept from our output."""
    import dask

    log = logging.getLogger("distributed")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with dask.config.set({**_SETTINGS, **more}):
            yield
    finally:
        log.setLevel(level)


def _environment(threads: int) -> dict[str, Any]:
    """Of a local worker, before libraries are loaded: its share of the cores, and what `bench.__main__` sets."""
    return {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "1000"),
        "TQDM_MININTERVAL": os.environ.get("TQDM_MININTERVAL", "10"),
    }
