from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.report.comparison import evidence, p_words, signed
from bench.report.sentences import key_results
from bench.tables.cheapest_table import cheapest_table
from bench.tables.table import read_table, write_table

MINUS = "\N{MINUS SIGN}"


def comparison(difference: float, low: float, high: float, **changes: Any) -> pd.Series:
    return pd.Series({"difference": difference, "ci_low": low, "ci_high": high, "n": 40, "p_holm": 0.0123, **changes})


def test_evidence_is_difference_interval_queries_and_adjusted_p() -> None:
    assert evidence(comparison(0.2, 0.1, 0.3)) == "+0.20 [+0.10, +0.30], n = 40, adjusted p = 0.012"
    assert (
        evidence(comparison(-0.2, -0.3, -0.1)) == f"{MINUS}0.20 [{MINUS}0.30, {MINUS}0.10], n = 40, adjusted p = 0.012"
    )
    assert evidence(comparison(0.0, -0.5, 0.5, p_holm=1.0)) == f"0.00 [{MINUS}0.50, +0.50], n = 40, adjusted p = 1.00"
    assert evidence(comparison(0.3, np.nan, np.nan, n=1, p_holm=1.0)) == "+0.30, n = 1, adjusted p = 1.00"


def test_interval_that_leaves_out_zero_never_reads_as_if_it_touched_it() -> None:
    assert evidence(comparison(0.001, 0.001, 0.001)).startswith("+0.001 [+0.001, +0.001]")
    assert evidence(comparison(0.01, 0.0004, 0.02)).startswith("+0.0100 [+0.0004, +0.0200]")


@pytest.mark.parametrize(
    ("p", "words"),
    [
        (0.00099, "p < 0.001"),
        (0.0123, "p = 0.012"),
        (0.0494, "p = 0.049"),
        (0.0499, "p < 0.05"),
        (0.05, "p = 0.050"),
        (0.0996, "p = 0.100"),
        (0.27, "p = 0.27"),
        (1.0, "p = 1.00"),
    ],
)
def test_p_in_words_keeps_its_side_of_the_threshold(p: float, words: str) -> None:
    assert p_words(p) == words


def test_what_rounds_to_zero_has_no_sign() -> None:
    assert [signed(value) for value in (0.004, -0.004, 0.006, -0.006)] == ["0.00", "0.00", "+0.01", f"{MINUS}0.01"]


def found_about(tables: Path, word: str) -> str:
    return " ".join(finding.text for finding in key_results(tables) if word in finding.about)


def all_sentences(tables: Path) -> str:
    return " ".join(finding.text for finding in key_results(tables))


def change_differences(tables: Path, family: str, **columns: object) -> None:
    table = read_table(tables / "differences.csv")
    for name, value in columns.items():
        table.loc[table["family"] == family, name] = value
    write_table(table, tables, "differences")


def test_sentences_call_a_backbone_higher_with_n_interval_and_adjusted_p(whole_tables: Path) -> None:
    text = found_about(whole_tables, "Easy queries (10, depth 100)")
    row = read_table(whole_tables / "differences.csv").query("stratum == 'easy' and second == 'mini'").iloc[0]
    assert row["verdict"] == "higher"
    assert text.startswith("The highest mean precision is that of tiny, 0.8")
    assert f"it is higher than that of mini (0.75): {evidence(row)}" in text
    assert "n = 10, adjusted p = 0.0" in text
    assert "Random answers reach 0.08" in text
    averages = read_table(whole_tables / "nn_precision_averages.csv")
    (ceiling,) = averages.query("engine == 'ceiling' and stratum == 'hard'")["precision"]
    assert f"more than {ceiling:.2f} is not possible here" in found_about(whole_tables, "Hard")


def test_adjusted_p_decides_even_where_the_interval_leaves_out_zero(tables: Path) -> None:
    change_differences(tables, "backbones", p_holm=0.2, verdict="no difference shown")
    text = found_about(tables, "Easy")
    assert "no difference from mini (0.75) is shown: +0.09 [+0.06, +0.12]" in text
    assert "adjusted p = 0.20" in text
    assert "is higher" not in text


def test_nothing_is_called_where_the_table_calls_nothing(tables: Path) -> None:
    for family in ("backbones", "query slip", "approximation"):
        change_differences(tables, family, p_holm=1.0, verdict="no difference shown")
    cells = read_table(tables / "lsh_parameters.csv").assign(query_ms_ci_low=0.001, query_ms_ci_high=1000.0)
    write_table(cells, tables, "lsh_parameters")
    write_table(cheapest_table(cells), tables, "cheapest_settings")
    text = all_sentences(tables)
    for word in ("higher", "lower in", "beats", "falls short", "faster", "times as long"):
        assert word not in text
    assert text.count("no difference") >= 3


def test_comparison_is_turned_so_that_the_highest_comes_first(tables: Path) -> None:
    """The suite's order puts tiny first; with its scores taken away, colour is on top and tiny is below it."""
    averages = read_table(tables / "nn_precision_averages.csv")
    averages.loc[averages["backbone"].isin(["tiny", "mini"]), "precision"] /= 10
    averages.loc[averages["backbone"] == "tiny", "precision"] *= 2
    write_table(averages, tables, "nn_precision_averages")
    change_differences(tables, "backbones", difference=-0.4, ci_low=-0.6, ci_high=-0.1, p_holm=0.01, verdict="lower")
    assert "it is higher than that of tiny (0.17): +0.40 [+0.10, +0.60], n = 10" in found_about(tables, "Easy")


def test_sentences_say_whether_training_paid(tables: Path) -> None:
    text = found_about(tables, "Trained or not")
    assert "Over all 40 judged queries, tiny, highest of the backbones trained in this run, beats colour" in text
    assert "n = 40, adjusted p = 0.001" in text
    models = read_table(tables / "models.csv")
    models["train_epochs"] = models["train_epochs"].where(models["backbone"] == "colour")
    models.loc[models["backbone"] == "colour", "train_epochs"] = 3
    write_table(models, tables, "models")
    assert "colour, highest of the backbones trained in this run, falls short of tiny" in found_about(tables, "Trained")
    change_differences(tables, "backbones", p_holm=0.3, verdict="no difference shown")
    assert "is not shown to differ from tiny" in found_about(tables, "Trained or not")


def test_slip_is_told_from_its_family_with_the_largest_difference(tables: Path) -> None:
    text = found_about(tables, "query slip")
    assert "recall is higher in 6 of 6 settings, 0.95 on average instead of 0.70" in text
    rows = read_table(tables / "differences.csv").query("family == 'query slip' and score == 'precision'")
    means = f"{rows['mean_first'].mean():.2f} on average instead of {rows['mean_second'].mean():.2f}"
    assert f"precision over all judged queries is higher in 6 of 6 settings, {means}" in text
    assert "of recall +0.25 [+0.25, +0.25], n = 50, adjusted p = 0.001 after 12 comparisons" in text
    assert "and of precision +0.2" in text
    differences = read_table(tables / "differences.csv")
    recall = (differences["family"] == "query slip") & (differences["stratum"] == "timed")
    differences.loc[recall, "verdict"] = ["higher", "higher", "lower", *["no difference shown"] * 3]
    write_table(differences, tables, "differences")
    assert "higher in 2, lower in 1, not shown to differ in 3 of 6 settings" in found_about(tables, "query slip")
    write_table(differences[differences["stratum"] == "timed"], tables, "differences")
    assert "precision" not in found_about(tables, "query slip")  # where nothing was judged


def test_what_is_not_shown_stands_beside_what_so_many_queries_would_show(tables: Path) -> None:
    change_differences(tables, "backbones", verdict="no difference shown", p_holm=0.3, detectable_difference=0.123)
    told = "adjusted p = 0.30, and so many queries would show one of 0.12 in four of five cases, if tested alone"
    assert told in found_about(tables, "Hard")
    change_differences(tables, "backbones", least_difference=0.2)
    assert "so many queries would show one of 0.20 in four" in found_about(tables, "Hard")
    change_differences(tables, "backbones", least_difference=0.0004, detectable_difference=0.0041)
    assert "so many queries would show one of 0.0041 in four" in found_about(tables, "Hard")  # and none of 0.00
    change_differences(tables, "backbones", least_difference=np.nan)
    assert "and so few queries can show none" in found_about(tables, "Hard")


def test_model_and_index_each_have_their_loss(tables: Path) -> None:
    text = found_about(tables, "Model or index")
    losses = read_table(tables / "exact_or_lsh.csv")
    row = losses[(losses["backbone"] == "tiny") & (losses["stratum"] == "easy")].iloc[0]
    told = f"easy@100 (n = 10) {row['random']:.2f}, {row['lsh']:.2f} and {row['exact']:.2f} of {row['ceiling']:.2f}"
    assert f"{told} possible" in text
    lost = row["lost_by_index"]
    assert f"the index {lost:.2f} [{lost - 0.02:.2f}, {lost + 0.02:.2f}]" in text
    worst = losses.loc[losses["lost_by_index"].idxmax()]
    assert f"Of all 3 settings, falconn 5-12 20 on {worst['backbone']} loses most by its index" in text
    write_table(losses.assign(lost_by_index=-0.01), tables, "exact_or_lsh")
    assert "Of all 3 settings, none loses precision by its index" in found_about(tables, "Model or index")


def test_thesis_own_differences_are_held_to_the_same_test(tables: Path) -> None:
    text = found_about(tables, "The thesis' own differences")
    assert "Of the 24 differences between its four models, by its own counts, none stands after correction" in text
    assert "small and small_pretrained are 0.5 points apart: 1 of 200 judged tiles" in text
    assert "Even tested alone, 10 queries can show no difference below 3.0 points" in text
    published = read_table(tables / "published_differences.csv")
    published.loc[published.index[4], "verdict"] = "lower"
    write_table(published, tables, "published_differences")
    told = "one stands after correction (tiny_longer against small_pretrained on all queries)"
    assert told in found_about(tables, "The thesis' own differences")


def test_cost_of_approximation_is_told_where_recall_is_good(tables: Path) -> None:
    assert found_about(tables, "approximation") == ""
    cells = read_table(tables / "lsh_parameters.csv")
    cells.loc[cells["backbone"] != "colour", "recall"] = 0.95
    write_table(cells, tables, "lsh_parameters")
    change_differences(tables, "approximation", verdict="lower", p_holm=0.04)
    text = found_about(tables, "approximation")
    assert text.startswith("Against exact search, precision is lower in 2 of 2 settings with a recall of 90 % or more.")
    assert "n = 40, adjusted p = 0.040 after 3 comparisons" in text
    change_differences(tables, "approximation", verdict="no difference shown", p_holm=0.4)
    assert found_about(tables, "approximation").endswith("which is not shown to be one.")


def test_ranking_is_told_with_data_sets_and_what_they_can_tell(tables: Path) -> None:
    text = found_about(tables, "Engines over data sets")
    assert "n = 3 data sets: falconn 1.00, exact 2.00" in text
    assert text.endswith("So few data sets tell no two engines apart: no adjusted p can be below 0.25.")
    ranking = read_table(tables / "ranking.csv").assign(smallest_p=0.001)
    write_table(ranking, tables, "ranking")
    assert found_about(tables, "Engines over").endswith("No two engines can be told apart.")
    write_table(ranking.assign(groups=["a"] * 3 + ["b"] * 3), tables, "ranking")
    assert found_about(tables, "Engines over").endswith("All can be told apart (Wilcoxon, Holm-adjusted p < 0.05).")
    third = ranking.tail(3).assign(engine="pq", groups="b")
    groups = ["a"] * 3 + ["b"] * 3
    write_table(pd.concat([ranking.assign(groups=groups), third]), tables, "ranking")
    assert "All can be told apart except exact and pq" in found_about(tables, "Engines over")


def test_own_tiles_that_exact_search_misses_are_told(tables: Path) -> None:
    assert "Own tiles missed" not in str(key_results(tables))
    cells = read_table(tables / "lsh_parameters.csv")
    exact = (cells["kind"] == "exact") & (cells["space"] == "corrected") & (cells["backbone"] == "mini")
    cells.loc[exact, "self_missed_frac"] = 0.25
    write_table(cells, tables, "lsh_parameters")
    assert "the own tile of 25 % of the queries (mini/exact" in found_about(tables, "Own tiles missed")


def test_answers_that_change_with_the_process_are_told(tables: Path) -> None:
    cells = read_table(tables / "lsh_parameters.csv")
    cells.loc[cells.index[3], "unstable_frac"] = 0.5
    write_table(cells, tables, "lsh_parameters")
    assert f"1 of {len(cells)} query cells" in found_about(tables, "Unstable answers")
    assert "at worst 50 % of them" in found_about(tables, "Unstable answers")


def test_harness_own_share_is_the_largest_of_any_cell(tables: Path) -> None:
    cells = read_table(tables / "lsh_parameters.csv")
    cells["overhead_ms"] = 0.001
    single = cells["mode"] == "single"
    cells.loc[single, "query_ms_median"] = 0.5
    cells.loc[single.idxmax(), "query_ms_median"] = 0.02  # the fastest: 5 % of it are the harness' own
    write_table(cells, tables, "lsh_parameters")
    assert "single: 1 µs of a query, at most 5 % of a measured time" in found_about(tables, "The harness itself")


def test_no_tables_make_no_sentences(tmp_path: Path) -> None:
    assert key_results(tmp_path) == []
