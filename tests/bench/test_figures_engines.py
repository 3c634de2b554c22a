"""Figures of a run over many engines, on one corpus and on one of several sizes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from bench.figures.costs import draw_costs, setting_costs
from bench.figures.growth import draw_growth
from bench.figures.ranks import draw_ranks
from bench.figures.recall import draw_recall
from bench.figures.steps import draw_exact_or_lsh
from bench.figures.style import read_cells, read_rows, variant_looks
from bench.figures.times import draw_times
from bench.tables.table import read_table, write_table

DRAWN = {"recall": draw_recall, "costs": draw_costs, "ranks": draw_ranks, "times": draw_times}
VARIANTS = {
    "exact", "falconn cross-polytope", "falconn hyperplane", "crosspolytope", "faiss_ivf", "faiss_hnsw", "hnswlib",
    "faiss_lsh", "kdtree",
}  # fmt: skip


def assert_nothing_is_cut(figure: Figure) -> None:
    figure.draw_without_rendering()
    x0, y0, x1, y1 = figure.get_tightbbox().extents
    width, height = figure.get_size_inches()
    assert min(x0, y0) >= 0
    assert x1 <= width
    assert y1 <= height
    head = min(text.get_window_extent().y0 for text in figure.texts)
    assert all(ax.get_tightbbox().y1 <= head for ax in figure.axes), "a title stands over the axes"


def legend_words(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


@pytest.mark.parametrize("name", DRAWN)
def test_many_engines_leave_nothing_cut(engine_tables: Path, growing_tables: Path, name: str) -> None:
    for tables in (engine_tables, growing_tables):
        assert_nothing_is_cut(DRAWN[name](tables))


def test_every_engine_has_a_look_of_its_own_in_colour_and_in_grey() -> None:
    looks = variant_looks(pd.Series([*(f"engine {number}" for number in range(12)), "exact"]))
    assert len({look["marker"] for look in looks.values()}) == 13
    assert len({tuple(look.values()) for look in looks.values()}) == 13


def test_recall_has_one_line_an_engine_in_each_panel(engine_tables: Path) -> None:
    figure = draw_recall(engine_tables)
    assert set(legend_words(figure)) == VARIANTS
    for ax in figure.axes:
        fronts = [line for line in ax.lines if line.get_linestyle() == "-"]
        assert len(fronts) == len(VARIANTS) - 1
        assert not ax.texts  # so many engines leave no room for the settings' labels


def test_recall_axis_gives_room_to_high_recalls_and_keeps_their_order(engine_tables: Path) -> None:
    ax = draw_recall(engine_tables).axes[0]
    places = ax.transData.transform([(1.0, recall) for recall in (0, 0.5, 0.8, 0.9, 0.95, 0.99, 1)])[:, 1]
    steps = np.diff(places)
    assert (steps > 0).all()
    assert steps.max() < 4 * steps.min()
    back = ax.transData.inverted().transform([(0, place) for place in places])[:, 1]
    assert back == pytest.approx([0, 0.5, 0.8, 0.9, 0.95, 0.99, 1])


def test_raw_queries_are_hollow_and_dashed(whole_tables: Path) -> None:
    for ax in draw_recall(whole_tables).axes:
        hollow = [line for line in ax.lines if line.get_markerfacecolor() == "white"]
        assert len(hollow) == 2  # one a family
        assert all(line.is_dashed() for line in hollow)
    assert "raw, as published" in legend_words(draw_recall(whole_tables))


def test_largest_size_stands_for_a_corpus(growing_tables: Path) -> None:
    for draw in (draw_recall, draw_costs):
        titles = [ax.get_title(loc="left") for ax in draw(growing_tables).axes]
        assert len(titles) == 2
        assert all(title.startswith("aerial-n400000 · ") for title in titles)


def test_costs_show_what_is_reached_and_no_more(engine_tables: Path) -> None:
    figure = draw_costs(engine_tables)
    assert set(legend_words(figure)) == VARIANTS - {"exact"}
    build, memory = figure.axes
    drawn = {tuple(line.get_ydata()) for line in build.lines if len(line.get_ydata()) == 5}
    finite = sorted(int(np.isfinite(values).sum()) for values in drawn)
    assert finite == [1, 2, 4, 4, 5, 5, 5, 5]  # codes reach 0.5 alone, hyperplanes 0.8, falconn and ivf 0.95
    assert memory.get_yscale() == "log"
    costs = setting_costs(read_rows(engine_tables, "cheapest_settings"))
    assert set(costs["mode"]) == {"single"}
    assert not costs.duplicated(["variant", "recall_target"]).any()


def test_ranks_are_written_into_their_cells_best_engine_on_top(engine_tables: Path) -> None:
    figure = draw_ranks(engine_tables)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == ["single query", "query in a batch", "build time", "memory", "mean of these ranks"]
    assert figure.axes[0].get_yticklabels()[0].get_text() == "crosspolytope"
    words = [text.get_text() for text in figure.axes[0].texts]
    assert len(words) == 5 * len(VARIANTS)
    assert words.count("\N{EN DASH}") == 4 + 3 + 1 + 1  # codes, hyperplanes, falconn, ivf
    assert words.count("1") == 5


def test_mean_of_ranks_needs_no_build(engine_tables: Path, tmp_path: Path) -> None:
    nothing = dict.fromkeys(("build_s", "size_bytes", "build_rank", "memory_rank"))
    ranks = read_table(engine_tables / "engine_ranks.csv").assign(**nothing)
    write_table(ranks, tmp_path, "engine_ranks")
    figure = draw_ranks(tmp_path)
    assert [ax.get_title(loc="left") for ax in figure.axes] == [
        "single query", "query in a batch", "mean of these ranks",
    ]  # fmt: skip
    dashes = [[text.get_text() for text in ax.texts].count("\N{EN DASH}") for ax in figure.axes]
    assert dashes == [9, 9, 9]
    write_table(ranks.assign(single_ms=None, single_rank=None), tmp_path, "engine_ranks")
    assert [text.get_text() for text in draw_ranks(tmp_path).axes[1].texts].count("\N{EN DASH}") == 9


def test_ranks_need_two_engines(tmp_path: Path, engine_tables: Path) -> None:
    assert draw_ranks(tmp_path) is None
    ranks = read_table(engine_tables / "engine_ranks.csv")
    write_table(ranks.head(0), tmp_path, "engine_ranks")
    assert draw_ranks(tmp_path) is None


def test_growth_has_a_panel_a_metric_and_exponents_in_its_legends(growing_tables: Path) -> None:
    figure = draw_growth(growing_tables)
    assert_nothing_is_cut(figure)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["single query", "query in a batch", "build", "memory"]
    words = [[text.get_text() for text in ax.get_legend().get_texts()] for ax in figure.axes]
    assert "crosspolytope  0.40 ± 0.00" in words[0]
    assert words[0][0].startswith("faiss_hnsw")  # the cheapest at the largest size
    assert not any("exact" in text for text in words[2])  # it builds nothing


def test_lines_of_growth_pass_through_their_marks(growing_tables: Path) -> None:
    points = read_rows(growing_tables, "growth_points")
    for ax, metric, scale in zip(
        draw_growth(growing_tables).axes, points["metric"].unique(), (1, 1, 1, 2**20), strict=True
    ):
        reached = points[(points["metric"] == metric) & (points["cost"] > 0)]
        lines = [line.get_ydata() for line in ax.lines if line.get_linestyle() == "-"]
        ends = sorted(value for line in lines for value in (line[0], line[-1]))
        sizes = reached["n"].isin([reached["n"].min(), reached["n"].max()])
        assert ends == pytest.approx(sorted(reached.loc[sizes, "cost"] / scale), rel=0.03)


def test_settings_above_the_recall_are_hollow(growing_tables: Path) -> None:
    single = draw_growth(growing_tables).axes[0]
    hollow = [line for line in single.lines if line.get_markerfacecolor() == "white" and len(line.get_xdata())]
    looks = variant_looks(read_cells(growing_tables)["variant"])
    assert {line.get_marker() for line in hollow} == {looks[name]["marker"] for name in ("hnswlib", "kdtree")}


def test_growth_needs_several_sizes(engine_tables: Path, tmp_path: Path) -> None:
    assert draw_growth(engine_tables) is None
    assert draw_growth(tmp_path) is None


def test_every_engine_keeps_rows_in_the_figure_of_times(engine_tables: Path, tmp_path: Path) -> None:
    """Of 40 indexes of one engine 24 rows have room for some, and for all other engines."""
    cells = read_table(engine_tables / "lsh_parameters.csv")
    one = cells[cells["engine"] == "faiss_ivf"]
    many = [one.assign(build_setting=f"lists={number}", cell=one["cell"] + str(number)) for number in range(40)]
    write_table(pd.concat([cells, *many]), tmp_path, "lsh_parameters")
    figure = draw_times(tmp_path)
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(rows) <= 24
    assert {row.split(",")[0] for row in rows} == VARIANTS
    assert rows[-1] == "exact"
    assert {"faiss_ivf, lists=256", "faiss_ivf, lists=39"} <= set(rows)
    assert f"{len(VARIANTS) + 40 - len(rows)} further indexes" in " ".join(t.get_text() for t in figure.texts).replace(
        "\n", " "
    )


def test_one_setting_of_one_backbone_has_room_for_its_axes(tables: Path) -> None:
    for name in ("exact_or_lsh", "lsh_parameters"):
        table = read_table(tables / f"{name}.csv")
        table = table[table["backbone"] == "tiny"]
        table = table[table["stratum"] == "easy"].iloc[:1] if name == "exact_or_lsh" else table
        write_table(table, tables, name)
    figure = draw_exact_or_lsh(tables)
    figure.draw_without_rendering()  # warns where nothing is left of the axes
    assert figure.axes[0].get_window_extent().height > 10
