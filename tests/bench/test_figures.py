"""Figures by their artists: one file, long as it is, because all are drawn from one set of tables."""

import hashlib
import shutil
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from shapely.geometry import box

from bench.figures import FIGURES, PICTURES, REASONS, draw_figures, draw_pictures, draw_places
from bench.figures.gallery import draw_gallery
from bench.figures.map import draw_map, draw_mosaic
from bench.figures.recall import pareto_front
from bench.figures.steps import draw_exact_or_lsh, draw_slip, slip_pairs
from bench.figures.style import (
    Sheet,
    backbone_looks,
    draw_sheet,
    milliseconds,
    read_cells,
    save_figure,
    scale_times,
    variant_colours,
)
from bench.finished.run_answers import Answers
from bench.tables.table import read_table, write_table
from bench.tables.table_schemas import SCHEMAS
from ris_core.errors import ArtifactError
from ris_core.records import Tiles

COUNTS = {
    "recall_over_query_time": "500 queries among 4,000 vectors",
    "engine_ranks": "n = 4,000, k = 100",
    "costs_over_recall": "n = 4,000. Each engine in the setting that answers single queries fastest",
    "growth": "n = 1,000 to 4,000",
    "build_and_query_time": "4,000 vectors; 500 queries",
    "query_slip": "Recall of 500 timed queries",
    "exact_or_lsh": "10 to 20 judged queries a difficulty",
    "ranking": "3 data sets (500 single queries among 4,000 tiles",
    "precision_by_difficulty": "10 to 20 judged queries",
    "precision_by_concept": "number of judged queries",
    "class_accuracy": "20 to 30 queries a class, 50 in all",
    "recall_over_lid": "496 queries; mean recall in bins of equally many queries",
    "spatial_leakage": "10 to 500 queries a score",
    "training_losses": "6 epochs on 2,000 tiles",
    "training_curves": "6 epochs on 2,000 tiles",
    "revisited": "n = 4,000 images, 3,000 of them distractors",
    "systems": "n = 4,000 tiles. Precision of the judged queries",
    "reranking": "of the same answers to the judged queries",
    "regions": "95 % bootstrap intervals over the queries",
    "region_times": "tiny described in 20 s, 2.05 MB",
    "throughput": "Medians over 2 processes",
}


def words_of(figure: Figure) -> str:
    return " ".join(text.get_text().replace("\n", " ") for text in figure.texts)


def assert_nothing_is_cut(figure: Figure) -> None:
    figure.draw_without_rendering()
    x0, y0, x1, y1 = figure.get_tightbbox().extents
    width, height = figure.get_size_inches()
    assert x0 >= 0
    assert y0 >= 0
    assert x1 <= width
    assert y1 <= height
    head = min(text.get_window_extent().y0 for text in figure.texts)
    assert all(ax.get_tightbbox().y1 <= head for ax in figure.axes), "a title stands over the axes"


def has_data(figure: Figure) -> bool:
    return all(ax.lines or ax.collections or ax.images for ax in figure.axes)


def throughput() -> pd.DataFrame:
    """Rates, of which a run that searches has none."""
    ways = {"ours": (30.0, 3.0), "published": (10.0, 1.0)}
    rows = [
        {"cell": f"throughput/extract/tiny/{way}-1t", "stage": "extract", "way": way, "backbone": "tiny", "threads": 1,
         "device": "cpu", "tiles_per_s": rate, "ci_low": rate - 1, "ci_high": rate + 1, "processes": 2, "rounds": 6,
         "times_as_fast": times, "times_ci_low": times, "times_ci_high": times, "status": "ok"}
        for way, (rate, times) in ways.items()
    ]  # fmt: skip
    return pd.DataFrame(rows).reindex(columns=list(SCHEMAS["throughput"]))


@pytest.fixture(scope="module")
def figures(whole_tables: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Figure | None]:
    folder = Path(shutil.copytree(whole_tables, tmp_path_factory.mktemp("figures") / "tables"))
    write_table(throughput(), folder, "throughput")
    return {name: draw(folder) for name, draw in FIGURES.items()}


@pytest.mark.parametrize("name", FIGURES)
def test_figure_shows_data_counts_and_whole_labels(figures: dict[str, Figure | None], name: str) -> None:
    figure = figures[name]
    assert figure is not None
    assert has_data(figure)
    assert COUNTS[name] in words_of(figure)
    assert_nothing_is_cut(figure)


@pytest.mark.parametrize("name", ["regions", "revisited"])
def test_shared_axis_reaches_to_the_end_of_every_panel_s_intervals(figures: dict[str, Figure], name: str) -> None:
    for ax in figures[name].axes:
        ends = [path.vertices[:, 0] for lines in ax.collections for path in lines.get_paths()]
        ends += [line.get_xdata() for line in ax.lines]
        assert np.concatenate(ends).max() < ax.get_xlim()[1]


def test_near_times_of_re_ranking_still_have_round_numbers_below(tables: Path) -> None:
    rows = read_table(tables / "reranking.csv")
    write_table(rows.assign(rerank_ms=0.3701), tables, "reranking")
    last_row = FIGURES["reranking"](tables).axes[-rows["backbone"].nunique() :]
    assert all(len(ax.get_xticks()) >= 2 for ax in last_row)


@pytest.mark.parametrize("name", FIGURES)
def test_axes_name_what_they_measure(figures: dict[str, Figure], name: str) -> None:
    figure = figures[name]
    labels = {ax.get_xlabel() for ax in figure.axes} | {ax.get_ylabel() for ax in figure.axes}
    expected = {
        "recall_over_query_time": {"recall@100", "time per query (ms, log scale)"},
        "engine_ranks": {"recall@100"},
        "costs_over_recall": {"recall@100 of at least", "s (log scale)", "MiB (log scale)"},
        "growth": {"vectors n (log scale)", "ms (log scale)", "s (log scale)", "MiB (log scale)"},
        "build_and_query_time": {"build time (ms, log scale)", "time per query (ms, log scale)"},
        "query_slip": {"recall@100", "easy@100", "medium@50", "hard@20"},
        "exact_or_lsh": {"precision@100", "precision@50", "precision@20"},
        "ranking": set(),
        "precision_by_difficulty": {"precision@100", "precision@50", "precision@20"},
        "precision_by_concept": set(),
        "class_accuracy": set(),
        "recall_over_lid": {"recall@100", "local intrinsic dimension"},
        "spatial_leakage": {"recall@100", "precision easy@100", "precision medium@50", "precision hard@20"},
        "training_losses": {"loss (nats)", "epoch"},
        "training_curves": {"loss (nats)", "teacher entropy (nats)", "k-NN accuracy,\nk = 20", "time of training (s)"},
        "revisited": {"mAP"},
        "systems": {"precision", "picture to answer (ms, log scale)"},
        "reranking": {"gain in average precision", "re-ranking, per query (ms, log scale)"},
        "regions": {"precision"},
        "region_times": {"ms (log scale)", "crops of a query"},
        "throughput": {"tiles/s"},
    }
    assert expected[name] <= labels


def test_each_way_of_asking_has_a_panel_of_its_own(tables: Path) -> None:
    cells = read_table(tables / "lsh_parameters.csv")
    threaded = cells[cells["mode"] == "batch"].assign(threads=2, cell=cells["cell"] + "-2t")
    write_table(pd.concat([cells, threaded]), tables, "lsh_parameters")
    recall, times = (FIGURES[name](tables) for name in ("recall_over_query_time", "build_and_query_time"))
    ways = ["single queries, 1 thread", "one batch, 1 thread", "one batch, 2 threads"]
    backbones = list(dict.fromkeys(cells["backbone"]))
    assert [ax.get_title(loc="left") for ax in recall.axes] == [
        f"{backbone} · {way}" for backbone in backbones for way in ways
    ]
    assert [ax.get_title(loc="left") for ax in times.axes] == ["build", *ways]


def test_figure_gives_same_bytes_twice(whole_tables: Path, tmp_path: Path) -> None:
    def digests(folder: str) -> list[str]:
        files = save_figure(FIGURES["query_slip"](whole_tables), tmp_path / folder / "slip")
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]

    assert digests("first") == digests("second")


def test_figures_are_not_drawn_without_data(tmp_path: Path) -> None:
    drawn = draw_figures(tmp_path / "no tables", tmp_path / "figures")
    assert [figure.files for figure in drawn] == [()] * len(FIGURES)
    assert [figure.reason for figure in drawn] == [REASONS[name] for name in FIGURES]
    assert draw_places(None, tmp_path).reason == REASONS["tile_map"]


def test_figures_stand_on_disk_as_png_and_svg(tables: Path, tmp_path: Path) -> None:
    for path in tables.glob("*.csv"):
        if path.stem not in ("losses", "models"):
            path.unlink()
    drawn = {figure.name: figure for figure in draw_figures(tables, tmp_path)}
    assert drawn["query_slip"].files == ()
    losses = drawn["training_losses"]
    assert [path.name for path in losses.files] == ["training_losses.png", "training_losses.svg"]
    assert losses.files[0].read_bytes().startswith(b"\x89PNG")
    assert b"dc:date" not in losses.files[1].read_bytes()


def test_run_of_query_cells_alone_has_no_panels_of_builds(tables: Path) -> None:
    for name, columns in (("lsh_parameters", ["build_s"]), ("cheapest_settings", ["build_s", "size_bytes"])):
        frame = read_table(tables / f"{name}.csv")
        frame[columns] = pd.NA
        write_table(frame, tables, name)
    assert FIGURES["costs_over_recall"](tables) is None
    times = FIGURES["build_and_query_time"](tables)
    assert_nothing_is_cut(times)
    assert [ax.get_title(loc="left") for ax in times.axes] == ["single queries, 1 thread", "one batch, 1 thread"]


def rename_backbone(tables: Path, old: str, new: str) -> None:
    for path in tables.glob("*.csv"):
        frame = read_table(path)
        if "backbone" in frame:
            frame["backbone"] = frame["backbone"].replace(old, new)
        write_table(frame, tables, path.stem)


@pytest.mark.parametrize("name", ["recall_over_query_time", "build_and_query_time", "precision_by_concept"])
def test_long_names_and_formula_signs_are_drawn_as_they_are(tables: Path, name: str) -> None:
    rename_backbone(tables, "tiny", "vit $x_1$ trained for long")
    figure = FIGURES[name](tables)
    assert_nothing_is_cut(figure)
    shown = [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]
    assert any(r"\$x_1\$" in text for text in shown)


def test_point_labels_never_overlap(figures: dict[str, Figure]) -> None:
    figure = figures["recall_over_query_time"]
    figure.draw_without_rendering()
    for ax in figure.axes:
        boxes = [text.get_window_extent() for text in ax.texts if isinstance(text, Annotation)]
        assert boxes, "a panel has no label at all"
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])


def test_failed_cells_are_not_drawn(tables: Path) -> None:
    cells = read_table(tables / "lsh_parameters.csv")
    cells.loc[cells["backbone"] == "mini", "status"] = "failed"
    write_table(cells, tables, "lsh_parameters")
    assert "mini" not in set(read_cells(tables)["backbone"])
    titles = [ax.get_title(loc="left") for ax in FIGURES["recall_over_query_time"](tables).axes]
    assert not any("mini" in title for title in titles)


def test_variant_is_engine_and_family_and_exact_by_any_name(tables: Path) -> None:
    cells = read_table(tables / "lsh_parameters.csv")
    cells["engine"] = cells["engine"].replace("exact", "brute force")
    write_table(cells, tables, "lsh_parameters")
    assert set(read_cells(tables)["variant"]) == {"exact", "falconn cross-polytope", "falconn hyperplane"}


def test_other_params_keep_only_what_varies(tables: Path) -> None:
    cells = read_table(tables / "lsh_parameters.csv")
    cells["other_params"] = [f"seed=0; rotations={n % 2}; storage=flat" for n in range(len(cells))]
    write_table(cells, tables, "lsh_parameters")
    assert set(read_cells(tables)["other_params"]) == {"rotations=0", "rotations=1"}


def test_colours_of_engines_and_backbones_are_apart_and_stable() -> None:
    engines = variant_colours(pd.Series(["falconn", "exact", "hnsw", "falconn"]))
    backbones = backbone_looks(pd.Series(["tiny", "small", "random", "colour"]))
    used = [engines["falconn"], engines["hnsw"], engines["exact"], *(look["color"] for look in backbones.values())]
    assert len(set(used)) == len(used)
    assert variant_colours(pd.Series(["exact", "falconn", "hnsw"]))["falconn"] == engines["falconn"]
    assert len({look["marker"] for look in backbones.values()}) == 4  # told apart in print without colour


def test_pareto_front_by_hand() -> None:
    cells = pd.DataFrame({"query_ms_median": [3, 1, 2, 2, 4], "recall": [0.9, 0.5, 0.4, 0.7, 0.9]})
    assert pareto_front(cells).index.tolist() == [1, 3, 0]


@given(st.lists(st.tuples(st.floats(0.01, 10), st.floats(0, 1)), min_size=1, max_size=30))
def test_pareto_front_holds_exactly_what_nothing_beats(points: list[tuple[float, float]]) -> None:
    cells = pd.DataFrame(points, columns=["query_ms_median", "recall"])
    front = pareto_front(cells)

    def beaten(ms: float, recall: float) -> bool:
        return any(m <= ms and r >= recall and (m < ms or r > recall) for m, r in points)

    assert not any(beaten(*row) for row in front.itertuples(index=False))
    kept = set(front.itertuples(index=False, name=None))
    assert {point for point in points if not beaten(*point)} <= kept


def test_steps_are_as_long_as_what_was_found_and_lost(tables: Path) -> None:
    def first_bars() -> np.ndarray:
        ax = draw_exact_or_lsh(tables).axes[0]
        assert ax.get_title(loc="left") == "tiny · easy · 10 queries"
        return np.array([(bar.get_x(), bar.get_x() + bar.get_width()) for bar in ax.patches])

    losses = read_table(tables / "exact_or_lsh.csv")
    row = losses[(losses["backbone"] == "tiny") & (losses["stratum"] == "easy")].iloc[0]
    bars = np.array([(0, row["ceiling"]), (row["lsh"], row["exact"]), (0, row["lsh"])])
    assert first_bars() == pytest.approx(bars)
    write_table(losses.assign(lsh=losses["exact"] + 0.1), tables, "exact_or_lsh")
    lucky = np.array([(0, row["ceiling"]), (0, row["exact"] + 0.1)])  # an index may find more by chance: it loses none
    assert first_bars() == pytest.approx(lucky)


def test_steps_of_a_single_setting_have_room_beside_their_legend(tables: Path) -> None:
    losses = read_table(tables / "exact_or_lsh.csv")
    first = losses[losses["stratum"] == "easy"].drop_duplicates("backbone").iloc[:2]
    assert len(first) == 2
    write_table(first, tables, "exact_or_lsh")
    figure = draw_exact_or_lsh(tables)
    figure.draw_without_rendering()  # where axes collapse, matplotlib warns, and nothing is laid out
    heights = [ax.get_window_extent().height for ax in figure.axes]
    assert min(heights) > 20


def test_slip_shows_precision_of_both_ways(tables: Path) -> None:
    averages = read_table(tables / "nn_precision_averages.csv")
    raw = averages[averages["cell"] != ""].assign(space="as_published", precision=0.05, ci_low=0.0, ci_high=0.1)
    raw["cell"] = raw["cell"].str.replace("corrected", "as_published")
    write_table(pd.concat([averages, raw]), tables, "nn_precision_averages")
    axes = {ax.get_title(loc="left"): ax for ax in draw_slip(tables).axes}
    ax = axes["tiny · easy@100"]
    own = averages[(averages["cell"] == "tiny/exact/corrected/single") & (averages["stratum"] == "easy")]
    found = [line.get_xdata()[0] for line in ax.lines if line.get_ydata()[0] == 0]
    assert found == pytest.approx([own["precision"].iloc[0], 0.05])
    assert "mini · recall@100" in axes


def test_slip_is_drawn_where_neither_way_finds_anything(tables: Path) -> None:
    averages = read_table(tables / "nn_precision_averages.csv")
    averages.loc[averages["stratum"] == "hard", ["precision", "ci_low", "ci_high"]] = 0.0
    write_table(averages, tables, "nn_precision_averages")
    axes = {ax.get_title(loc="left"): ax for ax in draw_slip(tables).axes}
    assert axes["tiny · hard@20"].get_xlim() == (-0.02, 1.04)


def test_slip_pairs_join_both_ways_of_asking_once(tables: Path) -> None:
    cells = read_cells(tables)
    pairs = slip_pairs(cells)
    assert len(pairs) == 3 * (2 * 4 + 1)  # backbones times (families times settings, and exact)
    row = pairs[(pairs["variant"] == "falconn hyperplane") & (pairs["backbone"] == "tiny")].iloc[0]
    setting = ["backbone", "variant", "tables", "probes_per_table"]
    twin = cells[(cells[setting] == row[setting]).all(axis=1)]
    assert set(twin["recall"]) == {row["recall"], row["recall_raw"]}


@pytest.mark.parametrize(
    ("low_high", "label", "ticks"),
    [
        ((0.05, 2.5), "t (ms, log scale)", ["0.05", "0.1", "0.5", "2"]),
        ((0.001, 0.004), "t (µs, log scale)", ["1", "1.5", "2", "3", "4"]),
        ((3000, 90000), "t (s, log scale)", ["5", "10", "20", "50"]),
    ],
)
def test_time_axis_has_few_round_ticks_in_one_unit(low_high: tuple, label: str, ticks: list[str]) -> None:
    _, axes = draw_sheet(Sheet("title", "subtitle"))
    ax = axes[0, 0]
    ax.set_xlim(*low_high)
    scale_times(ax, "t")
    assert ax.get_xlabel() == label
    shown = [text.get_text() for text in ax.get_xticklabels()]
    assert len(shown) <= 6
    assert set(ticks) <= set(shown)


def test_milliseconds_by_hand() -> None:
    assert [milliseconds(ms) for ms in (0.0123, 0.4567, 12.34, 2500)] == ["12.3 µs", "0.457 ms", "12.3 ms", "2.5 s"]


def square_tiles(side: int = 2) -> Tiles:
    """Tiles of one colour each, red growing to the east, green growing to the south."""
    rows, cols = np.divmod(np.arange(side * side), side)
    pixels = np.zeros((side * side, 8, 8, 3), np.uint8)
    pixels[..., 0] = (40 + 40 * cols)[:, None, None]
    pixels[..., 1] = (40 + 40 * rows)[:, None, None]
    corners = [(500 + 10 * c, 890 - 10 * r) for r, c in zip(rows, cols, strict=True)]
    places = [box(x, y, x + 10, y + 10) for x, y in corners]
    table = gpd.GeoDataFrame(
        {"id": 100 + np.arange(side * side), "label": [f"class_{c}" for c in cols], "footprint": places},
        geometry="footprint",
        crs="EPSG:3857",
    )
    return Tiles(pixels, table)


def test_map_draws_each_tile_at_its_place() -> None:
    tiles = square_tiles()
    figure = draw_map(tiles, np.array([103]))
    assert_nothing_is_cut(figure)
    (polygons,) = (c for c in figure.axes[0].collections if isinstance(c, PolyCollection))
    assert len(polygons.get_paths()) == len(tiles)
    assert polygons.get_paths()[3].get_extents().bounds == (10, 0, 10, 10)  # lower right, from the lower left corner
    assert "4 tiles" in words_of(figure)
    assert "m east of x = 500 (EPSG:3857)" in figure.axes[0].get_xlabel()
    ring = figure.axes[0].lines[-1]
    assert np.column_stack(ring.get_data()).tolist() == [[15, 5]]


def test_map_colours_water_blue_and_every_class_differently() -> None:
    tiles = square_tiles(3)
    tiles.table["label"] = [
        "meadow",
        "meadow",
        "meadow",
        "garden",
        "garden",
        "light_wood",
        "yard",
        "calm_water",
        "river",
    ]
    legend = draw_map(tiles).legends[0]
    colours = {
        text.get_text(): patch.get_facecolor()
        for text, patch in zip(legend.get_texts(), legend.get_patches(), strict=True)
    }
    assert len(set(colours.values())) == len(colours) == 6
    blues = {to_rgba(name) for name in ("#0173b2", "#56b4e9")}
    assert {colours["calm water"], colours["river"]} == blues


def test_mosaic_puts_north_up_and_east_right() -> None:
    tiles = square_tiles()
    figure = draw_mosaic(tiles)
    assert_nothing_is_cut(figure)
    (image,) = figure.axes[0].images
    pixels = np.asarray(image.get_array())
    corners = [pixels[y, x].tolist() for y, x in ((5, 5), (5, -5), (-5, 5), (-5, -5))]
    assert corners == [[40, 40, 0], [80, 40, 0], [40, 80, 0], [80, 80, 0]]
    assert (pixels != 245).any(axis=2).all(), "a seam between tiles"


def test_tiles_without_footprints_have_no_map() -> None:
    tiles = square_tiles()
    bare = Tiles(tiles.pixels, pd.DataFrame(tiles.table.drop(columns="footprint")))
    assert draw_map(bare) is None
    assert draw_mosaic(bare) is None


def answers(name: str = "tiny · exact") -> Answers:
    """Three easy queries of precision 1, 0.5 and 0, and a hard one whose answer is short."""
    return Answers(
        name,
        query_ids=np.array([100, 101, 102, 103]),
        strata=np.array(["easy", "easy", "easy", "hard"]),
        concepts=np.array(["plain_field", "wave_water", "dense_wood", "boat"]),
        depths=np.array([2, 2, 2, 2]),
        ids=np.array([[101, 102], [100, 102], [100, 101], [100, -1]]),
        relevant=np.array([[True, True], [True, False], [False, False], [True, True]]),
        distances=np.array([[1.0, 4.0], [1.0, 1.0], [0.0, 9.0], [2.0, np.inf]]),
        is_judged=np.ones(4, bool),
    )


def test_precision_of_answers_counts_padding_against() -> None:
    assert answers().precision.tolist() == [1.0, 0.5, 0.0, 0.5]


def test_gallery_marks_right_and_wrong_by_colour_line_and_sign() -> None:
    figure = draw_gallery(square_tiles(), [answers(), answers("tiny · falconn")], "easy")
    assert_nothing_is_cut(figure)
    ax = figure.axes[0]
    texts = [text.get_text() for text in ax.texts]
    assert texts.count("✓") == 2 * 3
    assert texts.count("✗") == 2 * 3
    assert "plain field · tile 100 · best of 3 queries" in texts
    assert "wave water · tile 101 · middle of 3 queries" in texts
    assert "dense wood · tile 102 · worst of 3 queries" in texts
    frames = [patch for patch in ax.patches if patch.get_linewidth() == 2.4]
    looks = {(patch.get_edgecolor(), patch.get_linestyle() == "-") for patch in frames}
    assert len(looks) == 2
    assert {solid for _, solid in looks} == {True, False}


def test_gallery_says_where_an_answer_is_missing() -> None:
    figure = draw_gallery(square_tiles(), [answers()], "hard")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts.count("no\nanswer") == 1
    assert texts.count("✓") == 1
    assert draw_gallery(square_tiles(), [answers()], "medium") is None
    assert draw_gallery(square_tiles(), [], "easy") is None


def test_gallery_shows_the_tiles_themselves() -> None:
    figure = draw_gallery(square_tiles(), [answers()], "hard")
    colours = {tuple(pixel) for pixel in np.asarray(figure.axes[0].images[0].get_array()).reshape(-1, 3).tolist()}
    assert {(80, 80, 0), (40, 40, 0)} <= colours  # query 103 and its hit 100
    assert (80, 40, 0) not in colours  # tile 101 is no hit


def test_pictures_stand_apart_from_figures(tmp_path: Path) -> None:
    drawn = draw_pictures(square_tiles(), [answers()], tmp_path)
    assert [picture.name for picture in drawn] == ["mosaic", "gallery_easy", "gallery_hard"]
    assert {path.parent for picture in drawn for path in picture.files} == {tmp_path / PICTURES}


def test_answers_file_of_another_version_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "hits.npz", query_ids=np.array([1]))
    with pytest.raises(ArtifactError, match="Run the cell again"):
        Answers.open(tmp_path / "hits.npz", "tiny")
    with pytest.raises(ArtifactError):
        Answers.open(tmp_path / "missing.npz", "tiny")
