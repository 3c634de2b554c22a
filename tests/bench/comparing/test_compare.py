import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.comparing.compare import changed_settings, compare_runs
from bench.results import RunRecord, read_run, write_run
from bench.tables.table import read_table, write_table
from ris_core.errors import ArtifactError, ComparabilityError


@pytest.fixture
def base(whole_run_folder: Path) -> Path:
    return whole_run_folder


def change_record(folder: Path, **changes: Any) -> RunRecord:
    record = dataclasses.replace(read_run(folder), **changes)
    write_run(folder, record)
    return record


def on_another_machine(folder: Path) -> None:
    machine = copy.deepcopy(read_run(folder).machine)
    machine["cpu"]["model"] = "Abacus 4000"
    change_record(folder, machine=machine)


def scale(folder: Path, name: str, columns: list[str], factor: float) -> None:
    table = read_table(folder / "tables" / f"{name}.csv")
    table[columns] = table[columns] * factor
    write_table(table, folder / "tables", name)


def row_of(text: str, start: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {start} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def precision_rows(text: str) -> list[str]:
    return [line for line in text.partition("## Recall")[0].splitlines() if "@" in line and line.startswith("|")]


def test_run_equals_itself(base: Path, run_folder: Path) -> None:
    text = compare_runs(base, run_folder)
    assert "higher" not in text
    assert "lower" not in text
    rows = precision_rows(text)
    assert f"Of {len(rows)}: {len(rows)} equal." in text
    assert text.count("no difference shown.") == 2  # recall, times
    assert "Different" not in text


def test_scores_stand_side_by_side_with_difference_and_queries(base: Path, run_folder: Path) -> None:
    scale(run_folder, "nn_precision", ["precision"], 0.5)
    row = row_of(compare_runs(base, run_folder), "easy@100 tiny/exact/corrected/single")
    mean = read_table(base / "tables" / "nn_precision.csv").query(
        "stratum == 'easy' and cell == 'tiny/exact/corrected/single'"
    )["precision"].mean()  # fmt: skip
    assert row[1] == "10"
    assert [float(value) for value in row[2:5]] == pytest.approx([mean, mean / 2, -mean / 2], abs=1e-3)
    assert row[-1] == "lower"


def test_precision_p_values_are_adjusted_for_all_rows_that_differ(base: Path, run_folder: Path) -> None:
    """Ten queries that all lose have p = 2 / 2^10; Holm multiplies it by the number of rows tested."""
    path = run_folder / "tables" / "nn_precision.csv"
    table = read_table(path)
    lost = table["cell"].str.startswith(("tiny/", "mini/")) & (table["stratum"] == "easy")
    assert table.loc[lost, "cell"].nunique() == 4
    table.loc[lost, "precision"] -= 0.01
    write_table(table, path.parent, "nn_precision")
    rows = precision_rows(compare_runs(base, run_folder))
    verdicts = [[cell.strip() for cell in row.strip("|").split("|")][-2:] for row in rows]
    assert [verdict for verdict in verdicts if verdict[1] != "equal"] == [["0.0078", "lower"]] * 4
    assert len(verdicts) > 4


def test_among_many_changes_by_chance_none_is_called(base: Path, run_folder: Path) -> None:
    """Unadjusted, one in twenty of these rows would be higher or lower."""
    path = run_folder / "tables" / "nn_precision.csv"
    table = read_table(path)
    signs = np.random.default_rng(4).choice([-1, 1], len(table))
    table["precision"] += 0.01 * signs
    write_table(table, path.parent, "nn_precision")
    rows = precision_rows(compare_runs(base, run_folder))
    assert len(rows) == 18
    assert all(row.rstrip("| ").endswith("no difference shown") for row in rows)


def test_recall_differs_only_where_intervals_lie_apart(base: Path, run_folder: Path) -> None:
    columns = ["recall", "recall_ci_low", "recall_ci_high"]
    cell = "tiny/falconn/cross_polytope-20-12/20/corrected/single"
    scale(run_folder, "lsh_parameters", columns, 0.99)
    row = row_of(compare_runs(base, run_folder), cell)
    assert (row[1], row[-1]) == ("500", "no difference shown")
    scale(run_folder, "lsh_parameters", columns, 0.8)
    assert row_of(compare_runs(base, run_folder), cell)[-1] == "lower"


def test_times_compare_by_ratio_and_intervals(base: Path, run_folder: Path) -> None:
    columns = ["median", "ci_low", "ci_high"]
    scale(run_folder, "runtimes", columns, 1.05)
    assert row_of(compare_runs(base, run_folder), "query_exact_k100 tiny/exact")[-1] == "no difference shown"
    scale(run_folder, "runtimes", columns, 2.0)
    row = row_of(compare_runs(base, run_folder), "query_exact_k100 tiny/exact")
    assert row[1:] == ["ms_per_query", "2, 2", "5, 5", "2.1", "4.41", "2.1", "higher"]


def test_one_measurement_shows_no_difference(base: Path, run_folder: Path) -> None:
    table = read_table(run_folder / "tables" / "runtimes.csv")
    table[["ci_low", "ci_high"]] = None
    write_table(table, run_folder / "tables", "runtimes")
    assert row_of(compare_runs(base, run_folder), "query_exact_k100 tiny/exact")[-1] == "measured once"


def test_settings_are_compared_by_name_and_paths_by_their_last_name() -> None:
    base = {"k": 10, "engines": [{"name": "a", "tables": 4}, {"name": "b"}], "source": "/here/ortho.tif"}
    other = {"k": 20, "engines": [{"name": "b"}, {"name": "a", "tables": 5}], "source": "/there/ortho.tif"}
    assert list(changed_settings(base, other)) == [("k", 10, 20), ("engines.a.tables", 4, 5)]
    lacking = {"k": 10, "engines": [{"name": "a", "tables": 4}], "source": "/here/ortho.png"}
    assert [key for key, *_ in changed_settings(base, lacking)] == ["engines.b", "source"]


def test_times_of_two_machines_are_refused_by_name(base: Path, run_folder: Path) -> None:
    on_another_machine(run_folder)
    with pytest.raises(ComparabilityError, match=r"processor: Abacus 3000 \| Abacus 4000.*--scores-only"):
        compare_runs(base, run_folder)


def test_scores_of_two_machines_compare_without_their_times(base: Path, run_folder: Path) -> None:
    on_another_machine(run_folder)
    text = compare_runs(base, run_folder, scores_only=True)
    assert "Abacus 4000" in text
    assert "- Different machines: processor" in text
    assert "## Recall" in text
    assert "## Times" not in text
    assert "ms_per_query" not in text


def test_machines_that_are_not_known_are_not_the_same(base: Path, run_folder: Path) -> None:
    change_record(run_folder, machine={})
    with pytest.raises(ComparabilityError, match="does not say which machine"):
        compare_runs(base, run_folder)


def test_versions_suite_and_tiles_that_differ_are_told(base: Path, run_folder: Path) -> None:
    record = read_run(run_folder)
    machine, suite = copy.deepcopy(record.machine), copy.deepcopy(record.suite)
    machine["versions"]["numpy"] = "3.0"
    suite["queries"]["count"] = 7
    change_record(run_folder, machine=machine, suite=suite, corpus={**record.corpus, "tiles_key": "other"})
    text = compare_runs(base, run_folder)
    assert "- Different versions: numpy: 2.0 | 3.0" in text
    assert "- Different suites: queries.count" in text
    assert "- Different tiles" in text


def test_runs_with_nothing_in_common_are_refused(base: Path, run_folder: Path) -> None:
    for path in (run_folder / "tables").glob("*.csv"):
        table = read_table(path)
        for column in {"cell", "backbone"} & set(table):
            table[column] = "of another suite"
        write_table(table.head(1), path.parent, path.stem)
    with pytest.raises(ComparabilityError, match="no cell of equal id"):
        compare_runs(base, run_folder)


def test_folder_that_is_no_run_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="Name the folder of a run"):
        compare_runs(base, tmp_path / "nothing")
