"""One extraction of features under the clock, and what it cost."""

import time
from pathlib import Path
from typing import Any

import torch

from bench.measuring.process_memory import read_memory, reset_peak
from bench.stages.base import Cut
from ris_core.backbone import Backbone, BackboneSpec, build_backbone
from ris_core.class_token import class_token_only
from ris_core.cluster import IN_PROCESS, Cluster
from ris_core.device import threads
from ris_core.feature_batches import ExtractOptions, plan_extraction
from ris_core.features import PROGRESS, extract_features
from ris_core.preprocess import PREPROCESSING, WHOLE
from ris_core.records import Features, Tiles
from ris_core.sharded_extraction import ExtractWork, can_share, extract_on_workers
from ris_core.space import norm_statistics
from ris_core.tiling.image_folder import ImageFolder
from ris_core.training.flops import count_flops, peak_flops
from ris_core.whole_images import WholeImages

_MB = 1e6
_UNKNOWN = dict.fromkeys(("extract_s", "tiles_per_s", "mfu", "extract_peak_mb"))


def extract_timed(
    cut: Cut,
    spec: BackboneSpec,
    out: Path,
    options: ExtractOptions,
    progress: bool = False,
    cluster: Cluster = IN_PROCESS,
) -> dict[str, Any]:
    """Features of all tiles, written to ``out``, and what is noted of them.

    Args:
        cut: What is described: its tiles, or, where the network reads them whole, its images.
        spec: The network.
        out: See `ris_core.features.extract_features`.
        options: How it computes.
        progress: Whether a progress line goes to stderr.
        cluster: Who computes. Images that lie in several archives are described by this process.

    Returns:
        Among others ``flops``: of the network's forward pass of one tile, None of whole images. What follows is None
        where an earlier attempt had begun, or where workers computed, of which ``workers`` tells the number and
        ``workers_s`` the seconds: ``extract_s``; ``tiles_per_s``; ``mfu``: share of the device's FLOP/s that the passes
        used, without what `class_token_only` leaves out; None without a network; ``extract_peak_mb``: most memory
        meanwhile: what torch held on the GPU; without one the process, with Python, its libraries, what earlier work
        left and the pixels that it maps; None where the system does not tell.

    Raises:
        CheckpointError, CorpusError, SuiteError: See `ris_core.features.extract_features`.
        ClusterError: See `ris_core.cluster.Cluster.in_order`.
    """
    backbone = build_backbone(spec)
    images = _whole_images(cut.source, cut.tiles, backbone) if cut.source and spec.preprocess == WHOLE else None
    flops = (None, None) if images is not None else _count(backbone, cut.tiles.size_px)  # of images no two may be alike
    work = ExtractWork(cut.folder / "pixels.npy", options, images)
    if cluster is IN_PROCESS or not can_share(images):
        features, cost = _extract_here(cut.tiles, backbone, work, out, progress, flops[1])
    else:
        start = time.perf_counter()
        features = extract_on_workers(cluster, cut.tiles, backbone, work, out, progress)
        cost = {**_UNKNOWN, "workers": cluster.workers, "workers_s": time.perf_counter() - start}
    norm_mean, norm_std = norm_statistics(features)
    return {
        "n": len(features),
        "d": features.values.shape[1],
        "parameters": backbone.parameters_count,
        "flops": flops[0],
        **cost,
        "norm_mean": norm_mean,
        "norm_std": norm_std,
    }


def _extract_here(
    tiles: Tiles, backbone: Backbone, work: ExtractWork, out: Path, progress: bool, flops: int | None
) -> tuple[Features, dict[str, Any]]:
    """Features by this process, and what they cost if it made all of them; ``flops``: what a tile needs, if known."""
    options, images = work.options, work.images
    plan = plan_extraction(options, len(tiles), has_one_shape=images is None)
    is_continued = (out / PROGRESS).exists()
    knows_peak = _forget_peak(plan.device)
    start = time.perf_counter()
    features = extract_features(tiles, backbone, out=out, options=options, progress=progress, images=images)
    seconds = time.perf_counter() - start
    peak_mb = _peak_mb(plan.device) if knows_peak else None
    if is_continued:
        return features, dict(_UNKNOWN)
    with threads(options.threads):
        share = flops * len(tiles) / seconds / peak_flops(plan.device, plan.use_bf16) if flops else None
    rates = {"extract_s": seconds, "tiles_per_s": len(features) / seconds, "mfu": share, "extract_peak_mb": peak_mb}
    return features, rates


def _whole_images(source: Path | ImageFolder, tiles: Tiles, backbone: Backbone) -> WholeImages:
    return WholeImages.of_tiles(source, tiles.table, backbone.spec.whole_px, backbone.patch_px or 1)


def _count(backbone: Backbone, size_px: int) -> tuple[int, int]:
    """FLOPs of the forward pass of a tile, and those of them that extraction needs."""
    side = PREPROCESSING[backbone.spec.preprocess].input_px(size_px)
    whole = count_flops(backbone, side)
    with class_token_only(backbone):
        return whole, count_flops(backbone, side)


def _forget_peak(device: torch.device) -> bool:
    """Let the peak of memory begin anew from what is held now; whether the system can do that."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    return reset_peak()


def _peak_mb(device: torch.device) -> float | None:
    held = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else read_memory().peak_rss_bytes
    return None if held is None else held / _MB
