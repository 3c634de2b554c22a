from pathlib import Path

import pandas as pd
import pytest

from bench.figures.difficulty import chosen_settings, draw_leakage, draw_lid, read_settings
from bench.tables.table import read_table, write_table


def test_settings_are_spread_over_the_order_of_recall(whole_tables: Path) -> None:
    found = read_settings(whole_tables)
    shown = chosen_settings(found)
    means = found.groupby("label")["recall"].mean()
    assert len(shown) == 6
    assert means[shown].is_monotonic_decreasing
    assert (means[shown[0]], means[shown[-1]]) == (means.max(), means.min())
    assert shown[0] == "falconn hyperplane 20/20"


def test_few_settings_are_all_shown(whole_tables: Path) -> None:
    found = read_settings(whole_tables)
    two = found[found["label"].isin(["falconn hyperplane 5/1", "falconn hyperplane 20/1"])]
    assert chosen_settings(two) == ["falconn hyperplane 20/1", "falconn hyperplane 5/1"]


def test_lines_go_through_the_bins(whole_tables: Path) -> None:
    figure = draw_lid(whole_tables)
    assert figure is not None
    tiny = read_table(whole_tables / "recall_over_lid.csv").query("backbone == 'tiny'")
    best = tiny[tiny["cell"].str.contains("hyperplane-20-12/20")].sort_values("bin")
    line = figure.axes[0].lines[0]
    assert line.get_xdata().tolist() == best["lid_mean"].tolist()
    assert line.get_ydata().tolist() == best["recall"].tolist()
    assert len(figure.axes[0].lines) == 6


def test_more_backbones_than_a_row_holds_fill_a_second_one(tables: Path) -> None:
    for count, with_label in ((4, [False, False, True, True]), (5, [False, False, True, True, True])):
        name = f"number {count}"
        for stem in ("recall_over_lid", "lsh_parameters"):
            table = read_table(tables / f"{stem}.csv")
            more = table[table["backbone"] == "tiny"].assign(backbone=name, cell=lambda t, new=name: new + t["cell"])
            write_table(pd.concat([table, more]), tables, stem)
        figure = draw_lid(tables)
        assert figure is not None
        assert len({ax.get_title(loc="left") for ax in figure.axes}) == count
        assert [bool(ax.get_xlabel()) for ax in figure.axes] == with_label


@pytest.mark.parametrize("table", ["recall_over_lid", "lsh_parameters"])
def test_no_lid_figure_without_its_tables(tables: Path, table: str) -> None:
    (tables / f"{table}.csv").unlink()
    assert draw_lid(tables) is None


def test_no_lid_figure_of_exact_search_alone(tables: Path) -> None:
    cells = read_table(tables / "lsh_parameters.csv")
    write_table(cells.assign(kind="exact"), tables, "lsh_parameters")
    assert draw_lid(tables) is None


def test_each_score_stands_with_and_without_exclusion(whole_tables: Path) -> None:
    figure = draw_leakage(whole_tables)
    assert figure is not None
    recall, easy, *_ = figure.axes
    marks = [line for line in easy.lines if line.get_marker() in ("o", "s", "D")]
    assert [line.get_marker() for line in marks[:3]] == ["o", "s", "D"]
    table = read_table(whole_tables / "spatial_leakage.csv").query("score == 'precision easy@100'")
    assert sorted(line.get_xdata()[0] for line in marks) == pytest.approx(sorted(table["mean"]))
    assert len(marks) == 18
    assert [label.get_text() for label in recall.get_yticklabels()] == ["tiny", "mini", "colour"]


def test_no_leakage_figure_where_nothing_was_left_out(tables: Path) -> None:
    table = read_table(tables / "spatial_leakage.csv")
    write_table(table.iloc[:0], tables, "spatial_leakage")
    assert draw_leakage(tables) is None
