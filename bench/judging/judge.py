"""The judge: which tiles are queries, and which tiles are right answers to them.

It works from class fractions (a co-registered land-cover raster), from labels, or from judgments made by hand (a TREC
qrels file). It sees neither pixels nor features, so it favours no model. Where people are to judge, once the run has
shown what there is to judge, it hands on the queries that they chose.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd

from bench.judging.hand import hand_judgments
from bench.judging.held_out import judge_held_out
from bench.judging.judgments import (
    EASY,
    HARD,
    LABEL,
    MEDIUM,
    NOT_SEARCHED,
    QRELS,
    QUERY_COLUMNS,
    STRATA,
    Judgments,
)
from bench.judging.pairs import judge_pairs
from bench.judging.strata import (
    Concept,
    easy_concepts,
    grouped,
    hard_concepts,
    medium_concepts,
    object_classes,
    spread_queries,
)
from bench.judging.trec import read_qrels
from ris_core.errors import CorpusError
from ris_core.records import Tiles
from ris_core.tiling.ground_truth import GroundTruth

Source = Literal["auto", "classes", "labels", "qrels", "hand", "ground_truth"]
SHARES = (
    *("easy_fill", "easy_hit", "medium_main", "medium_hit", "medium_cover"),
    *("hard_min", "hard_part", "hard_max", "object_tiles_frac"),
)
AUTO, CLASSES, LABELS, BY_HAND, GROUND_TRUTH = "auto", "classes", "labels", "hand", "ground_truth"


@dataclasses.dataclass(frozen=True)
class JudgeSpec:
    """Where judgments come from, how many queries, and the rules; shares are of a tile's area.

    Attributes:
        source: ``"classes"``, ``"labels"``, ``"qrels"``, ``"hand"``, ``"ground_truth"`` (of the corpus, see
            `bench.judging.pairs`), or ``"auto"``: the first for which there is something to judge from, in the order
            qrels, hand, ground_truth, classes, labels.
        easy: Easy queries.
        medium: Medium queries.
        hard: Hard queries.
        easy_depth: Length of the answer lists that are judged, easy.
        medium_depth: The same, medium.
        hard_depth: The same, hard.
        easy_fill: A class fills an easy query with at least this share.
        easy_hit: An answer to it is right with at least this share of that class.
        medium_main: A class is a main class of a medium query with at least this share.
        medium_hit: An answer to it is right with at least this share of each main class ...
        medium_cover: ... and at least this share of all of them together.
        hard_min: An object is in a tile, query or answer, with at least this share ...
        hard_part: ... and at least this part of the share that the tiles with such an object usually show (median),
            so that a sliver at the border does not count.
        hard_max: An object is small with at most this share.
        hard_relevant: Relevant tiles that an object needs so as not to be asked for last.
        objects: Classes that are objects; empty = those that are rare, and small where they are.
        object_tiles_frac: Without ``objects``: an object is in at most this share of the tiles.
        groups: For medium queries, classes that a person would call by one name, such as ``field = ["wheat", "beet"]``.
        ignore: Classes that make no concept, such as "other".
        per_label: Queries of each label.
        label_depth: Length of the answer lists that are judged, on labels and on qrels of foreign strata.
        qrels: A TREC qrels file; its topics are ids of tiles.
        queries: A CSV of queries that people will judge by hand: ``tile`` (id), ``concept`` (in words), ``difficulty``.
        seed: Seed of the queries' choice.
        knn_every: Epochs between two readings of a backbone's k-NN accuracy while it trains, where tiles have labels
            or classes; 0: it is read of finished features alone, which costs nothing.
    """

    source: Source = "auto"
    easy: int = 10
    medium: int = 20
    hard: int = 10
    easy_depth: int = 100
    medium_depth: int = 50
    hard_depth: int = 20
    easy_fill: float = 0.9
    easy_hit: float = 0.6
    medium_main: float = 0.2
    medium_hit: float = 0.15
    medium_cover: float = 0.6
    hard_min: float = 0.003
    hard_part: float = 0.3
    hard_max: float = 0.15
    hard_relevant: int = 5
    objects: tuple[str, ...] = ()
    object_tiles_frac: float = 0.1
    groups: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    per_label: int = 10
    label_depth: int = 20
    qrels: Path | None = None
    queries: Path | None = None
    seed: int = 0
    knn_every: int = 0

    def faults(self) -> list[str]:
        """What is impossible in it, one sentence each."""
        found = []
        if self.source not in get_args(Source):
            found.append(f"source = {self.source!r}; it must be one of {', '.join(get_args(Source))}.")
        if self.source == QRELS and self.qrels is None:
            found.append('source = "qrels" needs the path of a qrels file as qrels.')
        if self.source == BY_HAND and self.queries is None:
            found.append('source = "hand" needs the path of a CSV of queries as queries.')
        if self.source == AUTO and self.qrels is not None and self.queries is not None:
            found.append('names both qrels and queries; remove one, or set source = "qrels" or "hand".')
        if self.queries is not None and not self.queries.exists():
            found.append(f"queries = '{self.queries}' does not exist, neither beside the source nor here. Name a file.")
        least = dict.fromkeys(("easy", "medium", "hard", "seed", "knn_every"), 0)
        least |= dict.fromkeys(("easy_depth", "medium_depth", "hard_depth", "label_depth"), 1)
        least |= dict.fromkeys(("per_label", "hard_relevant"), 1)
        found += [
            f"{key} = {v}; it must be at least {low}." for key, low in least.items() if (v := getattr(self, key)) < low
        ]
        for key in SHARES:
            if not 0 < getattr(self, key) <= 1:
                found.append(f"{key} = {getattr(self, key)}; a share must lie above 0 and be at most 1.")
        for low, high in (("easy_hit", "easy_fill"), ("medium_hit", "medium_main"), ("hard_min", "hard_max")):
            if getattr(self, low) > getattr(self, high):
                found.append(
                    f"{low} = {getattr(self, low)} is above {high} = {getattr(self, high)}; it must be at most that, "
                    "or a query would be no right answer to another one of its concept."
                )
        return found + self._name_faults()

    def _name_faults(self) -> list[str]:
        """Classes named where they must not be."""
        if not all(isinstance(names, list | tuple) for names in self.groups.values()):
            return ["groups must hold a list of classes for each name."]
        found = []
        both = sorted(set(self.objects) & set(self.ignore))
        if both:
            found.append(f"objects and ignore both name {', '.join(both)}.")
        members = list(itertools.chain(*self.groups.values()))
        twice = sorted({name for name in members if members.count(name) > 1})
        if twice:
            found.append(f"groups name {', '.join(twice)} more than once; a class belongs to one group.")
        return found

    def corpus_faults(self, n: int, source: str) -> list[str]:
        """Which depths ``n`` tiles beside the query cannot serve when judged from ``source``, one sentence each."""
        used = {
            **{by: [f"{name}_depth" for name in (EASY, MEDIUM, HARD)] for by in (BY_HAND, GROUND_TRUTH)},
            CLASSES: [f"{name}_depth" for name in (EASY, MEDIUM, HARD) if getattr(self, name)],
            LABELS: ["label_depth"],
        }.get(source, [])
        return [
            f"{name} = {getattr(self, name)}; a query has only {n} other tiles. Lower it, or take more tiles."
            for name in used
            if getattr(self, name) > n
        ]


def judge_tiles(
    tiles: Tiles, spec: JudgeSpec, held_out: Tiles | None = None, truth: GroundTruth | None = None
) -> Judgments | None:
    """Queries and judgments of a corpus, the same for the same seed; None where there is nothing to judge from.

    Args:
        tiles: The corpus that will be searched.
        spec: Rules and numbers.
        held_out: Tiles that are queries and not searched, with what is known of them; None: searched tiles are.
        truth: The ground truth that names them, if one does.

    Raises:
        CorpusError: If the corpus lacks what ``spec.source`` asks for, or is too small for a depth.
        ArtifactError: If the qrels file, or that of the queries, cannot be read.
    """
    shares = tiles.class_fractions
    has = {
        QRELS: spec.qrels is not None,
        BY_HAND: spec.queries is not None,
        GROUND_TRUTH: truth is not None,
        CLASSES: shares is not None,
        LABELS: tiles.labels is not None,
    }
    source = next((name for name in has if has[name]), None) if spec.source == AUTO else spec.source
    if source is None:
        return None
    faults = spec.corpus_faults(len(tiles) - (held_out is None), source)
    if faults:
        raise CorpusError("[judge] does not fit the corpus:\n" + "\n".join(f"- {fault}" for fault in faults))
    if source == QRELS and spec.qrels is not None:
        return _judge_by_qrels(tiles, spec, spec.qrels, held_out)
    depths = {EASY: spec.easy_depth, MEDIUM: spec.medium_depth, HARD: spec.hard_depth}
    if source == GROUND_TRUTH and truth is not None and held_out is not None:
        return judge_pairs(tiles, held_out, truth, depths)
    if source == BY_HAND and spec.queries is not None:
        return hand_judgments(tiles.ids, spec.queries, depths, None if held_out is None else held_out.ids)
    if source == CLASSES and shares is not None:
        return _judge_by_classes(tiles, spec, shares)
    if source == LABELS and tiles.labels is not None:
        if held_out is not None:
            return judge_held_out(tiles, held_out, spec.per_label, spec.label_depth, spec.seed)
        return _judge_by_labels(tiles, spec)
    remedy = {
        CLASSES: "Name a co-registered land-cover raster as corpus.classes",
        LABELS: "Name a table of labels as corpus.labels, or use an image folder with one subfolder a class",
        QRELS: "Name a qrels file as judge.qrels",
        BY_HAND: "Name a CSV of queries as judge.queries",
        GROUND_TRUTH: "Name a file of ground truth as corpus.ground_truth",
    }[source]
    raise CorpusError(f'[judge] source = "{source}", but the corpus has none. {remedy}, or set source = "auto".')


def main_labels(tiles: Tiles) -> np.ndarray | None:
    """(n,) str: each tile's label, or else the class with the greatest share of it; None where neither is known."""
    if tiles.labels is not None:
        return tiles.labels
    shares = tiles.class_fractions
    if shares is None:
        return None
    return shares.columns.to_numpy(str)[shares.fillna(0).to_numpy().argmax(axis=1)]


def _judge_by_classes(tiles: Tiles, spec: JudgeSpec, fractions: pd.DataFrame) -> Judgments:
    """Three strata from the class fractions."""
    unknown = sorted({*spec.objects, *spec.ignore, *itertools.chain(*spec.groups.values())} - set(fractions.columns))
    if unknown:
        raise CorpusError(
            f"[judge] names classes that the land cover lacks: {', '.join(unknown)}. "
            f"Its classes are {', '.join(fractions.columns)}."
        )
    shares = fractions.drop(columns=list(spec.ignore)).fillna(0)
    groups = {group: [name for name in names if name in shares] for group, names in spec.groups.items()}
    objects = list(spec.objects) or object_classes(shares, spec.hard_min, spec.hard_max, spec.object_tiles_frac)
    mediums = medium_concepts(
        grouped(shares, groups), spec.medium_main, spec.medium_hit, spec.medium_cover, spec.easy_fill
    )
    plan = [
        _Plan(EASY, easy_concepts(shares, spec.easy_fill, spec.easy_hit), spec.easy, spec.easy_depth, spec.easy_depth),
        _Plan(MEDIUM, mediums, spec.medium, spec.medium_depth, spec.medium_depth),
        _Plan(
            HARD,
            hard_concepts(shares, objects, spec.hard_min, spec.hard_part, spec.hard_max),
            spec.hard,
            spec.hard_depth,
            spec.hard_relevant,
        ),
    ]
    note = "Objects" + (" by name: " if spec.objects else " by rule: ") + (", ".join(objects) or "none") + "."
    return _gathered(tiles, plan, spec.seed, note)


def _judge_by_labels(tiles: Tiles, spec: JudgeSpec) -> Judgments:
    """One stratum: a tile is relevant when it bears the query's label; tiles without a label never are."""
    labels = tiles.table["label"]
    named = labels.notna().to_numpy() & (labels.astype(str).str.strip() != "").to_numpy()
    values = labels.astype(str).to_numpy()
    plan = []
    for name in sorted(set(values[named])):
        bears = named & (values == name)
        concept = Concept((name,), np.flatnonzero(bears), bears)
        plan.append(_Plan(LABEL, [concept], spec.per_label, spec.label_depth, spec.label_depth))
    return _gathered(tiles, plan, spec.seed)


def _judge_by_qrels(tiles: Tiles, spec: JudgeSpec, path: Path, held_out: Tiles | None) -> Judgments:
    """The judgments of a file; a tile that it does not list is not relevant."""
    qrels = read_qrels(path)
    places = pd.Series(np.arange(len(tiles)), index=tiles.ids)
    here = qrels["topic"].isin(places.index if held_out is None else [*tiles.ids, *held_out.ids])
    inside = here & qrels["document"].isin(places.index)
    topics = qrels.loc[here].drop_duplicates("topic")
    if topics.empty:
        raise CorpusError(
            f"{path}: none of its topics is the id of a tile of this corpus. Judge tiles of the same corpus, cut alike."
        )
    lost, absent = qrels.loc[~here, "topic"].nunique(), int((here & ~inside).sum())
    notes = [f"{lost} topics of {path.name} are no tiles of this corpus and were left out."] if lost else []
    notes += (
        [f"{absent} judgments of {path.name} are of tiles outside this corpus and were left out."] if absent else []
    )
    rows = places.reindex(topics["topic"], fill_value=NOT_SEARCHED).to_numpy(np.int64)
    relevant = np.zeros((len(topics), len(tiles)), dtype=bool)
    right = qrels[inside & (qrels["grade"] > 0)]
    query = pd.Series(np.arange(len(topics)), index=topics["topic"])
    relevant[query[right["topic"]].to_numpy(), places[right["document"]].to_numpy()] = True
    searched = rows != NOT_SEARCHED
    relevant[np.flatnonzero(searched), rows[searched]] = False
    depths = {EASY: spec.easy_depth, MEDIUM: spec.medium_depth, HARD: spec.hard_depth, LABEL: spec.label_depth}
    strata = [name if name in depths else QRELS for name in topics["iteration"]]
    queries = pd.DataFrame(
        {
            "query_id": topics["topic"].to_numpy(np.int64),
            "row": rows,
            "stratum": strata,
            "concept": [f"topic {topic}" for topic in topics["topic"]],
            "depth": [depths.get(name, spec.label_depth) for name in strata],
            "relevant": relevant.sum(axis=1),
        }
    ).astype(QUERY_COLUMNS)
    order = np.argsort([STRATA.index(name) for name in strata], kind="stable")
    return Judgments(queries.iloc[order].reset_index(drop=True), relevant[order], tuple(notes))


@dataclasses.dataclass(frozen=True, eq=False)
class _Plan:
    """What is wanted of one stratum, or of one label."""

    stratum: str
    concepts: list[Concept]
    count: int
    depth: int
    enough: int


def _gathered(tiles: Tiles, plan: list[_Plan], seed: int, *notes: str) -> Judgments:
    """Judgments of the queries that the plans yield, with a note on each plan that yields too few."""
    records: list[tuple[int, int, str, str, int, int]] = []
    relevant: list[np.ndarray] = []
    said = list(notes)
    for number, part in enumerate(plan):
        picks = spread_queries(part.concepts, part.count, part.enough, np.random.default_rng([seed, number]))
        if len(picks) < part.count:
            of = f" of {part.concepts[0].name}" if part.stratum == LABEL else ""
            said.append(
                f"{len(picks)} of {part.count} {part.stratum} queries{of} could be found in {len(tiles)} tiles."
            )
        for row, concept in sorted(picks, key=lambda pick: (pick[1].name, pick[0])):
            right = concept.relevant.copy()
            right[row] = False
            relevant.append(right)
            records.append((int(tiles.ids[row]), row, part.stratum, concept.name, part.depth, int(right.sum())))
    short = sum(record[5] < record[4] for record in records)
    if short:
        said.append(
            f"{short} of {len(records)} queries have fewer relevant tiles than their depth, so that no answer reaches "
            "precision 1: see the ceiling."
        )
    queries = pd.DataFrame(records, columns=list(QUERY_COLUMNS)).astype(QUERY_COLUMNS)
    return Judgments(queries, np.array(relevant, dtype=bool).reshape(len(records), len(tiles)), tuple(said))
