"""Text files that people or other programs write: qrels, runs, judgments, labels, boxes, classes, logs."""

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.judging.hand import hand_judgments
from bench.judging.labelled_truth import TruthRules, write_labelled_truth
from bench.judging.trec import read_qrels, read_run
from bench.judging.trec_score import score_page, score_runs
from bench.judging.votes import agreement_table, merge_votes, read_votes
from bench.tables.table import read_table
from bench.tables.training_table import read_log
from ris_core.regions.boxes import BoxFile
from ris_core.tiling.grid import lay_grids
from ris_core.tiling.labels import read_labels, read_vector_labels
from tests.reliability.fuzzing import Target, as_scenarios
from tests.reliability.mutations import Rng, chosen, damaged_bytes, damaged_text

_IDS = np.arange(20)
_LAYOUT = lay_grids([(64, 80)], 16, 16, half_offset=False)
_DEPTHS = {"easy": 5, "medium": 5, "hard": 5}
Reader = Callable[[Path, Path], Any]  # of the damaged file, and of one that is whole


def _rows(count: int, line: Callable[[int], str]) -> str:
    return "".join(f"{line(place)}\n" for place in range(count))


def _score(qrels: Path, run: Path) -> None:
    score_page(score_runs(qrels, [run], [1, 3]))


def _count_votes(path: Path, _: Path) -> None:
    votes = read_votes(path.parent)
    agreement_table(votes)
    merge_votes(votes)


def _make_truth(path: Path, _: Path, key: str) -> None:
    for name in ("a/0", "a/1", "b/0", "b/1"):
        (path.parent / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path.parent / "pictures" / f"{name}.png")
    write_labelled_truth(path.parent / "pictures", TruthRules(**{key: path}), path.parent / "truth.json")


def _boxes(path: Path, _: Path) -> None:
    boxes = BoxFile.read(path)
    boxes.check_queries({"a", "b"}.__contains__)
    boxes.of(["a"], (100, 100))


_QRELS = _rows(12, lambda i: f"{i // 4} 0 {i % 4 + 4} {i % 2}")
_RUN = _rows(12, lambda i: f"{i // 4} Q0 {i % 4 + 4} {i % 4 + 1} {9 - i} mine")
FILES: dict[str, tuple[str, str, Reader]] = {
    "judged.qrels": (_QRELS, "", lambda path, _: read_qrels(path)),
    "scored.qrels": (_QRELS, _RUN, _score),
    "mine.run": (_RUN, "", lambda path, _: read_run(path)),
    "scored.run": (_RUN, _QRELS, lambda path, other: _score(other, path)),
    "ann.csv": (
        "concept,queries,tile,relevant\n" + _rows(8, lambda i: f"wood,1,{i},{i % 2}"), "", _count_votes,
    ),
    "queries.csv": (
        "tile,concept,difficulty\n" + _rows(6, lambda i: f"{i},wood,{('easy', 'medium', 'hard')[i % 3]}"), "",
        lambda path, _: hand_judgments(_IDS, path, _DEPTHS),
    ),
    "labels.csv": (
        "row,col,label\n" + _rows(12, lambda i: f"{i // 4},{i % 4},wood"), "",
        lambda path, _: read_labels(path, ["a.tif"], _LAYOUT),
    ),
    "classes.csv": ("label\n" + _rows(8, lambda i: f"c{i}"), "", lambda path, _: read_vector_labels(path, 8)),
    "boxes.csv": ("query,x1,y1,x2,y2\n" + _rows(6, lambda i: f"{'ab'[i % 2]},{i},0,{i + 5},10"), "", _boxes),
    "boxes.json": ('[{"query": "a", "x1": 0, "y1": 1.5, "x2": 9, "y2": 8}]', "", _boxes),
    "pairs.csv": (
        "query,image,label\na/0.png,a/1.png,easy\na/0.png,b/1.png,negative\n", "",
        lambda path, other: _make_truth(path, other, "pairs"),
    ),
    "asked.csv": (
        "query,x1,y1,x2,y2\na/0.png,0,0,4,4\n", "", lambda path, other: _make_truth(path, other, "boxes"),
    ),
    "log.txt": (_rows(4, lambda i: f'{{"epoch": {i}, "train_loss": 9.5, "epoch_s": 1}}'), "", lambda p, _: read_log(p)),
    "knn.csv": ("backbone,k,labelled,accuracy\na,10,5,0.5\n", "", lambda path, _: read_table(path)),
}  # fmt: skip


def _read_damaged(_: None, case: Path, rng: Rng) -> None:
    name = chosen(rng, list(FILES))
    text, other, read = FILES[name]
    damaged = damaged_text(rng, text, chosen(rng, list(FILES.values()))[0]).encode("utf-8", "surrogatepass")
    path = case / name
    path.write_bytes(damaged if rng.random() < 0.7 else damaged_bytes(rng, text.encode()))
    (case / "whole").mkdir()
    (case / "whole" / "file").write_text(other, encoding="utf-8")
    with contextlib.redirect_stdout(io.StringIO()):
        read(path, case / "whole" / "file")


TARGETS = (
    Target(
        "damaged_texts",
        f"A text is damaged or holds hostile words: {', '.join(FILES)}.",
        lambda _: None,
        _read_damaged,
        tries=10_000,
        tries_in_tests=24,
    ),
)
SCENARIOS = as_scenarios(__name__, TARGETS)
