"""Who computes a run's stages, and who measures its cells: this process, or workers of a cluster.

Cells are timed, so nothing else may run beside them. Processes on this machine end before the first cell, which this
process measures as ever. Of a scheduler's workers, one measures all cells and does nothing else meanwhile.
"""

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator
from typing import Any

from bench.timed_worker import TimedWorker, choose_worker, reaching_scheduler
from ris_core.cluster import IN_PROCESS, Cluster, open_cluster
from ris_core.dask_cluster import DaskCluster

LOCAL, SCHEDULER = "local", "scheduler"
_SHOWN_HOSTS = 8


@dataclasses.dataclass(eq=False)
class Crew:
    """Who works for a run.

    Attributes:
        cluster: Who computes stages; this process once the crew is dismissed.
        hosts: Names or addresses of the cluster's machines; for people, never for files. Empty without a cluster.
        workers: How many processes the cluster has at the beginning.
        timed: The worker that measures the cells; None: this process does.
    """

    cluster: Cluster = IN_PROCESS
    hosts: tuple[str, ...] = ()
    workers: int = 0
    timed: TimedWorker | None = None
    _opened: contextlib.ExitStack = dataclasses.field(default_factory=contextlib.ExitStack, repr=False)

    @property
    def is_alone(self) -> bool:
        """Whether this process does everything."""
        return self.cluster is IN_PROCESS

    def dismiss(self) -> None:
        """Let the workers go: processes on this machine end."""
        self.cluster = IN_PROCESS
        self._opened.close()

    def facts(self) -> dict[str, Any]:
        """What ``run.json`` says of it: numbers, and no name of a machine."""
        kind = LOCAL if self.timed is None else SCHEDULER
        return {"kind": kind, "workers": self.workers, "machines": len(self.hosts)}

    def plan_lines(self) -> list[str]:
        """What the plan of a run says of it; nothing where this process does everything."""
        if self.is_alone:
            return []
        if self.timed is None:
            return [f"  cluster    {_counted(self.workers)} on this machine; cells are measured when these have ended"]
        shown = ", ".join(self.hosts[:_SHOWN_HOSTS]) + (", ..." if len(self.hosts) > _SHOWN_HOSTS else "")
        return [
            f"  cluster    {_counted(self.workers)} on {len(self.hosts)} machine(s): {shown}",
            f"  timed on   {self.timed.name}, alone there",
        ]


@contextlib.contextmanager
def open_crew(address: str | None, say: Callable[[str], None]) -> Iterator[Crew]:
    """A crew by its cluster's address; what was started for it ends with it.

    Args:
        address: See `ris_core.cluster.open_cluster`.
        say: Told of workers that are lost.

    Raises:
        ClusterError: If there is no such cluster, or its workers are unfit.
    """
    with contextlib.ExitStack() as opened:
        cluster = opened.enter_context(open_cluster(address))
        if not isinstance(cluster, DaskCluster):
            yield Crew()
            return
        client = cluster.client
        workers = client.scheduler_info(n_workers=-1)["workers"]  # some versions list five by default
        hosts = tuple(sorted({worker["host"] for worker in workers.values()}))
        timed = None if str(address).startswith(LOCAL) else choose_worker(client)
        opened.enter_context(_losses_told(client, None if timed is None else timed.address, say))
        yield Crew(cluster, hosts, len(workers), timed, opened)


@contextlib.contextmanager
def _losses_told(client: Any, timed: str | None, say: Callable[[str], None]) -> Iterator[None]:
    """Say when a worker is gone; the scheduler hands what it was doing to another, but for what is timed."""
    is_over = threading.Event()

    def hear(event: tuple[float, Any]) -> None:
        told = event[1]
        if isinstance(told, dict) and told.get("action") == "remove-worker" and not is_over.is_set():
            again = (
                "no other measures in its place"
                if told["worker"] == timed
                else "another does its piece of a stage again"
            )
            say(f"a worker of the cluster is gone ({told['worker']}); {again}")

    client.subscribe_topic("all", hear)
    try:
        yield
    finally:
        is_over.set()  # workers that are told to end are no loss
        with reaching_scheduler():
            client.unsubscribe_topic("all")


def _counted(workers: int) -> str:
    return f"{workers} worker{'' if workers == 1 else 's'}"
