"""A ground truth of any folder of images with one subfolder a class, as the revisited benchmarks have theirs.

What is known is the class: a searched image of the query's class is easy, any other is wrong, nothing is hard or junk.
A CSV of pairs says otherwise where somebody looked, a CSV of boxes what of a query's image is asked by.
"""

import dataclasses
from pathlib import Path

import numpy as np

from bench.judging.spreadsheet import listed, read_rows
from ris_core.errors import CorpusError
from ris_core.tiling.corpus import find_corpus
from ris_core.tiling.ground_truth import LABELS, AskedImage, GroundTruth, names_of, write_ground_truth
from ris_core.tiling.image_folder import ImageFolder

NEGATIVE = "negative"
PAIR_COLUMNS, BOX_COLUMNS = ("query", "image", "label"), ("query", "x1", "y1", "x2", "y2")
Box = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True)
class TruthRules:
    """What becomes of a folder.

    Attributes:
        per_class: Queries of each class, drawn by seed, of half of its images at most; where a CSV names queries,
            these are taken and none is drawn.
        seed: Of the draw.
        pairs: CSV ``query,image,label``: a label is easy, hard, junk or negative and goes before what the class says.
        boxes: CSV ``query,x1,y1,x2,y2`` in pixels of the query's image.
    """

    per_class: int = 5
    seed: int = 0
    pairs: Path | None = None
    boxes: Path | None = None


def write_labelled_truth(source: Path, rules: TruthRules, path: Path) -> str:
    """Write the ground truth of a folder of images, or a zip of one, and say what it holds.

    Raises:
        CorpusError: If the source is no such folder, or as `labelled_truth`.
        ArtifactError: If the disk cannot take it, or a CSV cannot be read.
    """
    images = find_corpus(source)
    if not isinstance(images, ImageFolder):
        raise CorpusError(f"{source}: is no folder of images with one subfolder a class, nor a zip of one. Name one.")
    if rules.per_class < 1 or rules.seed < 0:
        raise CorpusError(f"per class = {rules.per_class}, seed = {rules.seed}; allowed: 1 or more, 0 or more.")
    if path.suffix.lower() != ".json":
        raise CorpusError(f"{path}: the ground truth is written as JSON. Give a name that ends in .json.")
    truth = labelled_truth(images, rules, path)
    write_ground_truth(truth)
    return f"{path}: {len(truth.queries)} queries over {len(truth.names)} images"


def labelled_truth(images: ImageFolder, rules: TruthRules, path: Path) -> GroundTruth:
    """The ground truth that follows from the classes of images.

    Args:
        images: The folder.
        rules: What becomes of it.
        path: Where the ground truth belongs.

    Raises:
        CorpusError: If no query can be drawn, or with all faults of a CSV.
        ArtifactError: If a CSV is missing, no text, or lacks a column.
    """
    names = names_of(images)
    pairs = {} if rules.pairs is None else _read_pairs(rules.pairs, names)
    boxes = {} if rules.boxes is None else _read_boxes(rules.boxes, names)
    classes = dict(zip(images.names, images.labels, strict=True))
    asked = sorted({query for query, _ in pairs} | set(boxes)) or _drawn(classes, rules)
    searched = [name for name in images.names if name not in set(asked)]
    if not asked or not searched:
        raise CorpusError(
            f"{images.source}: {len(asked)} queries leave {len(searched)} images to be searched; a class needs two "
            "images for a query of it. Add images, or name other queries."
        )
    both = [image for _, image in pairs if image in set(asked)]
    if both and rules.pairs is not None:
        raise CorpusError(f"{rules.pairs}: {both[0]} is an image to be found and a query; it can be one of the two.")
    queries = []
    for query in asked:
        said = [pairs.get((query, name), "easy" if classes[name] == classes[query] else NEGATIVE) for name in searched]
        labels = {label: np.flatnonzero(np.array(said) == label) for label in LABELS}
        queries.append(AskedImage(query, boxes.get(query), labels))
    return GroundTruth(path, tuple(searched), tuple(queries))


def _drawn(classes: dict[str, str], rules: TruthRules) -> list[str]:
    """Images of each class that ask, in the order of their names."""
    drawn: list[str] = []
    for number, label in enumerate(sorted(set(classes.values()))):
        own = [name for name, of in classes.items() if of == label]
        count = min(rules.per_class, len(own) // 2)
        drawn += np.random.default_rng([rules.seed, number]).permutation(own)[:count].tolist()
    return sorted(drawn)


def _read_pairs(path: Path, names: dict[str, str]) -> dict[tuple[str, str], str]:
    """The label of each pair of query and image, by the folder's names."""
    pairs: dict[tuple[str, str], str] = {}
    faults = []
    for line, (query, image, label) in read_rows(path, PAIR_COLUMNS):
        pair = (names.get(query, ""), names.get(image, ""))
        if not all(pair):
            faults.append(f"line {line}: {query if not pair[0] else image!r} is no image of the folder.")
        elif label not in (*LABELS, NEGATIVE):
            faults.append(f"line {line}: label is {label!r}; it must be one of {', '.join((*LABELS, NEGATIVE))}.")
        elif pair in pairs:
            faults.append(f"line {line}: {query} and {image} stand there again. Keep one of the lines.")
        else:
            pairs[pair] = label
    if faults:
        raise CorpusError(listed(path, faults))
    return pairs


def _read_boxes(path: Path, names: dict[str, str]) -> dict[str, Box]:
    """The box of each query, by the folder's names."""
    boxes: dict[str, Box] = {}
    faults = []
    for line, (query, *sides) in read_rows(path, BOX_COLUMNS):
        try:
            x1, y1, x2, y2 = (float(side) for side in sides)
        except ValueError:
            faults.append(f"line {line}: {', '.join(sides)} is no box; four numbers are, x1 < x2 and y1 < y2.")
            continue
        if query not in names or names[query] in boxes or not (x1 < x2 and y1 < y2):
            faults.append(f"line {line}: {query!r} must be an image, once, with x1 < x2 and y1 < y2.")
        else:
            boxes[names[query]] = (x1, y1, x2, y2)
    if faults:
        raise CorpusError(listed(path, faults))
    return boxes
