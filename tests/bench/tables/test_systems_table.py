"""Whole systems side by side: rows by hand, the page, the figure, the sentences."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.figures.systems import draw_systems, spread
from bench.judging.judgments import Judgments
from bench.report.system_sentences import system_results
from bench.results import BuildResult, QueryResult, RegionResult, RerankResult, Result
from bench.scores.inference import holm, paired_permutation_test
from bench.tables.systems_table import systems_page, systems_table
from bench.tables.table import typed, write_table

EASY, HARD = [0.9, 0.8, 0.7, 1.0, 0.6, 0.9, 0.8, 0.9], [0.1, 0.3, 0.2, 0.0]
N, D = 1000, 32
JUDGES = Judgments(
    pd.DataFrame({
        "query_id": np.arange(12), "row": np.arange(12), "stratum": ["easy"] * 8 + ["hard"] * 4, "concept": "wood",
        "depth": [100] * 8 + [20] * 4, "relevant": 50,
    }),
    np.zeros((12, N), bool),
)  # fmt: skip
MODELS = pd.DataFrame(
    {"backbone": ["net", "codes", "sharp"], "tiles_per_s": [100.0, 50.0, 200.0], "train_s": [60.0, 30.0, np.nan]}
)


def lowered(values: list[float], by: float) -> list[float]:
    return [value - by for value in values]


def named(cell: str, backbone: str, engine: str, kind: str = "", **more: Any) -> dict[str, Any]:
    known = {"cell": cell, "backbone": backbone, "engine": engine, "kind": kind or engine, "params": {"tables": 3}}
    scores = {"precision": {"easy": EASY, "hard": HARD}, "average_precision": {"easy": EASY, "hard": [None, *HARD[1:]]}}
    return {**known, "query_params": {}, "threads": 1, "n": N, "d": D, **scores, **more}


def asked(cell: str, backbone: str, engine: str, kind: str = "", **more: Any) -> QueryResult:
    ways = {"space": "corrected", "mode": "single", "k": 10, "judged_times_s": [[0.001, 0.002, 0.003]]}
    return QueryResult(**named(cell, backbone, engine, kind, **{**ways, **more}))


def built(backbone: str, engine: str, size_bytes: int) -> BuildResult:
    return BuildResult("b", backbone, engine, engine, {"tables": 3}, 1, n=N, d=D, size_bytes=size_bytes)


def suite(*systems: tuple[str, str, str, str, str], **entries: dict[str, Any]) -> dict[str, Any]:
    keys = ("name", "backbone", "engine", "rerank", "regions")
    plain = {"recipe": None, "spec": {"weights": "random"}}
    backbones = [{"name": name, **plain, **entries.get(name, {})} for name in ("net", "codes", "sharp")]
    rows = [{**dict(zip(keys, system, strict=True)), "title": system[0].upper()} for system in systems]
    return {"systems": rows, "backbones": backbones}


def table_of(record: dict[str, Any], results: list[Result]) -> pd.DataFrame:
    return typed(systems_table(record, results, JUDGES, MODELS), "systems", "")


BASE = [asked("n", "net", "exact"), built("net", "exact", 0)]
WORSE = {"easy": lowered(EASY, 0.2), "hard": HARD}
CODES = [asked("c", "codes", "hamming", precision=WORSE), built("codes", "hamming", 6000)]


def test_row_of_one_system_by_hand() -> None:
    table = table_of(suite(("a", "net", "exact", "", "")), BASE)
    assert table["stratum"].tolist() == ["all", "easy", "hard"]
    whole, easy, hard = (row for _, row in table.iterrows())
    assert whole["precision"] == pytest.approx(np.mean([*EASY, *HARD]))
    assert (easy["depth"], easy["queries"], hard["depth"], hard["queries"]) == (100, 8, 20, 4)
    assert easy["precision"] == pytest.approx(np.mean(EASY))
    assert hard["mean_average_precision"] == pytest.approx(np.mean(HARD[1:]))  # a query without relevant tiles has none
    assert whole["memory_bytes"] == whole["vector_bytes"] == N * D * 4
    assert (whole["describe_ms"], whole["train_s"], whole["query_ms_median"]) == (10.0, 60.0, 2.0)
    assert whole["answer_ms"] == 12.0
    assert table["verdict"].tolist() == [""] * 3  # nothing to compare with


def test_others_are_held_against_the_first_by_query() -> None:
    table = table_of(suite(("a", "net", "exact", "", ""), ("b", "codes", "hamming", "", "")), BASE + CODES)
    rows = table[table["system"] == "b"].set_index("stratum")
    differences = -np.array([0.2] * 8 + [0.0] * 4)
    assert rows["difference"].tolist() == pytest.approx([differences.mean(), -0.2, 0.0])
    p = [paired_permutation_test(part) for part in (differences, differences[:8], differences[8:])]
    assert rows["p"].tolist() == pytest.approx(p)
    assert rows["p_holm"].tolist() == pytest.approx(holm(p))
    assert rows["verdict"].tolist() == ["lower", "lower", "no difference shown"]


def test_codes_keep_no_vectors_and_rerankers_what_they_made() -> None:
    reranked = RerankResult(
        **named("r", "net", "exact", rerank="x", rerank_kind="superglobal", rerank_params={}),
        size_bytes=500, search_s=[[0.001] * 3], rerank_s=[[0.004] * 3],
    )  # fmt: skip
    record = suite(("codes", "codes", "hamming", "", ""), ("again", "net", "exact", "x", ""))
    codes, again = (
        part.iloc[0] for _, part in table_of(record, BASE + CODES + [reranked]).groupby("system", sort=False)
    )
    assert (codes["vector_bytes"], codes["memory_bytes"]) == (0, 6000)
    assert (again["rerank_bytes"], again["memory_bytes"], again["cell"]) == (500, N * D * 4 + 500, "r")
    assert again["query_ms_median"] == pytest.approx(5.0)


def test_rerankers_need_the_vectors_that_codes_can_do_without() -> None:
    reranked = RerankResult(
        **named("r", "codes", "hamming", rerank="x", rerank_kind="superglobal", rerank_params={}),
        size_bytes=500, search_s=[[0.001] * 3], rerank_s=[[0.004] * 3],
    )  # fmt: skip
    row = table_of(suite(("a", "codes", "hamming", "x", "")), [*CODES, reranked]).iloc[0]
    assert (row["index_bytes"], row["vector_bytes"], row["memory_bytes"]) == (6000, N * D * 4, 6000 + N * D * 4 + 500)


def test_regions_count_with_their_own_description() -> None:
    regions = RegionResult(
        **named("g", "net", "exact", regions="w", source="windows", region_params={}),
        find_s=[0.001] * 3, describe_s=[[0.05] * 3], search_s=[[0.002] * 3], merge_s=[[0.001] * 3],
    )  # fmt: skip
    row = table_of(suite(("g", "net", "exact", "", "w")), [*BASE, regions]).iloc[0]
    assert (row["describe_ms"], row["cell"]) == (10.0, "g")
    assert row["describe_query_ms"] == pytest.approx(51.0)
    assert row["query_ms_median"] == pytest.approx(3.0)
    assert row["answer_ms"] == pytest.approx(54.0)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "nothing"),
        ({"recipe": {"epochs": 3}}, "tiles"),
        ({"recipe": {"method": "classify"}}, "labels"),
        ({"spec": {"weights": "pretrained"}}, "other images"),
        ({"recipe": {"epochs": 3}, "space": {"whitening": "learned"}}, "labels"),
    ],
)
def test_table_says_what_taught_a_system(changes: dict[str, Any], expected: str) -> None:
    assert set(table_of(suite(("a", "net", "exact", "", ""), net=changes), BASE)["taught_by"]) == {expected}


def test_other_ways_of_asking_do_not_stand_for_a_system() -> None:
    others = [asked("x", "net", "exact", mode="batch"), asked("y", "net", "exact", space="as_published")]
    assert set(table_of(suite(("a", "net", "exact", "", "")), [*others, *BASE])["cell"]) == {"n"}


def test_failed_system_has_its_reason_and_the_next_one_is_the_first() -> None:
    broken = asked("f", "net", "exact", status="failed", reason="no weights", precision={}, average_precision={})
    record = suite(("a", "net", "exact", "", ""), ("b", "codes", "hamming", "", ""), ("c", "sharp", "exact", "", ""))
    table = table_of(record, [broken, *CODES])
    assert table[table["system"] == "a"]["reason"].tolist() == ["no weights"]
    assert table[table["system"] == "c"]["reason"].tolist() == ["no such cell"]
    assert set(table[table["system"] == "b"]["verdict"]) == {""}
    page = systems_page(table)
    assert page["not measured because"].tolist() == ["no weights", "", "no such cell"]


def test_nothing_judged_leaves_costs_alone() -> None:
    table = table_of(
        suite(("a", "net", "exact", "", "")), [asked("n", "net", "exact", precision={}, average_precision={})]
    )
    assert table["precision"].isna().all()
    assert table["answer_ms"].tolist() == [12.0]


def test_page_has_a_row_a_system_and_an_arrow_where_it_is_told_apart() -> None:
    table = table_of(suite(("a", "net", "exact", "", ""), ("b", "codes", "hamming", "", "")), BASE + CODES)
    page = systems_page(table)
    assert page["system"].tolist() == ["A", "B"]
    assert "not measured because" not in page
    assert page["easy@100, n = 8"].tolist()[1].endswith("↓")
    assert not page["hard@20, n = 4"].str.contains("[↑↓]").any()


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    record = suite(("a", "net", "exact", "", ""), ("b", "codes", "hamming", "", ""), ("c", "sharp", "exact", "", ""),
                   codes={"recipe": {"method": "classify"}})  # fmt: skip
    better = {"easy": [min(1.0, value + 0.1) for value in EASY], "hard": HARD}
    sharp = [asked("s", "sharp", "exact", precision=better), built("sharp", "exact", 0)]
    write_table(systems_table(record, BASE + CODES + sharp, JUDGES, MODELS), tmp_path, "systems")
    return tmp_path


def test_figure_numbers_its_points_and_names_them_below(tables: Path) -> None:
    figure = draw_systems(tables)
    assert figure is not None
    easy, hard = figure.axes
    for ax in (easy, hard):
        assert sorted(text.get_text() for text in ax.texts) == ["1", "2", "3"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["1  A", "2  B", "3  C"]
    figure.draw_without_rendering()
    boxes = [ax.get_tightbbox() for ax in figure.axes]
    assert min(box.y0 for box in boxes) >= legend.get_window_extent().y1 - 1  # names cover no axis
    assert draw_systems(tables / "nowhere") is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=14).map(sorted), st.floats(0, 0.2))
def test_numbers_are_pushed_apart_in_their_order_and_no_farther_than_they_must(places: list[float], gap: float) -> None:
    moved = spread(np.array(places), gap)
    least = min(gap, 1 / max(1, len(places) - 1))
    assert (np.diff(moved) >= least - 1e-9).all()
    assert moved.min() >= -1e-9
    assert moved.max() <= 1 + 1e-9
    if (np.diff(places) >= least).all():
        np.testing.assert_allclose(moved, places, atol=1e-9)


def test_sentences_claim_no_more_than_the_tests(tables: Path) -> None:
    texts = [finding.text for finding in system_results(tables)]
    assert len(texts) == 3
    assert texts[0].startswith("On 8 easy queries, beside A (0.82 [")
    assert "less precise: B (0.62, saw labels)" in texts[0]
    assert "not shown to differ: B (0.15, saw labels), C (0.15)" in texts[1]
    assert "C takes 7 ms" in texts[2]
    assert list(system_results(tables / "nowhere")) == []
