"""Tiles + backbone -> local descriptors: the strongest places of the network's map, projected and stored compactly."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from ris_core.artifacts import disk_error, new_array
from ris_core.attention import last_attention
from ris_core.backbone import Backbone, BackboneSpec, build_backbone, evaluating
from ris_core.device import threads
from ris_core.errors import CheckpointError, CorpusError, SuiteError
from ris_core.feature_batches import DEFAULT_OPTIONS, ExtractOptions, plan_extraction
from ris_core.local_detector import LocalDetector, load_detector
from ris_core.local_sets import VALUES, LocalSets, LocalSpec
from ris_core.preprocess import prepare
from ris_core.records import Features, Tiles
from ris_core.space import fit_space

Project = Callable[[np.ndarray], np.ndarray]

_SAMPLE_TILES = 1000  # whose descriptors say what the projection is
_ROTATIONS = 30


def extract_local(
    tiles: Tiles,
    backbone: Backbone | BackboneSpec,
    spec: LocalSpec,
    out: Path,
    fit_rows: np.ndarray | None = None,
    options: ExtractOptions = DEFAULT_OPTIONS,
) -> LocalSets:
    """The strongest local descriptors of every tile, in the tiles' order.

    A map of (c, rows, cols) gives rows * cols descriptors. They are scaled to unit length, projected to whitened
    principal components that a sample of tiles says, and scaled again. Memory: a batch of maps, and twice the sample
    where descriptors of d dimensions are projected: 8000 ``count`` d bytes of a thousand tiles.

    Args:
        tiles: What to describe.
        backbone: The network, or what to build it from.
        spec: Which descriptors, and how they are kept.
        out: Folder for ``local.npy``: (n, count, c) float16, or (n, count, c / 8) uint8 where they are binary.
        fit_rows: Rows of the tiles that the projection may know; None: all. A thousand of them, evenly spaced, are
            taken.
        options: How to compute: batch, device and threads; always in float32.

    Raises:
        SuiteError: If the spec or an option is impossible.
        CorpusError: If there are no tiles.
        CheckpointError: If the network has no such map, or no attention where that is asked for.
        SearchError: If there are more components than dimensions or descriptors in the sample.
        ArtifactError: If the disk cannot take them.

    Source:
        Suma et al. 2024, AMES, arXiv:2408.03282, section 4: the strongest patch tokens or CNN activations as a set.
        Differs: where their trained detector is not named, strength is a token's norm, as their code falls back to, or
        the class token's attention; without their trained mapping, dimensions are reduced by PCA (Jégou and Chum
        2012), and signs come after the rotation of ITQ (Gong and Lazebnik 2011).
    """
    if faults := spec.faults() + options.faults():
        raise SuiteError("local descriptors: " + " ".join(faults))
    if len(tiles) == 0:
        raise CorpusError("there are no tiles to describe. Check the corpus and min_coverage.")
    network = build_backbone(backbone) if isinstance(backbone, BackboneSpec) else backbone
    plan = plan_extraction(options, len(tiles))
    detector = load_detector(Path(spec.detector)).to(plan.device) if spec.detector else None
    rows = np.arange(len(tiles)) if fit_rows is None else np.asarray(fit_rows)
    sample = rows[np.linspace(0, len(rows) - 1, min(len(rows), _SAMPLE_TILES)).astype(int)]
    with threads(options.threads), evaluating(network, plan.device):

        def describe(chosen: np.ndarray) -> Iterator[np.ndarray]:
            for start in range(0, len(chosen), plan.batch):
                batch = np.asarray(tiles.pixels[chosen[start : start + plan.batch]])
                yield strongest_tokens(network, batch, spec, plan.device, detector)

        project = _fit(describe(sample), spec)
        try:
            _write(out / VALUES, len(tiles), map(project, describe(np.arange(len(tiles)))))
        except OSError as error:
            raise disk_error(out, error) from error
    return LocalSets(out)


@torch.inference_mode()
def strongest_tokens(
    backbone: Backbone,
    pixels: np.ndarray,
    spec: LocalSpec,
    device: torch.device,
    detector: LocalDetector | None = None,
) -> np.ndarray:
    """(b, count, d) float32 unit vectors of the network's map at its strongest places, the strongest first.

    Args:
        backbone: In evaluation mode, on the device.
        pixels: (b, s, s, 3) uint8 tiles.
        spec: Which map, which strength and how many.
        device: Where the network is.
        detector: What describes the places and says how strong they are; on the device. None: the spec says it.

    Raises:
        CheckpointError: See `extract_local`.
    """
    maps = _map(backbone, prepare(pixels, backbone.spec.preprocess, device), spec.layer).float()
    if detector is not None:
        maps, found = detector(maps)
    tokens = maps.flatten(2).transpose(1, 2)  # (b, places, d)
    if detector is not None:
        strength = found.flatten(1)
    elif spec.strength == "attention":
        attention = torch.from_numpy(last_attention(backbone, pixels).mean(axis=1)).to(device)  # over heads
        strength = attention.flatten(1)
    else:
        strength = tokens.norm(dim=2)
    if strength.shape != tokens.shape[:2]:
        raise CheckpointError(
            f"{backbone.spec.model}: its attention has {strength.shape[1]} places, its map of layer {spec.layer} "
            f"{tokens.shape[1]}. Set strength = 'norm'."
        )
    places = strength.argsort(dim=1, descending=True, stable=True)[:, : spec.count]
    chosen = tokens.gather(1, places[..., None].expand(-1, -1, tokens.shape[2]))
    values = functional.normalize(chosen, dim=2)
    if not torch.isfinite(values).all():
        raise CheckpointError("the backbone returns NaN or infinity. Its training may have diverged.")
    return values.cpu().numpy()


def _map(backbone: Backbone, images: torch.Tensor, layer: int) -> torch.Tensor:
    """(b, d, rows, cols): one of the network's maps; of a transformer its normalised patch tokens."""
    take: Any = getattr(backbone.network, "forward_intermediates", None)
    if take is None:
        raise CheckpointError(
            f"{backbone.spec.model} has no maps that timm gives out. Choose a network with forward_intermediates, such "
            "as a ViT or a ResNet."
        )
    try:
        return take(images, indices=[layer], norm=True, output_fmt="NCHW", intermediates_only=True)[0]
    except AssertionError as error:
        raise CheckpointError(f"{backbone.spec.model}: layer = {layer} ({error}). Choose one nearer to -1.") from error


def _fit(sample: Iterator[np.ndarray], spec: LocalSpec) -> Project:
    """What a batch of descriptors (b, count, d) is stored as, told by a sample of such batches where it is needed."""
    if not spec.dimensions:
        return lambda batch: batch.astype(np.float16)
    flat = np.concatenate([batch.reshape(-1, batch.shape[2]) for batch in sample])
    space = fit_space(Features(flat, np.arange(len(flat))), whiten=spec.dimensions)

    def project(batch: np.ndarray) -> np.ndarray:
        values = space.apply(Features(batch.reshape(-1, batch.shape[2]), np.arange(batch.shape[0] * batch.shape[1])))
        return values.values.reshape(*batch.shape[:2], -1)

    if spec.stored == "float16":
        return lambda batch: project(batch).astype(np.float16)
    rotation = sign_rotation(project(flat[None])[0])
    return lambda batch: np.packbits(project(batch) @ rotation > 0, axis=2)


def sign_rotation(values: np.ndarray) -> np.ndarray:
    """(d, d) float32 rotation after which the signs of (n, d) values are nearest to the values themselves.

    Source:
        Gong and Lazebnik 2011, Iterative quantization, algorithm 1, from a random rotation.
    """
    d = values.shape[1]
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((d, d)))[0].astype(np.float32)
    for _ in range(_ROTATIONS):
        signs = np.where(values @ rotation > 0, np.float32(1), np.float32(-1))
        left, _, right = np.linalg.svd(signs.T @ values)
        rotation = (left @ right).T
    return rotation


def _write(path: Path, n: int, batches: Iterator[np.ndarray]) -> None:
    """All batches as one file of n tiles."""
    stored: np.memmap | None = None
    done = 0
    for batch in batches:
        if stored is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            stored = new_array(path, (n, *batch.shape[1:]), batch.dtype)
        stored[done : done + len(batch)] = batch
        done += len(batch)
    if stored is not None:
        stored.flush()
