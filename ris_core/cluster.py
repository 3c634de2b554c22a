"""Who computes independent pieces of work: this process, or processes here and elsewhere.

A stage cuts its work into pieces whose results are small: what is large goes to the file system that all share, as a
file or folder that appears whole (a *shard*). What a piece returns does not depend on where it is computed, so
neither does what the stage makes.
"""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

from ris_core.errors import ClusterError

Item = TypeVar("Item")
Result = TypeVar("Result")

_LOCAL = re.compile(r"local(?::([1-9]\d{0,3}))?")
_SCHEDULER = re.compile(r"(tcp|tls)://[^\s/]+:\d+")


class Cluster(Protocol):
    """Computes pieces of work.

    Attributes:
        workers: How many pieces are computed at once, as far as known now; 1 or more.
    """

    @property
    def workers(self) -> int:
        """See the class."""

    def in_order(
        self,
        function: Callable[[Item], Result],
        items: Iterable[Item],
        place: Callable[[Item], int] | None = None,
    ) -> Iterator[Result]:
        """Yield ``function(item)`` in the order of ``items``.

        Items are drawn at most twice as many ahead as there are workers. A piece whose worker dies is done again, on
        another or on its successor, so the function must bear being called twice, even at the same time. An error of
        the function comes out as it was raised and ends the work.

        Args:
            function: Of a module, not of a function or class; it and its arguments are pickled.
            items: Small: paths, settings, a few thousand numbers.
            place: A number of each item. Those with the same one are computed by the same worker while it lives,
                so that what the function keeps in its process (an index, say) is found there again.

        Raises:
            ClusterError: If the cluster is lost, if its workers are unfit, or if a piece kills worker after worker.
        """

    def require(self, folder: Path) -> None:
        """Make sure that every worker, also one that comes later, sees this very folder.

        Raises:
            ClusterError: If one does not.
        """


class InProcess:
    """This process, one piece after another."""

    workers = 1

    def in_order(
        self,
        function: Callable[[Item], Result],
        items: Iterable[Item],
        place: Callable[[Item], int] | None = None,
    ) -> Iterator[Result]:
        """Yield ``function(item)`` in the order of ``items``, each when it is asked for."""
        for item in items:
            yield function(item)

    def require(self, folder: Path) -> None:
        """Nothing: what this process sees, it sees."""


IN_PROCESS: Cluster = InProcess()


@contextlib.contextmanager
def open_cluster(address: str | None) -> Iterator[Cluster]:
    """A cluster, closed at the end if it was started here.

    Args:
        address: None: this process. ``local`` or ``local:4``: as many processes on this machine as it has cores, or
            four. ``tcp://host:port``: the scheduler of a dask cluster, which must be trusted, for its messages are
            pickles.

    Raises:
        ClusterError: If the address is none of these, if dask is not installed, if the scheduler does not answer, or
            if its workers are unfit (see `ris_core.worker_demands`).
    """
    if address is None:
        yield IN_PROCESS
        return
    local = _LOCAL.fullmatch(address)
    if local is None and _SCHEDULER.fullmatch(address) is None:
        raise ClusterError(
            f"cluster {address!r}: not an address; allowed: local, local:N (processes on this machine), or a dask "
            "scheduler's such as tcp://10.0.0.1:8786. Correct it, or leave it out to compute in this process."
        )
    from ris_core.dask_cluster import local_cluster, remote_cluster

    opened = remote_cluster(address) if local is None else local_cluster(int(local[1]) if local[1] else None)
    with opened as cluster:
        yield cluster
