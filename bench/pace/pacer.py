"""What lives in the process that is measured: one stage done in one way, timed, and what else is known of it."""

import dataclasses

from bench.measuring.clock import Rounds
from bench.measuring.process_memory import read_memory, reset_peak
from bench.measuring.threads import limited_threads
from bench.pace.ways import WAYS
from bench.pace.work import EXTRACT, FP32, TILES, Work, WorkOrder


@dataclasses.dataclass(frozen=True)
class Paced:
    """What one process measured.

    Attributes:
        times_s: Seconds of each round.
        prepare_s: Seconds that making the network's input of a round takes alone; None where there is no network.
        precision: ``"fp32"``, ``"fp16"`` or ``"bf16"``.
        flops_per_tile: Of the network, see `ris_core.training.flops`; None where there is none.
        peak_flops: FLOP/s of a large product of matrices, in that precision; None likewise.
        peak_rss_bytes: Most memory that the process held; None where the system does not tell.
        peak_device_bytes: Most memory that torch held on the GPU; None on the CPU.
        threads_seen: Pools and their threads while the clock ran.
    """

    times_s: list[float]
    prepare_s: float | None
    precision: str
    flops_per_tile: int | None
    peak_flops: float | None
    peak_rss_bytes: int | None
    peak_device_bytes: int | None
    threads_seen: dict[str, int]


class Pacer:
    """One stage in one way; its methods are what a process can be asked."""

    def __init__(self, order: WorkOrder) -> None:
        import torch  # here, so that the thread limits below find it

        self._order, self._torch = order, torch
        self._can_reset = reset_peak()
        with limited_threads(order.threads):
            self._work: Work = WAYS[order.way].load()[order.stage](order)

    def measure(self, rounds: Rounds) -> Paced:
        """The rounds under the clock, and what is asked afterwards."""
        with limited_threads(self._order.threads) as seen:
            times_s = self._work.run(rounds.warmup + rounds.rounds)[rounds.warmup :]
            memory = read_memory()
            on_gpu = self._order.device == "cuda"
            device_bytes = int(self._torch.cuda.max_memory_allocated()) if on_gpu else None
            flops, peak = self._flops()
            return Paced(
                times_s=times_s,
                prepare_s=self._work.prepare(),
                precision="" if self._order.stage == TILES else self._work.precision,
                flops_per_tile=flops,
                peak_flops=peak,
                peak_rss_bytes=memory.peak_rss_bytes if self._can_reset else None,
                peak_device_bytes=device_bytes,
                threads_seen=seen,
            )

    def _flops(self) -> tuple[int | None, float | None]:
        """FLOPs of a tile, and FLOP/s of this device."""
        from ris_core.backbone import build_backbone
        from ris_core.preprocess import PREPROCESSING
        from ris_core.training.flops import count_flops, peak_flops, training_flops

        order = self._order
        if order.stage == TILES:
            return None, None
        peak = peak_flops(self._torch.device(order.device), self._work.precision != FP32)
        if order.stage != EXTRACT:
            return training_flops(order.spec, order.steady_recipe(1)), peak
        side_px = PREPROCESSING[order.spec.preprocess].input_px(order.pixels().shape[1])
        return count_flops(build_backbone(order.spec), side_px), peak
