"""How a training runs: where, how precisely, how often it saves and is looked at; none of it changes what it means."""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping

import torch

from ris_core.backbone import Backbone
from ris_core.device import device_faults
from ris_core.training.distributed import ALONE, Ranks

COMPILING = ("auto", "on", "off")


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """The options.

    Attributes:
        device: ``"auto"`` (CUDA where it is there), ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        precision: ``"fp32"``, ``"bf16"`` (autocast: weights stay float32), or ``"auto"``: bf16 on CUDA and on CPUs that
            have it in hardware.
        compile: Whether networks and loss are compiled by `torch.compile`: ``"on"``, ``"off"``, or ``"auto"``: on CUDA.
        threads: PyTorch's threads on the CPU; None = as they are set.
        checkpoint_s: Seconds between two savings of the state within an epoch; the end of an epoch saves it too.
        progress: Whether a progress line goes to stderr.
        probe: Called with the teacher's backbone, in evaluation mode; what it returns enters the epoch's log record.
        probe_every: Epochs between two calls of it; the last epoch is always probed.
        ranks: This process among those that train together, each on its own device.
    """

    device: str = "auto"
    precision: str = "auto"
    compile: str = "auto"
    threads: int | None = None
    checkpoint_s: float = 300.0
    progress: bool = False
    probe: Callable[[Backbone], Mapping[str, float]] | None = None
    probe_every: int = 1
    ranks: Ranks = ALONE

    def faults(self) -> list[str]:
        """Everything that is impossible about these options on this machine, one sentence a fault."""
        faults = device_faults(self.ranks.device(self.device), self.precision, self.threads)
        if self.compile not in COMPILING:
            faults.append(f"compile = {self.compile!r} is unknown; known: {', '.join(COMPILING)}.")
        if not self.checkpoint_s > 0:
            faults.append(f"checkpoint_s = {self.checkpoint_s} must be above 0; {math.inf} = never.")
        if self.probe_every < 1:
            faults.append(f"probe_every = {self.probe_every} must be at least 1.")
        return faults

    def probed(self, backbone: Backbone, epoch: int, epochs: int) -> dict[str, float]:
        """What the probe says of a backbone after an epoch, and its seconds ``probe_s``; nothing where none is due."""
        is_due = (epoch + 1) % self.probe_every == 0 or epoch + 1 == epochs
        if self.probe is None or not is_due:
            return {}
        start = time.perf_counter()
        was_training = backbone.training
        found = {name: float(value) for name, value in self.probe(backbone.eval()).items()}
        backbone.train(was_training)
        return {**found, "probe_s": time.perf_counter() - start}

    def compiles_on(self, device: torch.device) -> bool:
        """Whether to compile for that device.

        On two busy CPU cores it took five minutes and made the steps of a four-layer ViT 1.05 to 1.15 times as fast: an
        hour of training would pay for it, so ``"auto"`` leaves CPUs alone.
        """
        return self.compile == "on" or (self.compile == "auto" and device.type == "cuda")


DEFAULT_OPTIONS = TrainOptions()
