"""The thesis' figures: drawn tiles are told by their pixels, relevance by frames, and words by their boxes.

One file, long as it is: seven figures of one finished run, which is costly to make.
"""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from PIL import Image

from bench.figures.attention import Heads, coloured, draw_attention, masked, seen_part
from bench.figures.board import Board, open_board, shortened, wrapped
from bench.figures.false_positives import FalsePositive, choose_false_positives, draw_false_positives, shown_classes
from bench.figures.losses import draw_losses
from bench.figures.neighbours import draw_neighbours, draw_rows
from bench.figures.query_tiles import draw_queries
from bench.figures.style import QUERY, RIGHT, SOFT, WRONG
from bench.figures.thesis import THESIS, FigureOptions, draw_named
from bench.finished.finished_run import FinishedRun
from bench.finished.run_answers import Answers, find_answers
from ris_core.errors import ArtifactError, SuiteError
from ris_core.records import Tiles

LONG = (
    "a_village_green with $many$ Donaudampfschifffahrtsgesellschaftskapitänsmützen + large_street + hedge + row_field"
)


@pytest.fixture(scope="module")
def run(finished_run: Path) -> FinishedRun:
    return FinishedRun.open(finished_run)


@pytest.fixture(scope="module")
def tiles() -> Tiles:
    """72 tiles that no two look alike."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(30, 225, (72, 4, 4, 3), np.uint8)
    table = pd.DataFrame({"id": 500 + np.arange(72), "raster": "r", "row": 0, "col": np.arange(72)})
    return Tiles(coarse.repeat(4, axis=1).repeat(4, axis=2), table.assign(coverage_frac=1.0))


def answers(queries: int = 1, k: int = 49, *, judged: bool = True, concept: str = "wood") -> Answers:
    """Queries 500, 501, ..., whose neighbours follow them; every third one is relevant."""
    ids = 500 + (np.arange(queries)[:, None] + 1 + np.arange(k)) % 72
    strata = np.array(["easy", "medium", "hard"])[np.arange(queries) % 3] if judged else np.full(queries, "")
    concepts = np.full(queries, concept if judged else "")
    depths = np.full(queries, k if judged else 0)
    relevant = np.tile(np.arange(k) % 3 == 0, (queries, 1)) & judged
    is_judged = np.full(queries, judged)
    distances = np.tile(np.square(np.arange(1.0, k + 1)), (queries, 1))
    query_ids, name = 500 + np.arange(queries), "backbone b, engine e"
    return Answers(name, query_ids, strata, concepts, depths, ids, relevant, distances, is_judged)


def frames(figure: Figure) -> list[Rectangle]:
    """The edges of thumbnails, in the order in which they were drawn."""
    return [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle) and patch.get_width() >= 1]


def drawn_tiles(figure: Figure, tiles: Tiles) -> list[int]:
    """For each frame the id of the tile that looks most like what lies in it."""
    (image,) = figure.axes[0].images
    canvas = np.asarray(image.get_array())
    per_unit = canvas.shape[1] / (image.get_extent()[1] - image.get_extent()[0])
    found = []
    for frame in frames(figure):
        x, y, side = (round(value * per_unit) for value in (frame.get_x(), frame.get_y(), frame.get_width()))
        small = Image.fromarray(canvas[y : y + side, x : x + side]).resize((16, 16), Image.Resampling.BOX)
        distances = np.abs(tiles.pixels.astype(float) - np.asarray(small)).mean(axis=(1, 2, 3))
        assert distances.min() < 12, "no tile looks like this"
        found.append(int(tiles.ids[distances.argmin()]))
    return found


def edges(figure: Figure) -> list[tuple[str, bool]]:
    """Colour of each frame, and whether its line is whole."""
    return [(to_hex(frame.get_edgecolor()), frame.get_linestyle() in ("-", "solid")) for frame in frames(figure)]


def texts(figure: Figure) -> list[Text]:
    return [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]


def words(figure: Figure) -> str:
    return " ".join(" ".join(text.get_text() for text in texts(figure)).split())


def assert_words_fit(figure: Figure) -> None:
    """No text leaves the page, touches another one, or is smaller than can be read."""
    figure.draw_without_rendering()
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts(figure)]
    width, height = figure.get_size_inches() * figure.dpi
    for name, box in boxes:
        assert box.x0 >= -1, name
        assert box.x1 <= width + 1, name
        assert box.y0 >= -1, name
        assert box.y1 <= height + 1, name
    for (name, box), (other, beside) in itertools.combinations(boxes, 2):
        overlap = min(box.x1, beside.x1) - max(box.x0, beside.x0), min(box.y1, beside.y1) - max(box.y0, beside.y0)
        assert min(overlap) <= 1, f"{name!r} lies over {other!r}"
    assert min(text.get_fontsize() for text in texts(figure)) >= 7


def test_neighbours_stand_in_a_square_by_rank_beside_their_query(tiles: Tiles) -> None:
    figure = draw_neighbours(tiles, answers())
    assert drawn_tiles(figure, tiles) == list(range(500, 550))
    query, *hits = frames(figure)
    places = [(frame.get_x(), frame.get_y()) for frame in hits]
    assert places == sorted(places, key=lambda place: (place[1], place[0]))
    assert len({x for x, _ in places}) == len({y for _, y in places}) == 7
    assert query.get_width() == 2
    ranks = [text.get_text() for text in figure.axes[0].texts if text.get_text().isdigit()]
    assert ranks == [str(rank) for rank in range(1, 50)]
    assert_words_fit(figure)
    assert "Tile 500 and its 49 nearest neighbours" in words(figure)
    assert "backbone b, engine e" in words(figure)
    assert "17 of 49 relevant" in words(figure)


def test_frames_tell_relevance_by_colour_line_and_sign(tiles: Tiles) -> None:
    figure = draw_neighbours(tiles, answers(k=9))
    assert edges(figure) == [(QUERY, True)] + [(RIGHT, True) if i % 3 == 0 else (WRONG, False) for i in range(9)]
    signs = [text.get_text() for text in figure.axes[0].texts if text.get_text() in "✓✗"]
    assert signs == ["✓" if i % 3 == 0 else "✗" for i in range(9)]


def test_neighbours_that_nobody_judged_have_grey_frames_and_no_signs(tiles: Tiles) -> None:
    figure = draw_neighbours(tiles, answers(k=9, judged=False))
    assert set(edges(figure)[1:]) == {(SOFT, True)}
    assert "Grey: nobody judged this query." in words(figure)
    assert not {"✓", "✗"} & {text.get_text() for text in figure.axes[0].texts}
    assert "relevant" not in words(figure)


@pytest.mark.parametrize("k", [1, 4, 20, 71])
def test_any_number_of_neighbours_fits(tiles: Tiles, k: int) -> None:
    figure = draw_neighbours(tiles, answers(k=k, concept=LONG))
    assert drawn_tiles(figure, tiles) == list(range(500, 501 + k))
    assert_words_fit(figure)


@pytest.mark.parametrize("ranks", [(1, 2, 3, 4), (1, 5, 20, 40, 49)])
def test_rows_show_the_hits_of_their_ranks(tiles: Tiles, ranks: tuple[int, ...]) -> None:
    figure = draw_rows(tiles, answers(3, concept=LONG), ranks, "Some queries", ["best", "middle", "worst"])
    assert drawn_tiles(figure, tiles) == [500 + q + rank for q in range(3) for rank in (0, *ranks)]
    right = [(RIGHT, True) if (rank - 1) % 3 == 0 else (WRONG, False) for rank in ranks]
    assert edges(figure) == [(QUERY, True), *right] * 3
    shown = [text.get_text() for text in figure.axes[0].texts if text.get_text().isdigit()]
    assert shown == [str(rank) for rank in ranks] * 3
    assert_words_fit(figure)


def test_rows_of_judged_and_other_queries_explain_both(tiles: Tiles) -> None:
    both = answers(2, 3)
    both.is_judged[1] = False
    figure = draw_rows(tiles, both, (1, 2, 3), "Some queries")
    assert edges(figure)[1:4] == [(RIGHT, True), (WRONG, False), (WRONG, False)]
    assert set(edges(figure)[5:]) == {(SOFT, True)}
    assert "Blue with a tick: relevant." in words(figure)
    assert "Grey: nobody judged this query." in words(figure)


def queries(easy: int, medium: int, hard: int, concept: str = "") -> pd.DataFrame:
    strata = ["easy"] * easy + ["medium"] * medium + ["hard"] * hard
    names = [concept or f"concept_{place}" for place in range(len(strata))]
    depth = [{"easy": 100, "medium": 50, "hard": 20}[stratum] for stratum in strata]
    return pd.DataFrame({"query_id": 500 + np.arange(len(strata)), "stratum": strata, "concept": names, "depth": depth})


@pytest.mark.parametrize("concept", ["", LONG, "W" * 60])
def test_query_tiles_stand_by_difficulty_with_their_concepts(tiles: Tiles, concept: str) -> None:
    figure = draw_queries(tiles, queries(10, 20, 10, concept))
    assert drawn_tiles(figure, tiles) == list(range(500, 540))
    assert_words_fit(figure)
    said = words(figure)
    for heading in ("easy · 10 queries · judged to rank 100", "medium · 20 queries · ", "hard · 10 queries · "):
        assert heading in said
    assert "tile 539" in said
    if not concept:
        assert all(f"concept {place} " in said for place in range(40))


def test_query_tiles_beyond_forty_are_counted_and_left_out(tiles: Tiles) -> None:
    figure = draw_queries(tiles, queries(45, 1, 0))
    assert len(frames(figure)) == 41
    assert "easy · 45 queries, the first 40 shown" in words(figure)
    assert draw_queries(tiles, queries(0, 0, 0)) is None


def test_false_positives_take_turns_and_come_from_the_top() -> None:
    given = answers(6, 5)  # easy, medium, hard, easy, medium, hard; of each the ranks 2, 3 and 5 are irrelevant
    given.relevant[0] = [True, True, True, False, True]  # its first irrelevant hit has rank 4
    assert choose_false_positives(given, 3) == [FalsePositive(1, 2), FalsePositive(2, 2), FalsePositive(3, 2)]
    everything = choose_false_positives(given, 99)
    assert everything == [FalsePositive(0, 4)] + [FalsePositive(query, 2) for query in range(1, 6)]
    assert choose_false_positives(given, 99, each=2)[1:3] == [FalsePositive(1, 2), FalsePositive(1, 3)]


def test_false_positives_are_neither_padding_nor_beyond_the_depth_nor_unjudged() -> None:
    given = answers(3, 4)
    given.relevant[:] = False
    given.depths[0] = 0
    given.ids[1] = [-1, -1, 502, 503]
    given.is_judged[2] = False
    assert choose_false_positives(given, 9) == [FalsePositive(1, 3)]
    given.is_judged[:] = False
    assert choose_false_positives(given, 9) == []


def test_false_positives_show_query_hit_rank_and_classes(tiles: Tiles) -> None:
    shares = {"frac_plain_field": 0.7, "frac_road": 0.26, "frac_car": 0.04}
    classed = Tiles(tiles.pixels, tiles.table.assign(**shares))
    figure = draw_false_positives(classed, answers(6, concept=LONG), 5)
    assert drawn_tiles(figure, tiles) == [500, 502, 501, 503, 502, 504, 503, 505, 504, 506]
    assert edges(figure) == [(QUERY, True), (WRONG, False)] * 5
    assert_words_fit(figure)
    said = words(figure).replace("\N{NO-BREAK SPACE}", " ")
    assert "tile 502: plain field 70 %, road 26 %" in said
    assert "car" not in said
    assert draw_false_positives(tiles, answers(judged=False), 5) is None


def test_what_a_tile_shows_is_its_label_or_its_classes_or_unknown(tiles: Tiles) -> None:
    labelled = Tiles(tiles.pixels, tiles.table.assign(label="large_street"))
    assert shown_classes(labelled, 3) == "large street"
    assert shown_classes(tiles, 3) == ""


def heads(count: int = 3, seen_frac: float = 1.0, name: str = "tiny") -> Heads:
    attention = np.random.default_rng(1).random((count, 4, 4)).astype(np.float32)
    return Heads(name, attention / attention.sum(axis=(1, 2), keepdims=True) * 0.9, seen_frac)


def at(figure: Figure, x: float, y: float) -> np.ndarray:
    """The thumbnail at a place, patch by patch: (4, 4, 3) in the middle of each."""
    (image,) = figure.axes[0].images
    canvas = np.asarray(image.get_array())
    size = canvas.shape[1] / (image.get_extent()[1] - image.get_extent()[0])
    rows, cols = ([round((start + (i + 0.5) / 4) * size) for i in range(4)] for start in (y, x))
    return canvas[np.ix_(rows, cols)]


def test_attention_shows_each_head_raw_and_as_a_mask_of_the_tile(tiles: Tiles) -> None:
    one = heads()
    figure = draw_attention(tiles, 5, [one, heads(name="a_backbone_of_quite_a_long_name")], 0.6)
    assert_words_fit(figure)
    grey = at(figure, 1.3, 0) @ [0.299, 0.587, 0.114]
    assert (np.diff(grey.ravel()[np.argsort(one.attention[0].ravel())]) >= 0).all()
    plain = at(figure, 0, 0).astype(float)
    shown = at(figure, 1.3, 1.36).astype(float)
    is_kept = np.abs(shown - plain).max(axis=2) < 10
    kept = one.attention[0][is_kept]
    assert kept.sum() >= 0.6 * one.attention[0].sum() > kept.sum() - kept.min()
    assert kept.min() > one.attention[0][~is_kept].max()
    assert "tile 505" in words(figure)
    assert "60 %" in words(figure)
    assert f"{is_kept.sum()} of 16 patches" in words(figure)


def test_attention_of_many_heads_takes_more_rows(tiles: Tiles) -> None:
    figure = draw_attention(tiles, 0, [heads(12), heads(3)], 0.5)
    assert_words_fit(figure)
    assert "head 12:" in words(figure)
    assert draw_attention(tiles, 0, [heads(6)], 0.5).get_size_inches()[1] < figure.get_size_inches()[1]


def test_attention_is_laid_over_the_part_that_the_network_sees(tiles: Tiles) -> None:
    tile = np.asarray(tiles.pixels[0])
    assert (seen_part(tile, 0.5) == tile[4:12, 4:12]).all()
    assert (seen_part(tile, 1.0) == tile).all()
    assert "without its rim" in words(draw_attention(tiles, 0, [heads(seen_frac=0.875)], 0.5))
    assert "without its rim" not in words(draw_attention(tiles, 0, [heads()], 0.5))


def test_attention_colours_grow_lighter_with_attention_in_grey_too() -> None:
    ramp = np.linspace(0.01, 0.03, 16, dtype=np.float32).reshape(4, 4)
    pixels = coloured(ramp, 4).reshape(16, 3)
    grey = pixels @ [0.299, 0.587, 0.114]
    assert (np.diff(grey) > 0).all()
    assert grey[0] < 50
    assert grey[-1] > 200
    assert len(np.unique(coloured(np.full((4, 4), 0.1, np.float32), 8).reshape(-1, 3), axis=0)) == 1


def test_mask_pales_what_is_outside_and_outlines_what_is_inside() -> None:
    tile = np.full((8, 8, 3), 100, np.uint8)
    mask = np.array([[True, False], [False, False]])
    drawn = masked(tile, mask, 40)
    assert (drawn[5, 5] == 100).all()
    assert (drawn[30, 30] == round(0.28 * 100 + 0.72 * 255)).all()
    assert (drawn[5, 19] == 0).all()
    assert (drawn[0, 0] == 100).all()  # the tile's own edge is no outline


def test_missing_tile_and_missing_answer_are_told(tiles: Tiles) -> None:
    figure, board = open_board("t", "s", tiles, (8, 2))
    board.put_hit(-1, 0, 0, relevant=False)
    board.put(9999, 2, 0)
    board.finish()
    assert "no answer" in words(figure)
    assert (board.canvas == 255).all()
    assert len(frames(figure)) == 2


def test_words_are_wrapped_by_their_width() -> None:
    for text in (LONG, "i" * 80, "W" * 80):
        lines = wrapped(text, 0.8)
        assert "".join("".join(lines).split()) == "".join(text.split())
        figure = Figure()
        artists = [figure.text(0, 0, line.replace("$", r"\$"), size=7.5) for line in lines]
        assert max(artist.get_window_extent().width for artist in artists) <= 0.8 * figure.dpi * 1.06
    assert len(wrapped("i" * 80, 0.8)) < len(wrapped("W" * 80, 0.8))
    assert shortened(["a", "bcd", "e"], 2) == ["a", "bc…"]
    assert shortened(["a", "bcd"], 2) == ["a", "bcd"]


def test_figure_of_regions_says_that_the_suite_asks_for_none(run: FinishedRun) -> None:
    with pytest.raises(ArtifactError, match=r"region_query cannot be drawn: .* \[regions.NAME\] does that"):
        draw_named(run, "region_query")


@pytest.mark.parametrize("name", [name for name in THESIS if name not in ("losses", "region_query")])
def test_every_figure_comes_from_a_finished_run(run: FinishedRun, name: str) -> None:
    figure = draw_named(run, name)
    assert_words_fit(figure)
    board = figure.axes[0]
    assert board.images
    shown = words(figure)
    if name not in ("queries", "attention"):
        assert "backbone micro, engine exact" in shown


def test_options_choose_tile_backbone_engine_and_k(run: FinishedRun) -> None:
    options = FigureOptions(tile=(6,), backbone="colour", engine="falconn", k=9)
    figure = draw_named(run, "neighbours", options)
    expected = find_answers(run, run.setting("colour", "falconn"), [6], 9)
    assert drawn_tiles(figure, run.tiles) == [6, *expected.ids[0].tolist()]
    assert "backbone colour, engine falconn tables2" in words(figure)


def test_easy_queries_are_nearest_and_medium_and_hard_ones_selected(run: FinishedRun) -> None:
    queries = run.judgments.queries
    easy = queries[queries["stratum"] == "easy"]["query_id"].tolist()
    nearest = draw_named(run, "nearest")
    assert drawn_tiles(nearest, run.tiles)[::5] == easy
    assert "Easy queries and their nearest tiles" in words(nearest)
    selected = draw_named(run, "selected", FigureOptions(ranks=(1, 5, 20)))
    chosen = set(drawn_tiles(selected, run.tiles)[::4])
    assert chosen <= set(queries[queries["stratum"] != "easy"]["query_id"])
    assert {tile // 24 for tile in chosen} == {1, 2}
    for word in ("best of", "middle of", "worst of"):
        assert words(selected).count(word) == 2


def test_selected_and_false_positives_of_named_tiles_show_these(run: FinishedRun) -> None:
    query = int(run.judgments.queries["query_id"].iloc[-1])
    selected = draw_named(run, "selected", FigureOptions(tile=(query, 5), ranks=(2, 7)))
    assert drawn_tiles(selected, run.tiles)[::3] == [query, 5]
    wrong = draw_named(run, "false_positives", FigureOptions(tile=(query,), k=3))
    pairs = drawn_tiles(wrong, run.tiles)
    assert set(pairs[::2]) == {query}
    assert all(hit // 24 != query // 24 for hit in pairs[1::2])
    with pytest.raises(SuiteError, match="tile 5 is no judged query"):
        draw_named(run, "false_positives", FigureOptions(tile=(5,)))


def test_attention_is_that_of_every_transformer_and_refused_for_others(run: FinishedRun) -> None:
    figure = draw_named(run, "attention", FigureOptions(tile=(3,), mass=0.5))
    shown = words(figure)
    assert "micro" in shown
    assert "colour" not in shown.replace("colours", "")
    assert "tile 3 " in shown
    assert "50 %" in shown
    with pytest.raises(SuiteError, match=r"no backbone.s attention can be drawn\. colour: "):
        draw_named(run, "attention", FigureOptions(backbone="colour"))
    with pytest.raises(SuiteError, match=r"mass = 1\.5"):
        draw_named(run, "attention", FigureOptions(mass=1.5))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("fly", {}, "figure 'fly' is unknown; known: losses, queries, .*, attention, or all"),
        ("queries", {"tile": (3,), "k": 4}, "--tile does not go with it; it takes no option. --k does not go"),
        ("attention", {"k": 4}, "--k does not go with it; it takes --tile, --backbone, --mass"),
        ("neighbours", {"k": 0}, "--k 0: it must be at least 1"),
        ("selected", {"ranks": (0, 3)}, "--ranks 0,3: name ranks from 1"),
        ("selected", {"tile": (3, 3)}, "--tile names one twice"),
        ("neighbours", {"tile": (3, 4)}, "--tile 3 --tile 4: the figure shows one tile"),
        ("neighbours", {"tile": (99,)}, "tile 99 is not among the run's 72 tiles"),
        ("neighbours", {"backbone": "huge"}, "no backbone 'huge'; known: micro, colour"),
    ],
)
def test_wrong_names_and_options_are_refused(
    run: FinishedRun, name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SuiteError, match=message):
        draw_named(run, name, FigureOptions(**options))


def test_run_without_judgments_shows_tiles_and_refuses_queries(run: FinishedRun) -> None:
    unjudged = FinishedRun.open(run.folder)
    unjudged.__dict__["judgments"] = None  # where the cached property keeps it
    first = draw_named(unjudged, "neighbours", FigureOptions(k=4))
    assert drawn_tiles(first, run.tiles)[0] == 0
    for name in ("queries", "nearest", "selected", "false_positives"):
        with pytest.raises(ArtifactError, match=r"has no judged queries\..*queries.csv"):
            draw_named(unjudged, name)


def test_board_counts_in_thumbnails(tiles: Tiles) -> None:
    _, board = open_board("t", "s", tiles, (8, 2), left=1)
    assert isinstance(board, Board)
    assert board.thumbnail_in == 1.0
    assert board.canvas.shape == (2 * board.thumbnail_px, 8 * board.thumbnail_px, 3)


def test_published_losses_are_drawn_to_their_ends_by_name_where_asked(whole_tables: Path) -> None:
    figure = draw_losses(whole_tables, whole_published=True)
    (ax,) = figure.axes
    lines = {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}
    published = [line for name, line in lines.items() if name.startswith("the thesis' ")]
    assert [int(line.get_xdata()[-1]) for line in published] == [149] * 4
    assert [int(np.isfinite(line.get_ydata()).sum()) for line in published] == [100, 150, 100, 100]
    assert len({str(line.get_linestyle()) for line in published}) == 4
    assert {"tiny", "mini"} <= set(lines)
    assert {text.get_text() for text in ax.get_legend().get_texts()} == set(lines)
    plain = draw_losses(whole_tables).axes[0]
    assert max(float(line.get_xdata()[-1]) for line in plain.lines) == 5
