"""Tiles + backbone -> features by the workers of a cluster: each reads and describes shards of tiles.

No pixel and no feature goes through the network: a worker maps the tiles' file, and leaves a file of features beside
the result, which takes it over in order. A network is built once a worker and kept until there is other work.
"""

import atexit
import contextlib
import dataclasses
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ris_core.backbone import PRETRAINED, RANDOM, Backbone, BackboneSpec, build_backbone
from ris_core.cluster import Cluster
from ris_core.device import threads
from ris_core.errors import CheckpointError, SuiteError
from ris_core.feature_batches import (
    Describe,
    ExtractOptions,
    ExtractPlan,
    feature_shards,
    image_shards,
    passing,
    plan_extraction,
    ready,
)
from ris_core.features import extract_into, identify_work, refuse_options, refuse_work, weights_digest
from ris_core.records import Features, Tiles
from ris_core.shards import has_shard, map_rows, save_shard, shard_folder
from ris_core.tiling.image_folder import ImageFolder
from ris_core.whole_images import WholeImages

_READY: dict[str, tuple[Describe, contextlib.ExitStack]] = {}  # of this process: the network of its latest work


@dataclasses.dataclass(frozen=True, eq=False)
class ExtractWork:
    """What is described, as others on the same file system find it.

    Attributes:
        pixels: ``pixels.npy`` of the tiles.
        options: How to compute. ``threads``: of each worker; None = as PyTorch is set there.
        images: What is described in place of the pixels, one a tile; see `can_share`.
    """

    pixels: Path
    options: ExtractOptions
    images: WholeImages | None = None

    def part(self, start: int, stop: int) -> "ExtractWork":
        """The same of some tiles: only what it takes to read their images is sent to a worker."""
        whole = self.images
        if whole is None:
            return self
        source, names = whole.folder.source.resolve(), whole.names[start:stop]
        folder = ImageFolder(source, names, (0,) * len(names))  # of sizes nothing is read here
        return dataclasses.replace(
            self, images=dataclasses.replace(whole, folder=folder, names=names, boxes=whole.boxes[start:stop])
        )


@dataclasses.dataclass(frozen=True, eq=False)
class _Shard:
    """Some rows for a worker, which owes it the very plan and weights that all others have."""

    work: ExtractWork
    spec: BackboneSpec
    weights: str
    plan: ExtractPlan
    identity: dict[str, Any]
    start: int
    stop: int
    out: Path


def can_share(images: WholeImages | None) -> bool:
    """Whether workers can read these images by themselves: not those of archives that are read by their index."""
    return images is None or type(images.folder) is ImageFolder


def extract_on_workers(
    cluster: Cluster, tiles: Tiles, backbone: Backbone, work: ExtractWork, out: Path, progress: bool = False
) -> Features:
    """`ris_core.features.extract_features`, computed by the workers of a cluster.

    The same numbers, bit for bit, as one process computes with the same options on the same kind of device with the
    same number of threads. What is finished is kept, by rows that were taken over and by shards that were not yet.

    Args:
        cluster: Who computes.
        tiles: What is described.
        backbone: Built from its spec; each worker builds it again, and its weights must be the same.
        work: How the workers find it.
        out: As `ris_core.features.extract_features`; the workers must see it, too.
        progress: Whether a progress line goes to stderr.

    Raises:
        CorpusError, CheckpointError, ArtifactError: As `ris_core.features.extract_features`.
        SuiteError: The same; and if workers would compute in different ways.
        ClusterError: See `ris_core.cluster.Cluster.in_order`.
    """
    refuse_work(tiles, backbone.spec)
    cluster.require(out.parent)
    (plan,) = cluster.in_order(_plan_here, [(work.options, len(tiles), work.images is None)])
    identity = identify_work(tiles, backbone, plan, work.images)
    folder = shard_folder(out, identity["fingerprint"]).resolve()
    spec = backbone.spec
    if spec.weights not in (RANDOM, PRETRAINED):
        spec = dataclasses.replace(spec, weights=str(Path(spec.weights).resolve()))
    work = dataclasses.replace(work, pixels=work.pixels.resolve())
    weights = weights_digest(backbone)

    def shards(done: int) -> Iterator[np.ndarray]:
        spans = (
            (start, min(start + plan.shard_tiles, len(tiles))) for start in range(done, len(tiles), plan.shard_tiles)
        )
        parts = (
            _Shard(work.part(*span), spec, weights, plan, identity, *span, folder / f"{span[0]}.npy") for span in spans
        )
        for path in cluster.in_order(_describe_shard, parts):
            yield map_rows(path)
            path.unlink()  # who asks for the next one has taken this one over

    return extract_into(out, tiles, identity, shards, progress)


def _plan_here(asked: tuple[ExtractOptions, int, bool]) -> ExtractPlan:
    """What options come to for so many tiles, or images of many shapes, on the machine where this is called."""
    options, n, has_one_shape = asked
    try:
        refuse_options(options, has_one_shape=has_one_shape)
    except SuiteError as error:
        raise SuiteError(f"{platform.node()}: {error}") from error
    return plan_extraction(options, n, has_one_shape=has_one_shape)


def _describe_shard(shard: _Shard) -> Path:
    """The file of a shard's features, written unless it is there."""
    work, plan, n = shard.work, shard.plan, shard.stop - shard.start
    if has_shard(shard.out, (n, shard.identity["d"]), np.float32):
        return shard.out
    with threads(work.options.threads), passing(shard.spec.model, plan):
        pixels = map_rows(work.pixels, shard.start, shard.stop)
        describe = _network(shard, pixels.shape[1])
        if work.images is None:
            (features,) = feature_shards(pixels, describe, plan)
        else:
            (features,) = image_shards(work.images, describe, plan, n)
    save_shard(shard.out, features)
    return shard.out


@atexit.register  # while the interpreter still has what that needs
def _forget() -> None:
    """Put away the network that is kept."""
    for _, stack in _READY.values():
        stack.close()
    _READY.clear()


def _network(shard: _Shard, size_px: int) -> Describe:
    """The function that describes tiles, made unless the last shard was of the same work."""
    key = shard.identity["fingerprint"]
    if key not in _READY:
        _forget()
        found = _plan_here((shard.work.options, shard.identity["n"], shard.work.images is None))
        if found != shard.plan:
            raise SuiteError(
                f"extraction: {platform.node()} computes as '{found.settings}', another worker as "
                f"'{shard.plan.settings}' (device, bf16, backend, compiled, batch, tiles a shard). Set device and "
                "precision, so that all do the same, or take workers of one kind."
            )
        backbone = build_backbone(shard.spec)
        if weights_digest(backbone) != shard.weights:
            raise CheckpointError(
                f"{shard.spec.weights}: gives other weights on {platform.node()} than where the run was started. "
                "Give the run a file of weights, one that all machines see."
            )
        stack = contextlib.ExitStack()
        _READY[key] = stack.enter_context(ready(backbone, shard.plan, size_px)), stack
    return _READY[key][0]
