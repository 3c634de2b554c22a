"""Processes that train one network together, one device each, as ``torchrun`` starts them."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import torch
from timm.layers import convert_sync_batchnorm
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from ris_core.errors import ClusterError, SuiteError

_PATIENCE = timedelta(hours=1)  # how long one process waits for another, which may write to a slow disk meanwhile


@dataclasses.dataclass(frozen=True)
class Ranks:
    """This process among those that train together.

    Attributes:
        rank: Its number, from 0; the first one writes and tells.
        size: How many they are.
        local_rank: Its number on its machine: that of its GPU.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this process writes and tells."""
        return self.rank == 0

    def device(self, name: str) -> str:
        """Name of this process' own device where ``name`` is ``"auto"`` or ``"cuda"`` and they are several."""
        is_gpu = name == "cuda" or (name == "auto" and torch.cuda.is_available())
        return f"cuda:{self.local_rank}" if self.size > 1 and is_gpu else name

    def part(self, batch: int) -> slice:
        """This process' share of a batch.

        Raises:
            SuiteError: If the batch does not divide.
        """
        if batch % self.size:
            raise SuiteError(
                f"batch = {batch} does not divide among {self.size} processes. "
                f"Set batch = {max(batch // self.size, 1) * self.size}, or start another number of them."
            )
        share = batch // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def mean(self, values: Tensor) -> Tensor:
        """The mean of all processes' values, which are overwritten."""
        if self.size > 1:
            distributed.all_reduce(values)
            values /= self.size
        return values

    def agree(self, value: Any) -> Any:
        """The first process' value, for which the others wait; all of them call it."""
        values = [value]
        if self.size > 1:
            distributed.broadcast_object_list(values, src=0, device=torch.device("cpu"))
        return values[0]

    def share_statistics(self, network: nn.Module, device: torch.device) -> None:
        """Let batch normalisation, where the network has it, look at the batches of all processes; in place.

        Raises:
            SuiteError: If it would have to on the CPU, for which PyTorch cannot.
        """
        if self.size == 1 or not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in network.modules()):
            return
        if device.type != "cuda":
            raise SuiteError(
                f"a network with batch normalisation trains on {self.size} processes on CUDA devices only. "
                "Start one process, or choose a network without, such as a ViT."
            )
        convert_sync_batchnorm(network)

    def averaging(self, network: nn.Module, device: torch.device) -> nn.Module:
        """The network, whose gradients after ``backward`` are the means of all processes'."""
        if self.size == 1:
            return network
        return DistributedDataParallel(
            network,
            device_ids=[device] if device.type == "cuda" else None,
            gradient_as_bucket_view=True,
            static_graph=True,  # parameters that no crop reaches have no gradient, as in one process
        )


ALONE = Ranks()


def find_ranks() -> Ranks:
    """This process among those that ``torchrun`` started; alone where it did not."""
    alone = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0}
    return Ranks(*(int(os.environ.get(name, value)) for name, value in alone.items()))


@contextlib.contextmanager
def connected(ranks: Ranks) -> Iterator[None]:
    """Within it the processes can reach each other.

    After an error nothing is said to the others: this process ends, and ``torchrun`` ends them.

    Raises:
        SuiteError: If this machine has fewer GPUs than processes.
        ClusterError: If another process is gone.
    """
    if ranks.size == 1:
        yield
        return
    gpus = torch.cuda.device_count()
    if gpus:
        if ranks.local_rank >= gpus:
            raise SuiteError(
                f"torchrun started more processes here than there are CUDA devices: --nproc-per-node {gpus}."
            )
        torch.cuda.set_device(ranks.local_rank)
    distributed.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", timeout=_PATIENCE)
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, distributed.DistError) and "gloo" not in str(error):
            raise
        raise ClusterError(
            f"another process of this training is gone ({str(error).splitlines()[0][:200]}). Its own message tells "
            "why; the same command goes on from the last state that was kept."
        ) from error
    distributed.destroy_process_group()
