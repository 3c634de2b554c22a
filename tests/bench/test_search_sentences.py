from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.report.growth_sentences import growth_results
from bench.report.search_sentences import break_even_words, search_results, times_words
from bench.tables.cheapest_table import cheapest_table
from bench.tables.table import read_table, typed, write_table
from bench.tables.table_schemas import SCHEMAS

Words = Callable[..., str]


def timed(ms: float, low: float = np.nan, high: float = np.nan) -> pd.Series:
    return pd.Series({"query_ms_median": ms, "query_ms_ci_low": low, "query_ms_ci_high": high})


def test_times_differ_only_where_their_intervals_lie_apart() -> None:
    exact = timed(2.0, 1.9, 2.1)
    assert times_words(exact, timed(0.5, 0.4, 0.6)) == "Exact search takes 2 ms [1.9 ms, 2.1 ms], 4.0 times as long"
    assert times_words(exact, timed(8.0, 7.5, 9.0)).endswith("only 0.25 of that: exact search is faster here")
    assert times_words(exact, timed(1.8, 1.5, 1.95)).endswith("the intervals overlap, no difference in time is shown")
    assert times_words(exact, timed(0.5)).endswith("without intervals no difference is called")


def index(build: tuple[float, float, float], query_ms: tuple[float, float, float], variant: str = "") -> pd.Series:
    names = ["build_s", "build_s_ci_low", "build_s_ci_high", "query_ms_median", "query_ms_ci_low", "query_ms_ci_high"]
    return pd.Series(dict(zip(names, (*build, *query_ms), strict=True)) | {"variant": variant})


def test_break_even_by_hand() -> None:
    """100 s for 1 ms saved: 100,000 queries; at best 80 s for 1.6 ms, at worst 120 s for 0.4 ms."""
    fast, cheap = index((110, 100, 120), (1.0, 0.7, 1.3)), index((10, 0, 20), (2.0, 1.7, 2.3))
    assert break_even_words(fast, cheap) == "100,000 queries [50,000, 300,000]"


def test_break_even_of_builds_without_interval_has_no_bounds() -> None:
    """262 s for 0.29 ms."""
    nothing = (np.nan, np.nan)
    graph = index((265, *nothing), (0.62, 0.6, 0.64), "hnswlib")
    assert break_even_words(graph, index((3, 2.9, 3.1), (0.91, 0.9, 0.92))) == "903,000 queries (hnswlib built once)"
    assert break_even_words(graph, index((3, *nothing), (0.91, 0.9, 0.92))) == "903,000 queries (each built once)"


# Setting, recall, ms of a single query, seconds of a build; a batch takes half as long.
CELLS = {
    "exact": ("", 1.0, 10.0, 0.0),
    "hnswlib": ("links=16 ef=100", 0.95, 1.0, 100.0),
    "crosspolytope": ("recall=0.9", 0.902, 1.5, 2.0),
    "falconn": ("probes=200", 0.91, 20.0, 4.0),
    "faiss_lsh": ("bits=64", 0.8996, 0.1, 1.0),
}


@pytest.fixture
def words(tmp_path: Path) -> Words:
    """What is said of some engines, each with one setting; times are known within five percent."""

    def say(
        about: str,
        cells: dict[str, tuple[Any, ...]] = CELLS,
        once: tuple[str, ...] = (),
        prepare_s: dict[str, float] | None = None,
    ) -> str:
        chosen_s = prepare_s or {}
        rows = [
            {"cell": f"tiny/{engine}/s/corrected/{mode}-1t", "backbone": "tiny", "engine": engine, "kind": engine,
             "space": "corrected", "mode": mode, "threads": 1, "n": 4000, "d": 96, "k": 10, "q": 50, "status": "ok",
             "setting": setting, "recall": recall, "query_ms_median": ms * part, "query_ms_ci_low": ms * part * 0.95,
             "query_ms_ci_high": ms * part * 1.05, "build_s": build_s, "build_s_ci_low": build_s * 0.95,
             "build_s_ci_high": build_s * 1.05, "size_bytes": 3 * 2**20,
             "processes": 1 if engine in once else 3, "prepare_s": chosen_s.get(engine, 1e-6),
             "chosen": "probes=7" if engine in chosen_s else "",
             **(dict.fromkeys(("build_s_ci_low", "build_s_ci_high")) if engine in once else {})}
            for engine, (setting, recall, ms, build_s) in cells.items()
            for mode, part in (("single", 1.0), ("batch", 0.5))
        ]  # fmt: skip
        settings = pd.DataFrame(rows).reindex(columns=list(SCHEMAS["lsh_parameters"]))
        write_table(settings, tmp_path, "lsh_parameters")
        cheapest = cheapest_table(typed(settings, "lsh_parameters", ""))
        write_table(cheapest, tmp_path, "cheapest_settings")
        return " ".join(found.text for found in search_results(tmp_path, "tiny") if about in found.about)

    return say


def test_advice_names_the_fastest_setting_its_build_and_when_it_pays(words: Words) -> None:
    text = words("Search: single queries")
    assert text.startswith(
        "On tiny features (4,000 of 96 dimensions), among the settings that find 90 % of the exact neighbours, the "
        "lowest median time is that of hnswlib (links=16 ef=100): 1 ms [0.95 ms, 1.05 ms] a query, recall 0.95, n = 50 "
        "queries. It is built in 100 s [95 s, 105 s] and needs 3 MiB beside the vectors."
    )
    assert (
        "crosspolytope (recall=0.9) takes 1.5 ms [1.43 ms, 1.57 ms] and is built in 2 s [1.9 s, 2.1 s]: hnswlib is 1.5 "
        "times as fast a query, takes 50.0 times as long to build, and pays after 196,000 queries ["
    ) in text
    assert "10.0 times as long: the index has paid for its build after 11,100 queries" in text  # 100 s / 9 ms
    assert "after 22,200 queries" in words("Search: one batch")  # which save half as much


def test_build_pays_once_it_has_caught_up_with_all_that_are_built_sooner(words: Words) -> None:
    """Against crosspolytope after 98 s / 0.5 ms, against falconn after 96 s / 19 ms: the former is what counts."""
    text = words("Search: single queries")
    assert text.count("pays after") == 1
    assert "falconn" not in text


SLOW = CELLS | {"hnswlib": ("ef=100", 0.95, 0.62, 265.0), "crosspolytope": ("recall=0.9", 0.902, 0.91, 3.0)}


def test_index_that_was_built_once_is_compared_without_bounds(words: Words) -> None:
    text = words("Search: single", SLOW, once=("hnswlib",))
    assert (
        "hnswlib is 1.5 times as fast a query, takes 88.3 times as long to build, and pays after 903,000 queries "
        "(hnswlib built once). Exact search takes 10 ms [9.5 ms, 10.5 ms], 16.1 times as long: the index has paid for "
        "its build after 28,300 queries (hnswlib built once). Measured in one process, whose interval tells nothing "
        "of others: hnswlib."
    ) in text
    both = words("Search: single", SLOW, once=("hnswlib", "crosspolytope"))
    assert "903,000 queries (each built once)" in both
    assert "Measured in one process each, whose interval tells nothing of others: hnswlib, crosspolytope." in both


def test_builds_timed_once_need_more_than_chance_to_be_told_apart(words: Words) -> None:
    once = ("hnswlib", "crosspolytope")
    near = words("Search: single", CELLS | {"hnswlib": ("ef=100", 0.95, 1.0, 2.9)}, once=once)
    assert "times as long to build" not in near  # 2.9 s and 2 s
    assert "No other engine" not in near
    assert "times as long to build" in words("Search", CELLS | {"hnswlib": ("ef=100", 0.95, 1.0, 3.1)}, once=once)


def test_one_process_is_told_of_other_sentences_too(words: Words) -> None:
    assert "exact search" in words("Slower than exact", once=("falconn",))
    assert words("Slower than exact", once=("falconn",)).endswith("nothing of others: falconn.")
    assert words("Other recalls: single", once=("hnswlib", "faiss_lsh")).endswith("others: hnswlib, faiss_lsh.")


def test_choosing_counts_as_building(words: Words) -> None:
    """2 s and 110 s for choosing are longer than 100 s; 1 s and 4 s for choosing are longer than 2 s."""
    text = words("Search: single", prepare_s={"crosspolytope": 110.0})
    assert "crosspolytope" not in text
    slow = CELLS | {"hnswlib": ("ef=100", 0.95, 1.0, 1.0)}
    chosen = words("Search: single", slow, prepare_s={"hnswlib": 4.0})
    assert "It is built in 5 s [4.95 s, 5.05 s], 4 s of that for choosing, and needs 3 MiB" in chosen
    assert "crosspolytope (recall=0.9) takes 1.5 ms" in chosen
    assert "takes 2.5 times as long to build" in chosen


def test_overlapping_times_are_no_difference(words: Words) -> None:
    level = {**CELLS, "crosspolytope": ("recall=0.9", 0.902, 1.08, 2.0)}
    del level["falconn"]
    text = words("Search: single", level)
    assert (
        "No difference in time is shown from crosspolytope (recall=0.9), 1.08 ms [1.03 ms, 1.13 ms], built in 2 s"
        in text
    )
    assert "times as fast a query" not in text
    assert "pays after" not in text


def test_engine_that_is_fastest_and_built_first_has_nothing_to_repay(words: Words) -> None:
    text = words("Search: single", CELLS | {"hnswlib": ("ef=100", 0.95, 1.0, 1.0)})
    assert "No other engine that finds them is built sooner" in text
    assert "pays after" not in text
    level = words("Search: single", CELLS | {"hnswlib": ("ef=100", 0.95, 1.0, 2.05)})
    assert "sooner" not in level  # builds of 2.05 s and 2 s are not told apart
    assert "pays after" not in level


def test_engines_slower_than_exact_search_in_batches_are_named(words: Words) -> None:
    assert words("Slower than exact") == (
        "At a recall of 0.9, falconn (10 ms [9.5 ms, 10.5 ms]) is slower than exact search in batches (5 ms [4.75 ms, "
        "5.25 ms] a query), though asked in batches too."
    )
    both = words("Slower", CELLS | {"kdtree": ("leaf=40", 1.0, 30.0, 1.0)})
    assert "falconn (10 ms [9.5 ms, 10.5 ms]) and kdtree (15 ms [14.2 ms, 15.8 ms]) are slower" in both
    assert words("Slower", CELLS | {"falconn": ("probes=9", 0.95, 10.4, 4.0)}) == ""  # 5.2 ms and 5 ms overlap


def test_recall_that_is_not_reached_never_reads_as_reached(words: Words) -> None:
    assert words("not reached") == "No measured setting reaches a recall of 0.9: faiss_lsh (best 0.899)."


def test_other_recalls_have_their_own_engine(words: Words) -> None:
    text = words("Other recalls: single")
    assert "Recall 0.5: faiss_lsh (bits=64), 0.1 ms [95 µs, 0.105 ms]" in text
    assert "Recall 0.95: hnswlib (links=16 ef=100), 1 ms" in text
    assert text.endswith("Recall 0.99: no engine reaches it.")
    level = words("Other recalls: single", CELLS | {"faiss_ivf": ("probes=1", 0.6, 0.102, 1.0)})
    assert "(no difference shown from faiss_ivf)" in level


def test_one_approximate_engine_needs_no_comparison(words: Words) -> None:
    only = {name: CELLS[name] for name in ("exact", "hnswlib")}
    assert words("Other recalls", only) == ""
    assert words("Search: single", {"exact": CELLS["exact"]}) == ""
    poor = words("Search: single", {"exact": CELLS["exact"], "faiss_lsh": CELLS["faiss_lsh"]})
    assert "no setting finds 90 % of the exact neighbours; nearest is faiss_lsh (bits=64)" in poor


def test_exact_search_may_be_faster(words: Words) -> None:
    text = words("Search: single", CELLS | {"exact": ("", 1.0, 0.01, 0.0)})
    assert "exact search is faster here" in text
    assert "paid for its build" not in text


def test_largest_size_of_a_corpus_speaks(growing_tables: Path) -> None:
    found = list(search_results(growing_tables, "aerial-n50000"))
    assert found[0].text.startswith("On aerial-n400000 features (400,000 of 384 dimensions)")
    assert "which chose probes=" in found[0].text


def test_growth_is_told_with_intervals_and_theory(growing_tables: Path) -> None:
    found = {finding.about: finding.text for finding in growth_results(growing_tables)}
    assert list(found) == ["Growth: single query", "Growth: query in a batch", "Growth: build"]
    single = found["Growth: single query"]
    assert single.startswith(
        "At a recall of 0.9, from n = 50,000 to 400,000 of aerial, the time of a single query grows"
    )
    assert "hnswlib 0.10 [0.10, 0.10] (4 above the recall; theory: 0.00); faiss_hnsw 0.20" in single
    assert "exact 1.00 [0.99, 1.01] (theory: 1.00)" in single or "exact 1.00 [1.00, 1.00] (theory: 1.00)" in single
    assert single.endswith(
        "Slower than n: faiss_hnsw, crosspolytope, faiss_ivf, falconn cross-polytope. Nothing is called of engines "
        "that miss the recall at some sizes or exceed it."
    )


def test_exponent_of_fewer_points_than_sizes_is_marked_and_calls_nothing(growing_tables: Path, tmp_path: Path) -> None:
    growth = read_table(growing_tables / "growth.csv").assign(points=3, floors=0)
    write_table(growth, tmp_path, "growth")
    for finding in growth_results(tmp_path):
        assert finding.text.endswith(
            "None is shown to grow slower than n. Nothing is called of engines that miss the recall at some sizes or "
            "exceed it."
        )
    write_table(growth.assign(floors=2), tmp_path, "growth")
    assert (
        "hnswlib 0.10 [0.10, 0.10] (3 of 4 sizes; 2 above the recall; theory: 0.00)"
        in next(growth_results(tmp_path)).text
    )
    write_table(growth.assign(points=4), tmp_path, "growth")
    assert next(growth_results(tmp_path)).text.endswith("faiss_ivf, falconn cross-polytope.")


def test_two_sizes_call_nothing(growing_tables: Path, tmp_path: Path) -> None:
    growth = read_table(growing_tables / "growth.csv").assign(stderr=np.nan, ci_low=np.nan, ci_high=np.nan)
    write_table(growth, tmp_path, "growth")
    for finding in growth_results(tmp_path):
        assert finding.text.endswith("Two sizes give no interval: nothing is called.")
        assert "[" not in finding.text


def test_runs_of_one_size_do_not_speak_of_growth(engine_tables: Path, tmp_path: Path) -> None:
    assert list(growth_results(engine_tables)) == []
    assert list(growth_results(tmp_path)) == []
    assert list(search_results(tmp_path, "tiny")) == []
