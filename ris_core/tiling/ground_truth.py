"""Ground truth of the revisited Oxford and Paris benchmarks: which images are searched, which ask, what is right.

The published form is a pickled dict; the same dict as JSON is read too. ``imlist`` names the images that are searched,
``qimlist`` those that ask and are not searched, ``gnd`` holds for each of the latter ``bbx``, the box ``[x1, y1, x2,
y2]`` in pixels that is asked by (missing: the whole image), and ``easy``, ``hard`` and ``junk``, places in ``imlist``.

Source: Radenović et al. 2018, Revisiting Oxford and Paris, arXiv:1803.11285. Differs: a box may be missing.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ris_core.artifacts import disk_error
from ris_core.errors import CorpusError
from ris_core.safe_pickle import read_pickle
from ris_core.tiling.image_folder import IMAGE_SUFFIXES, ImageFolder

LABELS = ("easy", "hard", "junk")
PUBLISHED_FOLDER = "jpg"  # where the published images lie
_MOST_PX = 2**31  # of a box; no image is that large
_NAMED = 5  # missing images, or faults, that an error lists
_Box = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True, eq=False)
class AskedImage:
    """A query.

    Attributes:
        name: Of its image.
        box: What of the image is asked by: ``x1, y1, x2, y2`` in pixels; None: all of it.
        labels: For each of `LABELS` the places of the images in ``GroundTruth.names``; the others are wrong.
    """

    name: str
    box: _Box | None
    labels: Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class GroundTruth:
    """A file of ground truth.

    Attributes:
        path: The file.
        names: Names of the images that are searched.
        queries: The queries, whose images are not searched.
    """

    path: Path
    names: tuple[str, ...]
    queries: tuple[AskedImage, ...]

    @property
    def all_names(self) -> tuple[str, ...]:
        """The images that are searched, then those of the queries."""
        return (*self.names, *(query.name for query in self.queries))


def read_ground_truth(path: Path) -> GroundTruth:
    """The ground truth of a file: JSON where its name ends so, else a pickle; nothing but plain values is unpickled.

    Raises:
        CorpusError: If it cannot be read, or with all faults of its content.
    """
    try:
        content = path.read_bytes()
        table = _plain(json.loads(content) if path.suffix.lower() == ".json" else read_pickle(content, path))
    except (OSError, ValueError, RecursionError) as error:
        raise CorpusError(f"{path}: is no readable ground truth ({error}). Give a .pkl or .json file.") from error
    if not isinstance(table, dict) or not {"imlist", "qimlist", "gnd"} <= set(table):
        keys = ", ".join(map(str, table)) if isinstance(table, dict) else type(table).__name__
        raise CorpusError(f"{path}: holds {keys}; ground truth is a dict with the keys imlist, qimlist and gnd.")
    names, asked, entries = table["imlist"], table["qimlist"], table["gnd"]
    faults = _list_faults(names, asked, entries)
    queries = [] if faults else [_query(*pair, len(names), faults) for pair in zip(asked, entries, strict=True)]
    if faults:
        more = f"\n- and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
        told = "\n".join(f"- {fault}" for fault in faults[:_NAMED])
        raise CorpusError(f"{path}: is no ground truth of images:\n{told}{more}")
    return GroundTruth(path, tuple(names), tuple(queries))


def write_ground_truth(truth: GroundTruth) -> None:
    """Write it to its path as JSON.

    Raises:
        ArtifactError: If the disk cannot take it.
    """
    gnd = [
        {"bbx": None if query.box is None else list(query.box)}
        | {label: np.sort(places).tolist() for label, places in query.labels.items()}
        for query in truth.queries
    ]
    table = {"imlist": list(truth.names), "qimlist": [query.name for query in truth.queries], "gnd": gnd}
    try:
        truth.path.write_text(json.dumps(table), encoding="utf-8")
    except OSError as error:
        raise disk_error(truth.path, error) from error


def find_named(images: ImageFolder, truth: GroundTruth) -> list[str]:
    """For each of ``truth.all_names`` the image that bears it, as the folder has it.

    Raises:
        CorpusError: If images are missing.
    """
    known = names_of(images)
    missing = list(dict.fromkeys(name for name in truth.all_names if name not in known))
    if missing:
        more = ", ..." if len(missing) > _NAMED else ""
        raise CorpusError(
            f"{truth.path}: {len(missing)} of the images that it names lie neither in {images.source} nor in its "
            f"subfolder {PUBLISHED_FOLDER}: {', '.join(missing[:_NAMED])}{more}. Complete the images, or name their "
            "folder as corpus.source."
        )
    return [known[name] for name in truth.all_names]


def names_of(images: ImageFolder) -> dict[str, str]:
    """For each name that an image may be called by, the image as the folder has it.

    A name is a path in the folder, or in its subfolder ``jpg``, with or without its suffix. Only files that the folder
    lists are found, so that no name leads out of it.
    """
    known: dict[str, str] = {}
    order = {suffix: place for place, suffix in enumerate(IMAGE_SUFFIXES)}
    for name in sorted(images.names, key=lambda name: order[PurePosixPath(name).suffix.lower()]):
        short = name.removeprefix(f"{PUBLISHED_FOLDER}/")
        for alias in (name, short, *(str(PurePosixPath(part).with_suffix("")) for part in (name, short))):
            known.setdefault(alias, name)
    return known


def _list_faults(names: Any, asked: Any, entries: Any) -> list[str]:
    """What is wrong with the three lists as such."""
    faults = [
        f"{key} must be a list of different names; found {_shown(found)}."
        for key, found, unique in (("imlist", names, True), ("qimlist", asked, False))
        if not _are_names(found) or (unique and len(set(found)) < len(found))
    ]
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        faults.append(f"gnd must be a list of dicts; found {_shown(entries)}.")
    if faults:
        return faults
    if len(asked) != len(entries) or not asked:
        return [f"qimlist names {len(asked)} queries, gnd has {len(entries)}; each query needs one entry."]
    unsafe = [name for name in (*names, *asked) if _leads_out(name)]
    faults += [f"the name {name!r} leads out of the images' folder." for name in unsafe]
    both = sorted(set(names) & set(asked))
    return faults + [f"{name} is in imlist and in qimlist; an image that asks is not searched." for name in both]


def _query(name: str, entry: Mapping[str, Any], n: int, faults: list[str]) -> AskedImage:
    """One query; what is wrong with it is appended to the faults."""
    labels = {}
    for label in LABELS:
        places = entry.get(label)
        if not isinstance(places, list) or not all(type(place) is int and 0 <= place < n for place in places):
            faults.append(f"query {name}: {label} must list places in imlist, 0 to {n - 1}; found {_shown(places)}.")
            places = []
        labels[label] = np.array(places, np.int64)
    named = np.concatenate(list(labels.values()))
    if len(np.unique(named)) < len(named):
        faults.append(f"query {name}: an image stands twice among its easy, hard and junk ones. Keep one label.")
    box = entry.get("bbx")
    if box is not None and not _is_box(box):
        faults.append(f"query {name}: bbx must be x1 < x2 and y1 < y2 as [x1, y1, x2, y2]; found {_shown(box)}.")
        box = None
    return AskedImage(name, None if box is None else (box[0], box[1], box[2], box[3]), labels)


def _is_box(box: Any) -> bool:
    if not isinstance(box, list) or len(box) != 4 or not all(type(side) in (int, float) for side in box):
        return False
    return all(abs(side) < _MOST_PX for side in box) and box[0] < box[2] and box[1] < box[3]  # NaN is not below it


def _are_names(found: Any) -> bool:
    return isinstance(found, list) and bool(found) and all(isinstance(name, str) and name for name in found)


def _leads_out(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or ":" in name or "\0" in name


def _plain(value: Any) -> Any:
    """The same of lists, dicts, strings and numbers: no arrays, no tuples, no bytes as Python 2 writes its strings."""
    if isinstance(value, bytes):
        return value.decode("latin1")
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, dict):
        return {str(_plain(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value


def _shown(value: Any) -> str:
    """The beginning of a value, for an error."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]} ..."
