import copy
import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.__main__ import main
from bench.comparing.rank_runs import rank_runs
from bench.figures.ranking import draw_ranking
from bench.results import StageNote, read_run, write_run
from bench.tables.ranking import ranking_page, ranking_table
from bench.tables.table import read_table, typed, write_table
from bench.tables.table_schemas import SCHEMAS
from ris_core.errors import ArtifactError, ComparabilityError


def cell(data_set: str, engine: str, ms: float, recall: float = 0.95, **changes: Any) -> dict[str, Any]:
    setting = changes.pop("setting", "s")
    row = {
        "cell": f"{data_set}/{engine}/{setting}/corrected/single-1t", "backbone": data_set, "engine": engine,
        "kind": engine, "space": "corrected", "mode": "single", "threads": 1, "n": 4000, "k": 100, "q": 500,
        "query_ms_median": ms, "recall": recall, "status": "ok",
    }  # fmt: skip
    return row | changes


def ranking_of(cells: list[dict[str, Any]], **options: Any) -> pd.DataFrame:
    settings = pd.DataFrame(cells).reindex(columns=list(SCHEMAS["lsh_parameters"]))
    return typed(ranking_table(typed(settings, "lsh_parameters", ""), **options), "ranking", "")


def many(data_sets: int) -> list[dict[str, Any]]:
    """Three engines on data sets that differ widely in size: b is fastest, a and c alternate."""
    return [
        cell(f"net{d}", engine, 10.0**d * ms)
        for d in range(data_sets)
        for engine, ms in (("a", 2 + d % 2), ("b", 1.0), ("c", 3 - d % 2))
    ]


def test_ranks_by_hand() -> None:
    table = ranking_of([cell("x", "a", 3), cell("x", "b", 1), cell("y", "a", 2), cell("y", "b", 2)])
    assert table[["data_set", "engine", "rank"]].to_numpy().tolist() == [
        ["x", "b", 1.0], ["y", "b", 1.5], ["x", "a", 2.0], ["y", "a", 1.5],
    ]  # fmt: skip
    assert table.drop_duplicates("engine").set_index("engine")["average_rank"].to_dict() == {"b": 1.25, "a": 1.75}
    assert set(table["data_sets"]) == {2}


def test_score_is_the_fastest_single_corrected_setting_that_reaches_the_recall() -> None:
    cells = [
        cell("x", "lsh", 1, recall=0.89, setting="fast"),
        cell("x", "lsh", 5, recall=0.90, setting="good"),
        cell("x", "lsh", 9, recall=0.99, setting="slow"),
        cell("x", "lsh", 0.1, mode="batch"),
        cell("x", "lsh", 0.2, space="as_published"),
        cell("x", "lsh", 0.3, threads=2),
        cell("x", "lsh", 0.4, status="failed"),
        cell("x", "exact", 7),
    ]
    (lsh,) = ranking_of(cells).query("engine == 'lsh'").to_dict("records")
    assert lsh["query_ms"] == 5
    assert lsh["cell"] == "x/lsh/good/corrected/single-1t"
    assert lsh["recall_target"] == 0.9
    assert ranking_of(cells, recall_target=0.8).query("engine == 'lsh'")["query_ms"].tolist() == [1]


def test_recall_that_misses_the_target_by_rounding_alone_reaches_it() -> None:
    mean = float(np.mean([0.8, 0.9, 1.0] * 3))
    assert mean < 0.9
    table = ranking_of([cell("x", "a", 1, recall=mean), cell("x", "b", 2)])
    assert (table["reason"] == "").all()


def test_engine_without_a_good_setting_is_last_and_the_table_says_so() -> None:
    failed = {"status": "failed", "recall": None, "n": None, "q": None, "query_ms_median": None}
    cells = [cell("x", "a", 1, recall=0.5), cell("x", "b", 2), cell("x", "c", 3, **failed)]
    table = ranking_of(cells).set_index("engine")
    assert table["rank"].to_dict() == {"b": 1.0, "a": 2.5, "c": 2.5}
    assert table["query_ms"].isna().to_dict() == {"b": False, "a": True, "c": True}
    assert table.loc["a", "reason"] == "no setting has recall 0.9; best 0.500"
    assert table.loc["c", "reason"] == "every setting failed"


def test_only_engines_measured_on_every_data_set_take_part() -> None:
    cells = [cell("x", "a", 1), cell("x", "b", 2), cell("y", "a", 1), cell("y", "b", 2), cell("y", "c", 0.1)]
    assert set(ranking_of(cells)["engine"]) == {"a", "b"}
    assert ranking_of([cell("x", "a", 1), cell("y", "a", 1), cell("y", "b", 1)]).empty


def test_engine_that_failed_on_one_data_set_is_last_there_and_stays() -> None:
    failed = {"status": "failed", "recall": None, "n": None, "query_ms_median": None}
    sizes = [cell(f"x-n{n}", engine, n, n=n) for n in (100, 200) for engine in "ab"]
    sizes[3] |= failed
    table = ranking_of([*sizes, cell("y", "a", 1), cell("y", "b", 2), cell("z-n3", "a", 2), cell("z-n3", "b", 1)])
    assert table["data_set"].unique().tolist() == ["x-n200", "y", "z-n3"]
    (row,) = table.query("engine == 'b' and data_set == 'x-n200'").to_dict("records")
    assert (row["rank"], row["reason"]) == (2.0, "every setting failed")


def test_data_set_on_which_every_cell_failed_says_nothing(tmp_path: Path) -> None:
    failed = {"status": "failed", "recall": None, "n": None, "q": None, "query_ms_median": None}
    dead = [cell(data_set, engine, 1, **failed) for data_set in "xyz" for engine in "ab"]
    assert ranking_of(dead).empty
    assert drawn(tmp_path, dead) is None
    assert set(ranking_of([*dead, cell("w", "a", 1), cell("w", "b", 2)])["data_set"]) == {"w"}


def test_fewest_threads_of_each_data_set_count() -> None:
    cells = [cell("x", "a", 1), cell("x", "b", 2), cell("y", "a", 4, threads=2), cell("y", "b", 3, threads=2)]
    assert ranking_of(cells).groupby("data_set")["threads"].first().to_dict() == {"x": 1, "y": 2}


def test_groups_are_letters_that_engines_share() -> None:
    table = ranking_of(many(8)).drop_duplicates("engine").set_index("engine")
    assert table["average_rank"].to_dict() == {"b": 1.0, "a": 2.5, "c": 2.5}
    assert table["groups"].to_dict() == {"b": "a", "a": "b", "c": "b"}
    assert table["smallest_p"].iloc[0] == pytest.approx(3 * 2 / 2**8)


def test_three_data_sets_tell_nothing_apart_and_the_smallest_p_says_why() -> None:
    table = ranking_of([c for c in many(3) if c["engine"] != "c"])
    assert set(table["groups"]) == {"a"}
    assert set(table["smallest_p"]) == {0.25}


def test_ratios_of_times_count_not_milliseconds() -> None:
    """b takes half the time on ten data sets and twice the time on the two slowest: 2 of 12 signs."""
    cells = [cell(f"net{d}", "a", 2.0**d) for d in range(12)]
    cells += [cell(f"net{d}", "b", 2.0**d * (2 if d > 9 else 0.5)) for d in range(12)]
    assert set(ranking_of(cells)["groups"]) == {"a", "b"}


def test_page_is_a_row_a_data_set_and_a_column_an_engine() -> None:
    page = ranking_page(
        ranking_of([cell("x", "a", 300), cell("x", "b", 0.25), cell("y", "a", 2), cell("y", "b", 2, 0.1)])
    )
    assert page.columns.tolist() == ["data set", "a", "b"]
    assert page["data set"].tolist() == ["x", "y", "average rank", "group"]
    assert page["b"].tolist() == ["0.250 ms (rank 1) s", "no setting has recall 0.9; best 0.100 (rank 2)", "1.50", "a"]
    assert page["a"].iloc[0] == "300 ms (rank 2) s"
    assert ranking_page(ranking_of([])).empty


def drawn(folder: Path, cells: list[dict[str, Any]]) -> Any:
    write_table(ranking_of(cells), folder, "ranking")
    return draw_ranking(folder)


def test_figure_needs_two_engines_and_three_data_sets(tmp_path: Path) -> None:
    assert draw_ranking(tmp_path) is None
    assert drawn(tmp_path, many(2)) is None
    assert drawn(tmp_path, [c for c in many(4) if c["engine"] == "a"]) is None
    assert drawn(tmp_path, many(3)) is not None


def test_figure_joins_what_cannot_be_told_apart_and_names_every_rank(tmp_path: Path) -> None:
    figure = drawn(tmp_path, many(8))
    ax = figure.axes[0]
    bars = [line for line in ax.lines if line.get_linewidth() == 3]
    assert [list(bar.get_xdata()) for bar in bars] == [[2.5, 2.5]]
    words = {text.get_text() for text in ax.texts}
    assert {"b  1.00", "a  2.50", "2.50  c", "1", "2", "3"} <= words
    subtitle = " ".join(text.get_text().replace("\n", " ") for text in figure.texts)
    assert "8 data sets" in subtitle
    assert "no adjusted p can be below" not in subtitle
    few = drawn(tmp_path, many(3))
    assert "no adjusted p can be below 0.75" in few.texts[1].get_text().replace("\n", " ")


@pytest.fixture
def runs(whole_run_folder: Path, tmp_path: Path) -> list[Path]:
    """Two runs of two backbones and two engines each, every backbone's features under a key of their own."""
    cells = [cell(name, engine, ms) for name in ("net0", "net1") for engine, ms in (("a", 2.0), ("b", 1.0))]
    settings = pd.DataFrame(cells).reindex(columns=list(SCHEMAS["lsh_parameters"]))
    folders = [tmp_path / "one", tmp_path / "two"]
    for run in folders:
        notes = [StageNote("features", f"net{d}", str(run), f"{run.name}-{d}", True, 1.0).to_json() for d in (0, 1)]
        write_run(run, dataclasses.replace(read_run(whole_run_folder), run_id=run.name, stages=notes))
        write_table(settings, run / "tables", "lsh_parameters")
    return folders


def test_several_runs_are_ranked_together_and_written(runs: list[Path], tmp_path: Path) -> None:
    text = rank_runs(runs, tmp_path / "out", 0.9)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {f"ranking.{ending}" for ending in ("csv", "md", "tex", "png", "svg")}
    table = read_table(tmp_path / "out" / "ranking.csv")
    assert table["data_set"].drop_duplicates().tolist() == [
        f"imaginary {run} {name}" for run in ("one", "two") for name in ("net0", "net1")
    ]
    assert set(table["data_sets"]) == {4}
    assert "imaginary two net1" in text
    assert "1.00 ms (rank 1) s" in text
    assert "Abacus 3000" in text


def test_few_data_sets_have_a_table_and_no_figure(runs: list[Path], tmp_path: Path) -> None:
    rank_runs(runs[:1], tmp_path / "out", 0.9)
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".csv", ".md", ".tex"}


def test_runs_of_two_machines_are_refused_by_name(runs: list[Path], tmp_path: Path) -> None:
    machine = copy.deepcopy(read_run(runs[1]).machine)
    machine["cpu"]["model"] = "Abacus 4000"
    write_run(runs[1], dataclasses.replace(read_run(runs[1]), machine=machine))
    with pytest.raises(
        ComparabilityError, match=r"processor: Abacus 3000 \| Abacus 4000.*Rank the runs of each machine"
    ):
        rank_runs(runs, tmp_path / "out", 0.9)
    assert not (tmp_path / "out").exists()


def test_the_same_features_twice_are_no_two_data_sets(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ComparabilityError, match=r"measured the same features \(net0\)"):
        rank_runs([runs[0], runs[0]], tmp_path / "out", 0.9)


def test_runs_without_common_engines_are_refused(runs: list[Path], tmp_path: Path) -> None:
    settings = read_table(runs[1] / "tables" / "lsh_parameters.csv").assign(engine="other")
    write_table(settings, runs[1] / "tables", "lsh_parameters")
    with pytest.raises(ComparabilityError, match="no two engines"):
        rank_runs(runs, tmp_path / "out", 0.9)


def test_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="Name the folder of a run"):
        rank_runs([tmp_path], tmp_path / "out", 0.9)


def test_command_prints_the_table_and_takes_a_recall(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["rank", *map(str, runs), "--out", str(tmp_path / "out"), "--recall", "0.99"]
    assert main(arguments) == 0
    assert "no setting has recall 0.99; best 0.950" in capsys.readouterr().out
    assert math.isclose(read_table(tmp_path / "out" / "ranking.csv")["recall_target"].iloc[0], 0.99)
    with pytest.raises(SystemExit, match="2"):
        main([*arguments[:-1], "90"])
    assert "90 is not in [0, 1]" in capsys.readouterr().err
