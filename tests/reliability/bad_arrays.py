"""Vectors, artifacts, checkpoints and saved indexes that are damaged: arrays with headers that say what follows."""

import argparse
import contextlib
import dataclasses
import io
import json
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import safetensors.torch
import torch
from torch import nn

from bench.judging.judgments import QUERY_COLUMNS, Judgments
from ris_core.artifacts import damage, write_json
from ris_core.backbone import BackboneSpec, build_backbone
from ris_core.engines import ENGINES
from ris_core.engines.crosspolytope import build_crosspolytope, load_crosspolytope
from ris_core.errors import SearchError
from ris_core.features import PROGRESS, extract_features
from ris_core.local_sets import LocalSets
from ris_core.records import Features, Hits, Tiles
from ris_core.space import Space, fit_space
from ris_core.training.result import is_finished
from ris_core.training.resumable import STATE, ResumableState
from ris_core.vector_files import read_vectors
from ris_core.weights import load_weights
from tests.reliability.fuzzing import Target, as_scenarios
from tests.reliability.mutations import Rng, chosen, damaged_bytes, damaged_text, damaged_value

_N, _D = 40, 12
# Bytes of an index file before its shape, the digest of its base, its checksums, its arrays.
_SHAPE, _DIGEST, _BODY_SUM, _INDEX_BODY = 16, 80, 88, 128
_LONGEST_INDEX = 2**22
_ASKED: list[dict[str, Any]] = [*({"probes_per_table": probes} for probes in (1, 4, 300)), {"recall": 0.9}]
# Four bytes: whole numbers at the ends of what shapes, rows and starts may be, and floats that compare or sum badly.
_ENDS = (0, 1, 2, 7, 199, 200, 201, 2**16, 2**30, 2**31 - 1, 2**31, 2**32 - 1)
_REALS = (np.nan, -np.nan, np.inf, -np.inf, 1e38, -1e38, 1e18, 1e-45, -0.0, 1.0)
_HOSTILE = [*(end.to_bytes(4, "little") for end in _ENDS), *(np.float32(real).tobytes() for real in _REALS)]
Files = dict[str, bytes]  # by their names


def _taken(folder: Path) -> Files:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def _laid_out(files: Files, case: Path, rng: Rng) -> str:
    """Write the files, one of them damaged, and return its name."""
    name = chosen(rng, list(files))
    for other, content in files.items():
        damaged = _damaged(rng, other, content, chosen(rng, list(files.values()))) if other == name else content
        (case / other).write_bytes(damaged)
    return str(name)


def _damaged(rng: Rng, name: str, content: bytes, other: bytes) -> bytes:
    if name.endswith(".json") and rng.random() < 0.7:
        return json.dumps(damaged_value(rng, json.loads(content))).encode("utf-8", "surrogatepass")
    if name.endswith((".npy", ".npz")) and rng.random() < 0.4:
        return odd_array(rng, content, name.endswith(".npz"))
    return damaged_bytes(rng, content, other)


def odd_array(rng: Rng, content: bytes, is_archive: bool) -> bytes:
    """A whole file of another array: its header mended as text, or one of another type or shape."""
    if not is_archive:
        end = content.index(b"\n") + 1
        if rng.random() < 0.5:
            header = damaged_text(rng, content[10:end].decode("latin1")).encode("utf-8", "replace")
            return content[:8] + len(header[:60000]).to_bytes(2, "little") + header[:60000] + content[end:]
        file = io.BytesIO()
        np.save(file, _strange(rng), allow_pickle=True)  # such as an attacker leaves: readers must refuse it
        return file.getvalue()
    with np.load(io.BytesIO(content)) as stored:
        arrays = dict(stored)
    name, file = chosen(rng, list(arrays)), io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for other, array in arrays.items():
            member = io.BytesIO()
            content_of = _strange(rng) if other == name else array
            np.save(member, content_of, allow_pickle=True)  # as above: what readers must refuse
            odd = other == name and rng.random() < 0.3
            archive.writestr(f"{other}.npy", damaged_bytes(rng, member.getvalue()) if odd else member.getvalue())
    return file.getvalue()


def _strange(rng: Rng) -> np.ndarray:
    shape = chosen(rng, ((), (0,), (_N,), (_N, _D), (1, 1), (0, _D), (_N, 0), (2, 3, 4), (_N + 1,), (_N + 1, _D)))
    kind = chosen(rng, ("f4", "f8", "f2", "i8", "u1", "?", "U5", "S5", "O", "M8[s]", "c8", "V4", ">f4", "i4,f4"))
    array = np.zeros(shape, kind)
    if kind[0] in "f>" and array.size and rng.random() < 0.5:
        array.flat[0] = chosen(rng, (np.nan, np.inf, 1e30, -1e30))
    return array


def _vectors(folder: Path) -> Files:
    values = np.random.default_rng(0).normal(size=(_N, _D)).astype(np.float32)
    np.save(folder / "a.npy", values)
    np.savez(folder / "b.npz", vectors=values, queries=values[:3], labels=np.array(["x"] * _N), ids=np.arange(_N))
    np.savez_compressed(folder / "c.npz", base=values)
    lengths = np.full((_N, 1), _D, "<i4")
    (folder / "d.fvecs").write_bytes(np.hstack([lengths.view("<f4"), values]).tobytes())
    (folder / "e.bvecs").write_bytes(np.hstack([lengths.view("u1"), np.ones((_N, _D), "u1")]).tobytes())
    for name, options in (("f.hdf5", {}), ("g.h5", {"compression": "gzip", "chunks": (8, _D)})):
        with h5py.File(folder / name, "w") as file:
            file.create_dataset("train", data=values, **options)
            file.create_dataset("test", data=values[:3])
            file.create_dataset("neighbors", data=np.zeros((3, 5), np.int32))
            file.attrs["distance"] = "euclidean"
    return _taken(folder)


def _read_vectors(files: Files, case: Path, rng: Rng) -> None:
    name = chosen(rng, list(files))
    (case / name).write_bytes(_damaged(rng, name, files[name], chosen(rng, list(files.values()))))
    read_vectors(case / name).read()


def _artifacts(folder: Path) -> dict[str, tuple[Files, Callable[[Path], Any]]]:
    """For each kind of artifact its files, and how they are read."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(_N, _D)).astype(np.float32)
    pixels = rng.integers(0, 255, (_N, 8, 8, 3), dtype=np.uint8)
    table = pd.DataFrame({"id": np.arange(_N), "raster": "r", "row": 0, "col": 0, "row_px": 0, "col_px": 0})
    tiles = Tiles(pixels, table.assign(coverage_frac=1.0, label="x"))
    features = Features(values, tiles.ids)
    queries = pd.DataFrame([(0, 0, "easy", "x", 5, 1)] * 2, columns=list(QUERY_COLUMNS)).astype(QUERY_COLUMNS)
    makers: dict[str, tuple[Callable[[Path], Any], Callable[[Path], Any]]] = {
        "tiles": (tiles.save, Tiles.open),
        "features": (features.save, Features.open),
        "space": (fit_space(features, whiten=4).save, lambda at: Space.open(at).apply(features)),
        "truth": (Hits(np.zeros((3, 4), np.int64), np.zeros((3, 4), np.float32)).save, Hits.open),
        "judgments": (Judgments(queries, np.zeros((2, _N), bool)).save, Judgments.open),
        "local": (_local_sets, LocalSets),
        "manifest": (_manifest, damage),
        "result": (_result, lambda at: is_finished(at, "0")),
    }
    kinds = {}
    for name, (save, read) in makers.items():
        (folder / name).mkdir()
        save(folder / name)
        kinds[name] = _taken(folder / name), read
    return kinds


def _local_sets(folder: Path) -> None:
    np.save(folder / "local.npy", np.zeros((_N, 3, _D), np.float16))
    np.save(folder / "scales.npy", np.ones(_N, np.float32))


def _manifest(folder: Path) -> None:
    (folder / "a.bin").write_bytes(b"x")
    write_json(folder / "manifest.json", {"files": {"a.bin": {"bytes": 1, "sha256": "0"}}, "notes": {}, "kind": "a"})


def _result(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"x")
    write_json(folder / "recipe.json", {"key": "0", "recipe": {}, "backbone": {}})


def _read_artifact(kinds: dict[str, tuple[Files, Callable[[Path], Any]]], case: Path, rng: Rng) -> None:
    files, read = kinds[chosen(rng, list(kinds))]
    _laid_out(files, case, rng)
    read(case)


@dataclasses.dataclass(eq=False, kw_only=True)
class _State(ResumableState):
    MODULES = ("network", "optimizer")
    network: nn.Module


def _small_state() -> _State:
    network = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(network.parameters())
    return _State(key="0", optimizer=optimizer, sums=torch.zeros(2, dtype=torch.float64), network=network)


def _network() -> nn.Module:
    arch = {"img_size": 16, "patch_size": 8, "embed_dim": 12, "depth": 1, "num_heads": 1}
    return build_backbone(BackboneSpec("vit_tiny_patch16_224", arch=arch, preprocess="native"))


@dataclasses.dataclass(frozen=True, eq=False)
class _Checkpoints:
    network: nn.Module
    state: _State
    files: Files


def _checkpoints(folder: Path) -> _Checkpoints:
    network, state = _network(), _small_state()
    state.network(torch.ones(1, 3)).sum().backward()
    state.optimizer.step()
    state.save(folder)
    weights = {name.removeprefix("network."): weight for name, weight in network.state_dict().items()}
    torch.save({"teacher": weights, "args": argparse.Namespace(lr=1.0)}, folder / "new.pth")
    torch.save(weights, folder / "old.pth", _use_new_zipfile_serialization=False)
    safetensors.torch.save_file(weights, folder / "plain.safetensors")
    return _Checkpoints(network, state, _taken(folder))


class _Harm:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.system, ("touch called",)


def _foreign(rng: Rng) -> Any:
    weights = {"a": torch.ones(2), "head.weight": torch.zeros(1, 1)}
    return chosen(
        rng,
        (weights, {"state_dict": weights}, {"teacher": {"x": {}}}, [1], None, {"model": None}, {1: torch.ones(1)},
         {"teacher": _Harm()}, _Harm(), {"key": "0", "sums": torch.zeros(2)},
         {"teacher": weights, "student": nn.Linear(1, 1)}),
    )  # fmt: skip


def _read_checkpoint(made: _Checkpoints, case: Path, rng: Rng) -> None:
    name = chosen(rng, list(made.files))
    path = case / name
    if rng.random() < 0.8:
        path.write_bytes(damaged_bytes(rng, made.files[name], chosen(rng, list(made.files.values()))))
    else:
        torch.save(_foreign(rng), path, _use_new_zipfile_serialization=bool(rng.random() < 0.5))
    if name == STATE:
        made.state.resume(case)
    else:
        load_weights(made.network, path)


def _read_state(made: _Checkpoints, case: Path, rng: Rng) -> None:
    """A training state that is whole, with other values in it."""
    content = torch.load(io.BytesIO(made.files[STATE]), weights_only=True)  # made above
    content["key"] = "0"
    odd = (None, 1, -1, "x", [], {}, torch.zeros(1), {"a": 1}, [1], 1e300, [{}], {"state": {}, "param_groups": []})
    content[chosen(rng, [key for key in content if key != "key"])] = chosen(rng, odd)
    torch.save(content, case / STATE)
    made.state.resume(case)


@dataclasses.dataclass(frozen=True, eq=False)
class _Indexes:
    base: np.ndarray
    files: Files


def _indexes(folder: Path) -> _Indexes:
    base = np.random.default_rng(0).normal(size=(200, 16)).astype(np.float32)
    kind = ENGINES["crosspolytope"].build_params
    for name, options in (("a", {"tables": 2}), ("b", {"tables": 3, "sketch": True}), ("c", {"distance": "cosine"})):
        build_crosspolytope(base, kind(**options)).save(folder / f"{name}.index")
    return _Indexes(base, _taken(folder))


def _read_index(made: _Indexes, case: Path, rng: Rng) -> None:
    path = case / "damaged.index"
    path.write_bytes(damaged_bytes(rng, chosen(rng, list(made.files.values())), chosen(rng, list(made.files.values()))))
    index = load_crosspolytope(path, made.base, mmap=bool(rng.random() < 0.5))
    query = ENGINES["crosspolytope"].query_params(probes_per_table=4)
    index.search(made.base[:5], 3, query, 1)


def _read_forged_index(made: _Indexes, case: Path, rng: Rng) -> None:
    """One that somebody made to do harm: its checksums are right, and mostly its length."""
    content = bytearray(chosen(rng, list(made.files.values())))
    for _ in range(rng.integers(1, 4)):
        first, end = (_SHAPE, _DIGEST) if rng.random() < 0.4 else (_INDEX_BODY, len(content))
        at = 4 * int(rng.integers(first // 4, end // 4))
        content[at : at + 4] = chosen(rng, _HOSTILE)
    announced = _announced_bytes(content)
    if announced < _LONGEST_INDEX and rng.random() < 0.9:
        content = content[:announced] + bytes(max(0, announced - len(content)))
    content[_BODY_SUM : _BODY_SUM + 8] = _index_checksum(bytes(content[_INDEX_BODY:]))
    content[_BODY_SUM + 8 : _BODY_SUM + 16] = _index_checksum(bytes(content[: _BODY_SUM + 8]))
    path = case / "forged.index"
    path.write_bytes(content)
    index = load_crosspolytope(path, made.base, mmap=bool(rng.random() < 0.5))
    query = ENGINES["crosspolytope"].query_params(**chosen(rng, _ASKED))
    with contextlib.suppress(SearchError):  # of a query that does not fit: the file is none of its business
        index.candidates(made.base[:5], 3, query)
        index.search(made.base[:5], int(chosen(rng, [1, 3, 200])), query, int(chosen(rng, [1, 2])))


def _announced_bytes(content: bytearray) -> int:
    """How long the header says that the file is, as `image_bytes` in ``crosspolytope_image.cpp``."""
    n, d = struct.unpack_from("<2q", content, 16)
    _, distance, tables, bits, _, _, coordinates, groups = struct.unpack_from("<8I", content, 32)
    if not 0 <= n < 2**31 or not 0 <= d < 2**31 or bits > 30:
        return len(content)

    def aligned(size: int) -> int:
        return -(-size // 64) * 64

    points = -(-n // 32) * 32 if groups else 0
    shared = aligned(coordinates * (d + (distance == 2)) * 4) + aligned(groups * 4 * 4) + aligned(groups * 4 * 16 * 4)
    table = aligned((2**bits + 1) * 4) + aligned(n * 4) + 2 * aligned(points * 4) + aligned(points // 32 * groups * 16)
    return _INDEX_BODY + shared + tables * table


def _index_checksum(content: bytes) -> bytes:
    """As `checksum` in ``crosspolytope_image.cpp``, written anew."""
    odd: int = 0x9E3779B97F4A7C15
    mask: int = 2**64 - 1
    lanes = [len(content), odd, ~odd & mask, 1]

    def mix(lane: int, word: int) -> None:
        mixed = (lanes[lane] ^ word) * odd & mask
        lanes[lane] = mixed ^ mixed >> 32

    words = [int.from_bytes(content[i : i + 8], "little") for i in range(0, len(content), 8)]
    whole = len(content) // 32 * 4
    for i, word in enumerate(words):
        mix(i % 4 if i < whole else 0, word)
    for lane in (1, 2, 3):
        mix(0, lanes[lane])
    return lanes[0].to_bytes(8, "little")


@dataclasses.dataclass(frozen=True, eq=False)
class _Extraction:
    tiles: Tiles
    spec: BackboneSpec
    files: Files


def _half_extracted(folder: Path) -> _Extraction:
    """The folder of an extraction that was cut off in its midst."""
    pixels = np.random.default_rng(0).integers(1, 255, (_N, 16, 16, 3), dtype=np.uint8)
    table = pd.DataFrame({"id": np.arange(_N), "raster": "r", "row": 0, "col": 0, "row_px": 0, "col_px": 0})
    tiles, spec = Tiles(pixels, table.assign(coverage_frac=1.0)), BackboneSpec("colour", preprocess="native")
    extract_features(tiles, spec, out=folder)
    files = _taken(folder)
    return _Extraction(tiles, spec, {name: files[name] for name in ("features.npy", PROGRESS)})


def _resume_extraction(made: _Extraction, case: Path, rng: Rng) -> None:
    _laid_out(made.files, case, rng)
    extract_features(made.tiles, made.spec, out=case)


TARGETS = (
    Target(
        "damaged_vectors",
        "A npy, npz, fvecs, bvecs or HDF5 file of vectors is damaged.",
        _vectors,
        _read_vectors,
        5000,
        16,
    ),
    Target(
        "damaged_artifacts",
        "A file of an artifact (tiles, features, space, truth, judgments, local descriptors, manifest) is damaged.",
        _artifacts,
        _read_artifact,
        5000,
        24,
    ),
    Target(
        "damaged_checkpoints",
        "Weights (.pth of both formats, safetensors) or a training's state are damaged, foreign, or call functions.",
        _checkpoints,
        _read_checkpoint,
        5000,
        8,
    ),
    Target(
        "foreign_training_states",
        "A training's state holds other values than a training leaves.",
        _checkpoints,
        _read_state,
        500,
        6,
    ),
    Target(
        "damaged_extractions",
        "What an extraction left that was cut off is damaged when it goes on.",
        _half_extracted,
        _resume_extraction,
        500,
        3,
    ),
    Target("damaged_indexes", "A saved index is damaged, read or mapped.", _indexes, _read_index, 10_000),
    Target(
        "forged_indexes", "A saved index is changed, and its checksums with it.", _indexes, _read_forged_index, 10_000
    ),
)
SCENARIOS = as_scenarios(__name__, TARGETS)
