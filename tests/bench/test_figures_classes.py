from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.figures.class_accuracy import draw_classes
from bench.tables.table import read_table, write_table
from ris_core.errors import RisError


def numbers(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_chart_shows_each_system_by_class_below_all_of_them(whole_tables: Path) -> None:
    ax = draw_classes(whole_tables).axes[0]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["all classes", "field with street", "water"]
    systems = [tick.get_text().split("\n") for tick in ax.get_xticklabels()]
    assert systems[:2] == [["tiny", "exact", "0.3 ms"], ["tiny", "falconn", "cross-", "polytope", "0.3 ms"]]
    table = read_table(whole_tables / "class_accuracy.csv")
    wanted = [f"{value:.2f}" for value in table[table["backbone"] == "tiny"]["accuracy"].iloc[:3]]
    shown = np.array(numbers(ax.figure)).reshape(3, -1)
    assert shown[:, 0].tolist() == wanted


def test_engine_stands_in_its_setting_of_highest_accuracy(tables: Path) -> None:
    table = read_table(tables / "class_accuracy.csv")
    table = table[(table["backbone"] == "tiny") & (table["engine"] == "exact")]
    worse = table.assign(cell="tiny/exact/other/corrected/single", accuracy=0.01)
    write_table(pd.concat([worse, table]), tables, "class_accuracy")
    assert numbers(draw_classes(tables)) == [f"{value:.2f}" for value in table["accuracy"]]


def test_columns_that_a_page_has_no_room_for_are_told(tables: Path) -> None:
    table = read_table(tables / "class_accuracy.csv")
    table = table[(table["backbone"] == "tiny") & (table["engine"] == "exact")]
    many = [table.assign(backbone=f"net{i}", cell=f"net{i}/exact/corrected/single") for i in range(12)]
    write_table(pd.concat(many), tables, "class_accuracy")
    figure = draw_classes(tables)
    assert len(figure.axes[0].get_xticklabels()) == 10
    assert "2 further systems" in " ".join(text.get_text().replace("\n", " ") for text in figure.texts)


def test_without_rows_nothing_is_drawn(tables: Path) -> None:
    write_table(read_table(tables / "class_accuracy.csv").iloc[:0], tables, "class_accuracy")
    assert draw_classes(tables) is None
    (tables / "class_accuracy.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(RisError, match="not the table 'class_accuracy'"):
        draw_classes(tables)
