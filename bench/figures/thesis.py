"""Figures by name, the thesis' and a sibling's, each drawn from a finished run: ``python -m bench figure RUN NAME``."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from matplotlib.figure import Figure

from bench.figures import PICTURES, Drawn
from bench.figures.attention import Heads, draw_attention
from bench.figures.false_positives import draw_false_positives
from bench.figures.gallery import choose_queries
from bench.figures.losses import draw_losses
from bench.figures.matches import draw_matches
from bench.figures.neighbours import draw_neighbours, draw_rows
from bench.figures.query_tiles import draw_queries
from bench.figures.region_query import draw_region_query
from bench.figures.style import save_figure
from bench.finished.finished_run import FinishedRun
from bench.finished.region_answers import RegionAnswers
from bench.finished.run_answers import Answers, find_answers, find_judged_answers
from bench.judging.judgments import EASY, HARD, MEDIUM, Judgments
from bench.tables.run_tables import TABLES
from ris_core.attention import last_attention
from ris_core.backbone import build_backbone
from ris_core.errors import ArtifactError, CheckpointError, RisError, SuiteError
from ris_core.preprocess import PREPROCESSING
from ris_core.records import Tiles

_NEIGHBOURS, _NEAREST, _FALSE_POSITIVES, _MATCHES = 49, 4, 12, 10  # k where none is given
_MOST_ROWS = 20  # queries in one figure
_RANKS = (1, 2, 3, 5, 10, 15, 20)


@dataclasses.dataclass(frozen=True)
class FigureOptions:
    """What a figure shows; whatever is not given is the figure's own choice.

    Attributes:
        tile: Tile ids.
        backbone: Name of a backbone of the run.
        engine: Name of an engine of the run, or of one of its settings.
        k: Neighbours of a query; of false positives how many are shown.
        ranks: Ranks of the neighbours that are shown, from 1.
        mass: Share of the attention that a mask keeps.
        published: Draw the thesis' loss curves to their ends, each by name.
        regions: Name of a table of regions in the run's suite.
    """

    tile: tuple[int, ...] = ()
    backbone: str | None = None
    engine: str | None = None
    k: int | None = None
    ranks: tuple[int, ...] = _RANKS
    mass: float = 0.6
    published: bool = False
    regions: str | None = None

    def fitting(self, takes: Sequence[str]) -> Self:
        """Those of the options that a figure takes."""
        others: dict[str, Any] = {f.name: f.default for f in dataclasses.fields(self) if f.name not in takes}
        return dataclasses.replace(self, **others)

    def faults(self, takes: Sequence[str]) -> list[str]:
        """Options that a figure does not take, and impossible ones."""
        given = [f.name for f in dataclasses.fields(self) if getattr(self, f.name) != f.default]
        known = ", ".join(f"--{name}" for name in takes) or "no option"
        found = [f"--{name} does not go with it; it takes {known}." for name in given if name not in takes]
        if self.k is not None and self.k < 1:
            found.append(f"--k {self.k}: it must be at least 1.")
        if not self.ranks or min(self.ranks) < 1:
            found.append(f"--ranks {','.join(map(str, self.ranks))}: name ranks from 1, such as 1,5,20.")
        if len(set(self.tile)) < len(self.tile):
            found.append("--tile names one twice.")
        return found


def _losses(run: FinishedRun, options: FigureOptions) -> Figure | None:
    return draw_losses(run.folder / TABLES, whole_published=options.published)


def _queries(run: FinishedRun, options: FigureOptions) -> Figure | None:
    return draw_queries(run.tiles, _judged(run).queries)


def _neighbours(run: FinishedRun, options: FigureOptions) -> Figure:
    named = dataclasses.replace(options, tile=(_one_tile(run, options, MEDIUM),))
    return draw_neighbours(run.tiles, _answers(run, named, [], options.k or _NEIGHBOURS))


def _nearest(run: FinishedRun, options: FigureOptions) -> Figure:
    k = options.k or _NEAREST
    rows = [] if options.tile else _rows_of(_judged(run), EASY)[:_MOST_ROWS]
    answers = _answers(run, options, rows, k)
    title = f"{'Easy queries' if set(answers.strata) == {EASY} else 'Queries'} and their nearest tiles"
    return draw_rows(run.tiles, answers, range(1, k + 1), title)


def _matches(run: FinishedRun, options: FigureOptions) -> Figure:
    if len(options.tile) > 1:
        raise _one_tile_fault(options)
    tile = options.tile[0] if options.tile else run.random_tile(run.record.suite["queries"]["seed"])
    answers = _answers(run, dataclasses.replace(options, tile=(tile,)), [], options.k or _MATCHES)
    corpus = run.record.suite["corpus"]
    return draw_matches(run.tiles, answers, corpus["stride_px"] or corpus["tile_px"])


def _regions(run: FinishedRun, options: FigureOptions) -> Figure | None:
    if not run.record.suite.get("regions"):
        return None
    if len(options.tile) > 1:
        raise _one_tile_fault(options)
    tile = options.tile[0] if options.tile else None
    return draw_region_query(run.tiles, RegionAnswers.open(run, tile, options.backbone, options.regions))


def _selected(run: FinishedRun, options: FigureOptions) -> Figure:
    depth, title = max(options.ranks), "Queries and selected neighbours"
    if options.tile:
        return draw_rows(run.tiles, _answers(run, options, [], depth), options.ranks, title)
    judgments = _judged(run)
    deepest = max(depth, int(judgments.queries["depth"].max()))
    answers = _answers(run, options, _rows_of(judgments, MEDIUM, HARD), deepest)
    chosen = [pair for stratum in dict.fromkeys(answers.strata) for pair in choose_queries(answers, stratum)]
    rows, words = [row for row, _ in chosen], [word for _, word in chosen]
    return draw_rows(run.tiles, answers.part(rows, depth, judgments.is_decided), options.ranks, title, words)


def _false_positives(run: FinishedRun, options: FigureOptions) -> Figure | None:
    queries, most = _judged(run).queries, options.k or _FALSE_POSITIVES
    foreign = sorted(set(options.tile) - set(queries["query_id"]))
    if foreign:
        raise SuiteError(f"{run.folder}: tile {foreign[0]} is no judged query: nobody knows its false positives.")
    each = max(1, most // len(options.tile)) if options.tile else 1
    answers = _answers(run, options, range(len(queries)), int(queries["depth"].max()))
    return draw_false_positives(run.tiles, answers, most, each)


def _attention(run: FinishedRun, options: FigureOptions) -> Figure:
    tile = _one_tile(run, options, HARD)
    (place,) = run.places([tile])
    names = run.backbones if options.backbone is None else (run.known_backbone(options.backbone),)
    pixels, found, refused = run.tiles.pixels[place : place + 1], [], []
    for name in names:
        network = build_backbone(run.spec(name))
        try:
            attention = last_attention(network, pixels)[0]
        except CheckpointError as error:  # no transformer with a class token: a colour descriptor, a ResNet
            refused.append(f"{name}: {error}")
            continue
        found.append(Heads(name, attention, PREPROCESSING[network.spec.preprocess].seen_frac(run.tiles.size_px)))
    if not found:
        raise SuiteError(f"{run.folder}: no backbone's attention can be drawn. {' '.join(refused)}")
    return draw_attention(run.tiles, int(place), found, options.mass)


@dataclasses.dataclass(frozen=True)
class ThesisFigure:
    """One of the figures.

    Attributes:
        draw: Draws it; None where the run has nothing to show.
        takes: The options that change it.
        caption: What it shows.
        reason: Why a run has nothing to show.
    """

    draw: Callable[[FinishedRun, FigureOptions], Figure | None]
    takes: tuple[str, ...]
    caption: str
    reason: str = "nothing was judged"


_ASKED = ("tile", "backbone", "engine")
THESIS: dict[str, ThesisFigure] = {
    "losses": ThesisFigure(
        _losses, ("published",), "Losses of all models by epoch, beside the published ones.",
        "no backbone was trained in this run",
    ),
    "queries": ThesisFigure(_queries, (), "The judged queries of each difficulty, with what they show."),
    "neighbours": ThesisFigure(_neighbours, (*_ASKED, "k"), "A query and its nearest neighbours, as a square."),
    "nearest": ThesisFigure(_nearest, (*_ASKED, "k"), "Easy queries, each with its nearest neighbours."),
    "matches": ThesisFigure(
        _matches, (*_ASKED, "k"), "A tile drawn at random and its nearest, with distances and places."
    ),
    "selected": ThesisFigure(
        _selected, (*_ASKED, "ranks"), "Chosen medium and hard queries, with the neighbours of some ranks."
    ),
    "false_positives": ThesisFigure(
        _false_positives, (*_ASKED, "k"), "Irrelevant tiles that came out near the top, and what they show.",
        "nothing was judged, or every neighbour within the judged depth is relevant",
    ),
    "region_query": ThesisFigure(
        _regions, ("tile", "backbone", "regions"), "A query, its regions, and the first answers to each of them.",
        "no query was asked by regions; in a suite, [regions.NAME] does that",
    ),
    "attention": ThesisFigure(
        _attention, ("tile", "backbone", "mass"), "Attention of the last block's heads on one tile: raw, and as masks."
    ),
}  # fmt: skip
ON_PAGE = (
    "queries",
    "neighbours",
    "nearest",
    "matches",
    "false_positives",
    "attention",
    "region_query",
)  # losses are there already


def draw_named(run: FinishedRun, name: str, options: FigureOptions = FigureOptions()) -> Figure:
    """One of the figures.

    Raises:
        SuiteError: If there is no such figure, or an option does not fit it or the run.
        ArtifactError: If the run has nothing to show, or the cache has lost what the figure needs.
    """
    if name not in THESIS:
        raise SuiteError(f"figure {name!r} is unknown; known: {', '.join(THESIS)}, or all of them by `all`.")
    faults = options.faults(THESIS[name].takes)
    if faults:
        raise SuiteError(f"figure {name}: {' '.join(faults)}")
    figure = THESIS[name].draw(run, options)
    if figure is None:
        raise ArtifactError(f"{run.folder}: figure {name} cannot be drawn: {THESIS[name].reason}.")
    return figure


def draw_thesis(run: FinishedRun, folder: Path) -> list[Drawn]:
    """Those of the figures that show imagery, for the page: as PNG alone, into ``folder/pictures``.

    What a run cannot show is left out with a reason; what the cache has lost, `draw_named` says at length.
    """
    drawn = []
    for name in (name for name in ON_PAGE if name != "matches" or _hides_places(run.tiles)):
        caption = f"{THESIS[name].caption} Other tiles, models and formats: python -m bench figure RUN {name}."
        try:
            files = save_figure(draw_named(run, name), folder / PICTURES / name, ("png",))
        except RisError:  # each is a sentence with paths, which belong to the command line and not on a page
            reason = f"nothing of it is known, or the cache has lost it; `python -m bench figure RUN {name}` says which"
            drawn.append(Drawn(name, caption, reason=reason))
        else:
            drawn.append(Drawn(name, caption, tuple(files)))
    return drawn


def _hides_places(tiles: Tiles) -> bool:
    """Whether an id alone does not tell where a tile lies: there are several files, or two grids."""
    table = tiles.table
    return bool(table["raster"].nunique() > 1 or table.duplicated(["row", "col"]).any())


def _answers(run: FinishedRun, options: FigureOptions, rows: Sequence[int], k: int) -> Answers:
    """Answers to the tiles that are asked for; where none is, to the judged queries of some rows."""
    setting = run.setting(options.backbone, options.engine)
    if options.tile:
        return find_answers(run, setting, options.tile, k)
    return find_judged_answers(run, setting, rows, k)


def _judged(run: FinishedRun) -> Judgments:
    if run.judgments is None or not len(run.judgments):
        raise ArtifactError(
            f"{run.folder}: has no judged queries. Run the suite on a corpus with labels or land cover, or name the "
            'queries: [judge] queries = "queries.csv", with the columns tile,concept,difficulty.'
        )
    return run.judgments


def _rows_of(judgments: Judgments, *strata: str) -> list[int]:
    """Rows of the queries of these difficulties; of all where the run has none of them."""
    queries = judgments.queries.reset_index(drop=True)
    part = queries[queries["stratum"].isin(strata)]
    return [int(row) for row in (part if len(part) else queries).index]


def _one_tile(run: FinishedRun, options: FigureOptions, stratum: str) -> int:
    """The tile that is asked for: by default the first query of a difficulty, without judgments the first tile."""
    if len(options.tile) > 1:
        raise _one_tile_fault(options)
    if options.tile:
        return options.tile[0]
    if run.judgments is None or not len(run.judgments):
        return int(np.min(run.tiles.ids))
    return int(run.judgments.queries["query_id"].iloc[_rows_of(run.judgments, stratum)[0]])


def _one_tile_fault(options: FigureOptions) -> SuiteError:
    return SuiteError(f"--tile {' --tile '.join(map(str, options.tile))}: the figure shows one tile. Name one.")
