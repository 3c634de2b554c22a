"""Figures of a run, drawn from its CSV tables alone; and pictures, drawn from its tiles and judged answers.

A figure without data is not drawn: its function returns None, and the page gives the reason that stands here.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from bench.figures.class_accuracy import draw_classes
from bench.figures.costs import draw_costs
from bench.figures.difficulty import draw_leakage, draw_lid
from bench.figures.gallery import draw_gallery
from bench.figures.growth import draw_growth
from bench.figures.losses import draw_losses
from bench.figures.map import draw_map, draw_mosaic
from bench.figures.precision import draw_concepts, draw_precision
from bench.figures.ranking import draw_ranking
from bench.figures.ranks import draw_ranks
from bench.figures.recall import draw_recall
from bench.figures.regions import draw_region_times, draw_regions
from bench.figures.reranking import draw_reranking
from bench.figures.revisited import draw_revisited
from bench.figures.steps import draw_exact_or_lsh, draw_slip
from bench.figures.style import save_figure
from bench.figures.systems import draw_systems
from bench.figures.throughput import draw_throughput
from bench.figures.times import draw_times
from bench.figures.training import draw_curves
from bench.finished.run_answers import Answers
from ris_core.records import Tiles

PICTURES = "pictures"  # subfolder of what shows the imagery, so that a published run can leave it out

FIGURES: dict[str, Callable[[Path], Figure | None]] = {
    "recall_over_query_time": draw_recall,
    "engine_ranks": draw_ranks,
    "costs_over_recall": draw_costs,
    "growth": draw_growth,
    "build_and_query_time": draw_times,
    "query_slip": draw_slip,
    "exact_or_lsh": draw_exact_or_lsh,
    "ranking": draw_ranking,
    "precision_by_difficulty": draw_precision,
    "precision_by_concept": draw_concepts,
    "class_accuracy": draw_classes,
    "revisited": draw_revisited,
    "recall_over_lid": draw_lid,
    "spatial_leakage": draw_leakage,
    "training_losses": draw_losses,
    "training_curves": draw_curves,
    "systems": draw_systems,
    "reranking": draw_reranking,
    "regions": draw_regions,
    "region_times": draw_region_times,
    "throughput": draw_throughput,
}

CAPTIONS: dict[str, str] = {
    "recall_over_query_time": "Share of the exact k nearest neighbours found, over the time of one query; single "
    "queries and batches apart. Ties at rank k count as found.",
    "engine_ranks": "Which engine is cheapest at which recall: ranks by the time of a query, alone and in a batch, by "
    "build time and by memory.",
    "costs_over_recall": "What an index costs before its first query, at each engine's fastest setting that reaches a "
    "recall: build time, and memory beside the vectors.",
    "growth": "What one recall costs over the number of vectors, with fitted power laws.",
    "build_and_query_time": "What each index costs to build and to ask.",
    "query_slip": "The thesis passed queries to the index neither centred nor normalised, as the indexed vectors were. "
    "The same index, asked both ways: what it lost in recall and in precision.",
    "exact_or_lsh": "How far from exact is LSH? What it finds, what its index loses, and what the model loses.",
    "ranking": "Engines ranked by the time of a single query, averaged over data sets; a data set is the features of "
    "one backbone. Bars join engines that cannot be told apart.",
    "precision_by_difficulty": "Share of relevant tiles among the neighbours, with random weights, a colour descriptor "
    "and random answers as baselines where the suite has them.",
    "precision_by_concept": "Precision of exact neighbours for each concept that a query shows.",
    "class_accuracy": "Which classes find their own: share of the neighbours that bear the query's label, by class and "
    "system.",
    "revisited": "Mean average precision of the revisited protocol, by set-up and system.",
    "recall_over_lid": "Recall over the local intrinsic dimension of the queries: what an average hides.",
    "spatial_leakage": "Scores with the query's own tile left out, and with all tiles that show its ground left out.",
    "training_losses": "DINO's loss by epoch.",
    "systems": "Whole systems side by side: precision over the time from a picture to its answer.",
    "regions": "Queries by their whole pictures and by regions of them: precision by difficulty.",
    "region_times": "What a query costs by number of crops, beside what describing the corpus costs.",
    "reranking": "What re-ranking an index' answers gains in average precision, over the time that it adds.",
    "throughput": "Rates of tiling, training and extraction beside the published way of doing the same work, all "
    "measured in this run.",
    "training_curves": "Loss, the teacher's entropy, the student's divergence from the teacher and k-NN accuracy over "
    "the time of training, with backbones that were not trained as baselines.",
    "tile_map": "Footprints of the tiles, from the run's GeoParquet.",
    "mosaic": "The corpus put together from its tiles.",
}

REASONS: dict[str, str] = {
    "recall_over_query_time": "no approximate engine was measured",
    "engine_ranks": "it needs two engines that answered corrected queries",
    "costs_over_recall": "no approximate engine reached any of the recalls",
    "growth": "the corpus was measured at one size; in [corpus], sizes = [50000, 100000, 200000] measures vectors at "
    "several",
    "build_and_query_time": "no cell was measured",
    "query_slip": "the suite asks its queries in one way only; in [queries], "
    'space = ["corrected", "as_published"] asks in both',
    "exact_or_lsh": "no query was judged, or no approximate engine stood beside exact search",
    "ranking": "it needs two engines that answered single, corrected queries on the same three data sets or more; a "
    "data set is one backbone's features, and `python -m bench rank` takes those of several runs together",
    "precision_by_difficulty": "no query was judged",
    "precision_by_concept": "no query was judged, or exact search was not among the engines",
    "class_accuracy": 'no query was judged by a label; in [judge], source = "labels" does that',
    "revisited": "nothing was judged by the revisited protocol",
    "recall_over_lid": "no approximate engine was measured, or the run knows no geometry of its queries",
    "spatial_leakage": "no tile but the query's own was left out; in [queries], "
    'exclude = ["self", "overlap", "block"] leaves out more',
    "training_losses": "no backbone was trained in this run",
    "training_curves": "no backbone was trained in this run",
    "systems": "the suite names no systems, or nothing was judged; in a suite, [system.NAME] names the parts of one",
    "regions": "no query was asked by regions; in a suite, [regions.NAME] does that",
    "region_times": "no query was asked by regions; in a suite, [regions.NAME] does that",
    "reranking": "no answers were re-ranked; in a suite, [rerank.NAME] does that",
    "throughput": "no rate was measured",
    "tile_map": "the tiles have no footprints: the corpus is not a raster, or its tiles are no longer in the cache",
    "mosaic": "the tiles have no footprints",
}
_GALLERY = "Judged queries and their nearest tiles: relevant or not, by the rules of the judge."


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A figure on disk, or the reason why there is none.

    Attributes:
        name: Name of its files, without ending.
        caption: What it shows.
        files: Its PNG and its SVG; empty where there was nothing to draw.
        reason: Why it was not drawn, else empty.
    """

    name: str
    caption: str
    files: tuple[Path, ...] = ()
    reason: str = ""


def draw_figures(tables: Path, folder: Path) -> list[Drawn]:
    """Draw every figure of `FIGURES` that the tables carry into ``folder``."""
    return [_keep(name, draw(tables), folder) for name, draw in FIGURES.items()]


def draw_places(tiles: Tiles | None, folder: Path, query_ids: np.ndarray | None = None) -> Drawn:
    """Draw the map of the tiles, which shows classes but no imagery, into ``folder``."""
    return _keep("tile_map", None if tiles is None else draw_map(tiles, query_ids), folder)


def draw_pictures(tiles: Tiles, answers: Sequence[Answers], folder: Path) -> list[Drawn]:
    """Draw what shows the imagery, into ``folder/pictures``: the corpus, and a gallery for each difficulty."""
    drawn = [_keep("mosaic", draw_mosaic(tiles), folder / PICTURES)]
    for stratum in dict.fromkeys(answers[0].strata if answers else ()):
        figure = draw_gallery(tiles, answers, stratum)
        slug = "".join(letter if letter.isalnum() else "_" for letter in stratum)
        drawn.append(_keep(f"gallery_{slug}", figure, folder / PICTURES))
    return [picture for picture in drawn if picture.files]


def _keep(name: str, figure: Figure | None, folder: Path) -> Drawn:
    caption = CAPTIONS.get(name, _GALLERY)
    if figure is None:
        return Drawn(name, caption, reason=REASONS.get(name, "nothing was judged"))
    return Drawn(name, caption, tuple(save_figure(figure, folder / name)))
