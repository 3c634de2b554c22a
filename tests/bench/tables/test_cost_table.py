import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from bench.results import BuildResult, QueryResult
from bench.tables.cost_table import (
    THESIS_HASHES,
    memory_page,
    memory_table,
    runtime_table,
    runtimes_page,
    setting_table,
    settings_page,
)
from bench.tables.published import MODELS
from bench.tables.table_schemas import SCHEMAS
from ris_core.engines import ENGINES

PARAMS = {"family": "hyperplane", "tables": 10, "hash_bits": 11, "rotations": 2}
INDEX = {"backbone": "tiny", "engine": "falconn", "kind": "falconn", "params": PARAMS, "n": 400, "d": 6}


@pytest.fixture
def builds() -> list[BuildResult]:
    memory = {"theoretical_bytes": 900_000, "anon_growth_bytes": 2**20, "vector_bytes": 9600, "peak_rss_bytes": None}
    measured = {"derived": {"hash_functions": 4}, "size_bytes": 2**20, "memory": memory}
    one = {"load_s": [0.5], "transform_s": [0.25], "ready_s": [0.002], "build_s": [[1.0, 2.0, 6.0]]}
    two = {"load_s": [0.5, 0.7], "transform_s": [0.25, 0.25], "ready_s": [0.002, 0.004], "build_s": [[0.5], [0.75]]}
    return [
        BuildResult("tiny/falconn/a/build-1t", threads=1, **INDEX, **measured, **one),
        BuildResult("tiny/falconn/a/build-2t", threads=2, **INDEX, **measured, **two),
    ]


@pytest.fixture
def queries() -> list[QueryResult]:
    asked = {"query_params": {"probes_per_table": 5, "max_candidates": -1}, "space": "corrected", "k": 100, "q": 200}
    scored = {"recall_at_k": [1.0, 0.5] * 100, "recall_ids_at_k": [0.5] * 200, "candidates_mean": 30.0}
    single = [[0.001] * 150 + [0.003] * 50]
    path = "tiny/falconn/a/probes_per_table5/corrected"
    return [
        QueryResult(f"{path}/single-1t", mode="single", threads=1, times_s=single, **INDEX, **asked, **scored),
        QueryResult(
            f"{path}/batch-2t", mode="batch", threads=2, times_s=[[0.2, 0.4], [0.3, 0.3]], **INDEX, **asked, **scored
        ),
        QueryResult(f"{path}/batch-1t", mode="batch", threads=1, status="failed", reason="killed", **INDEX, **asked),
    ]


def test_runtimes_are_those_computed_by_hand(builds, queries, tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("".join(json.dumps({"epoch": e, "epoch_s": s}) + "\n" for e, s in enumerate([30.0, 50.0])))
    notes = {"tiny": {"extract_s": 8.0, "tiles": 400, "train_tiles": 250}, "colour": {}}
    table = runtime_table(builds, queries, notes, {"tiny": log})
    assert list(table.columns) == list(SCHEMAS["runtimes"])
    rows = table.set_index(["quantity", "cell"]).to_dict("index")
    published = rows["build_lsh_index", "tiny/falconn/a/build-1t"]  # loading and space included, as published
    assert (published["median"], published["mean"], published["min"]) == (2.75, 3.75, 1.75)
    assert (published["q1"], published["q3"], published["rounds"]) == (2.25, 4.75, 3)
    assert published["published_tiny"] == 1.247982375
    assert rows["construct_lsh_index", "tiny/falconn/a/build-1t"]["median"] == 2.0
    assert published["processes"] == 1
    assert 1.75 <= published["ci_low"] <= 2.75 <= published["ci_high"] <= 6.75
    twice = rows["construct_lsh_index", "tiny/falconn/a/build-2t"]
    assert (twice["median"], twice["rounds"], twice["processes"]) == (0.625, 2, 2)
    assert rows["build_lsh_index", "tiny/falconn/a/build-2t"]["median"] == pytest.approx((1.25 + 1.7) / 2)
    assert rows["load_features", "tiny/falconn/a/build-2t"]["median"] == 0.6
    assert rows["transform_features", "tiny/falconn/a/build-2t"]["median"] == 0.25
    assert rows["ready_lsh_index", "tiny/falconn/a/build-2t"]["median"] == 0.003
    assert np.isnan(rows["ready_lsh_index", "tiny/falconn/a/build-1t"]["q1"])  # one time has no spread
    assert rows["extract_features", ""]["published_tiny"] == 481
    assert rows["train_epoch", ""]["median"] == 40
    assert (rows["train_epoch", ""]["n"], rows["extract_features", ""]["n"]) == (250, 400)
    single = rows["query_lsh_index_k100", queries[0].cell]
    assert (single["median"], single["mean"], single["rounds"], single["unit"]) == (1.0, 1.5, 200, "ms_per_query")
    assert single["published_tiny"] == 0.4576628279
    batch = rows["query_lsh_index_k100_batch", queries[1].cell]
    assert (batch["median"], batch["rounds"], batch["processes"]) == (1.5, 4, 2)
    assert np.isnan(batch["published_tiny"])  # the thesis asked one query at a time
    assert not (table["cell"] == queries[2].cell).any()  # a failed cell has no time
    assert not (table["backbone"] == "colour").any()


def test_settings_are_those_computed_by_hand(builds, queries):
    overhead = {"single-1t": [[2e-6, 2e-6], [4e-6, 4e-6]], "batch-2t": [[4e-6], [4e-6]]}
    table = setting_table(builds, queries, overhead)
    assert list(table.columns) == list(SCHEMAS["lsh_parameters"])
    single, batch, failed = table.to_dict("records")
    assert (single["family"], single["tables"], single["hash_bits"], single["hash_functions"]) == (
        "hyperplane",
        10,
        11,
        4,
    )
    assert single["other_params"] == "rotations=2; max_candidates=-1"
    assert (single["query_ms_median"], single["query_ms_p95"], single["query_ms_max"]) == (1.0, 3.0, 3.0)
    assert single["query_ms_ci_low"] <= 1.0 <= single["query_ms_ci_high"]
    assert (single["processes"], batch["processes"]) == (1, 2)
    assert single["overhead_ms"] == pytest.approx(0.003)
    assert batch["overhead_ms"] == pytest.approx(0.00002)  # of a query of the batch
    assert (single["ready_ms"], batch["ready_ms"]) == (2.0, 3.0)
    assert batch["build_s_ci_low"] == 0.5
    assert batch["build_s_ci_high"] == 0.75
    assert single["queries_per_s"] == pytest.approx(200 / 0.3)
    assert np.isnan(single["query_ms_p99"])  # 200 queries are too few
    assert (single["recall"], single["recall_ids"]) == (0.75, 0.5)
    assert single["recall_ci_low"] < 0.75 < single["recall_ci_high"]
    assert (single["build_s"], batch["build_s"]) == (2.0, 0.625)  # each with its threads
    assert (batch["query_ms_median"], batch["queries_per_s"]) == (1.5, pytest.approx(200 / 0.3))
    assert np.isnan(batch["query_ms_p95"])  # queries of a batch have no times of their own
    assert (failed["status"], failed["reason"]) == ("failed", "killed")
    assert np.isnan(failed["recall"])


def test_settings_without_a_build_cell_have_no_build_time(queries):
    assert pd.isna(setting_table([], queries, {})["build_s"]).all()


def test_settings_page_leaves_out_what_says_nothing(builds, queries):
    page = settings_page(setting_table(builds, queries, {}))
    assert "last dim" in page  # the thesis has one, though a hyperplane has none
    assert "setting" not in page  # nothing but what has columns of its own
    assert page["mode"].tolist()[:3] == ["single", "batch", "batch"]
    assert page["failed"].tolist()[:3] == ["", "", "killed"]
    assert "failed" not in settings_page(setting_table(builds, queries[:2], {}))
    exact = [dataclasses.replace(query, kind="exact", engine="exact") for query in queries[:1]]
    assert not {"tables", "bits", "queries", "mode", "last dim"} & set(settings_page(setting_table([], exact, {})))


def test_settings_page_has_what_falconn_derived_and_the_thesis_below(builds, queries):
    page = settings_page(setting_table(builds, queries[:1], {}))
    own, *thesis = page.to_dict("records")
    assert [own[name] for name in ("tables", "bits", "k", "probes")] == [10, 11, 4, 5]
    assert (own["build s"], own["with loading s"]) == (2.0, 2.75)
    assert own["query ms"] == "1.00 [1.00, 1.00]"
    assert (own["mean ms"], own["recall@100"], own["candidates"]) == (1.5, 0.75, 30)
    assert [row["backbone"] for row in thesis] == [f"thesis {model}" for model in MODELS]
    assert [thesis[0][name] for name in ("tables", "bits", "k", "last dim", "probes")] == [10, 20, 3, 2, 20]
    assert (thesis[2]["k"], thesis[2]["last dim"]) == (2, 512)
    assert (thesis[0]["with loading s"], thesis[0]["mean ms"]) == (1.247982375, 0.4576628279)
    assert set(page["queries"]) == {"corrected", "as_published"}


@pytest.mark.parametrize(("model", "d"), [("tiny", 192), ("small", 384)])
def test_thesis_hashes_are_what_falconn_derives(model, d):
    kind = ENGINES["falconn"]
    if reason := kind.unavailable():  # without its headers at build time there is no FALCONN
        pytest.skip(reason)
    vectors = np.random.default_rng(0).normal(size=(50, d)).astype(np.float32)
    engine = kind.build(vectors, kind.build_params(tables=1, hash_bits=20, storage="stl"), 1)
    derived = engine.derived()
    assert (derived["hash_functions"], derived["last_cp_dimension"]) == THESIS_HASHES[model]


def test_runtimes_page_has_means_and_medians_beside_the_thesis(builds, queries):
    raw = dataclasses.replace(
        queries[0], space="as_published", cell=queries[0].cell.replace("corrected", "as_published")
    )
    page = runtimes_page(runtime_table(builds[:1], [queries[0], raw], {"tiny": {"extract_s": 8.0, "tiles": 400}}, {}))
    assert list(page.columns)[:5] == ["time", "setting", "of them", "tiny", "thesis tiny"]
    rows = {(row["time"], row["setting"], row["of them"]): row for row in page.to_dict("records")}
    assert rows["extract all features, s", "", "once"]["thesis tiny"] == "481"
    whole = rows["build, loading and normalising included, s", "falconn a build-1t", "mean"]
    assert (whole["tiny"], whole["thesis tiny"], whole["thesis small"]) == ("3.75", "1.25", "2.18")
    alone = rows["build the index alone, s", "falconn a build-1t", "median"]
    assert alone["tiny"].startswith("2.00 [1.00, ")
    assert (alone["thesis tiny"], alone["times"]) == ("", "3")
    corrected, published = (
        rows["query, k = 100, ms/query", f"falconn a probes_per_table5 {space} single-1t", "mean"]
        for space in ("corrected", "as_published")
    )
    assert (corrected["tiny"], corrected["thesis tiny"]) == ("1.50", "")  # the thesis asked raw queries
    assert published["thesis tiny"] == "0.458"
    assert not [row for row in rows if "load_features" in row[0] or "ready" in row[0]]


def test_runtimes_page_counts_the_times_of_every_backbone(builds, queries):
    longer = dataclasses.replace(builds[0], backbone="longer", cell="longer/falconn/a/build-1t", build_s=[[1.0] * 5])
    page = runtimes_page(runtime_table([builds[0], longer], [], {}, {}))
    assert page["times"].tolist() == ["3; 5"] * len(page)


def test_build_without_the_times_before_it_has_its_own(builds, queries):
    alone = dataclasses.replace(builds[0], load_s=[], transform_s=[])
    (row,) = setting_table([alone], queries[:1], {}).to_dict("records")
    assert (row["build_s"], row["build_whole_s"]) == (2.0, None)


def test_runtimes_page_shows_batches_where_nothing_else_was_asked(builds, queries):
    assert (runtimes_page(runtime_table([], queries, {}, {}))["setting"].str.endswith("single-1t")).all()
    assert (runtimes_page(runtime_table([], queries[1:], {}, {}))["setting"].str.endswith("batch-2t")).all()


def test_chosen_parameters_and_the_seconds_it_took_are_told(builds, queries):
    chosen = dataclasses.replace(queries[0], chosen={"probes": 37, "share": 0.25}, prepare_s=[0.5, 0.1, 0.3])
    idle = dataclasses.replace(queries[1], prepare_s=[1e-6])
    table = setting_table(builds, [chosen, idle], {})
    assert table[["chosen", "prepare_s"]].to_numpy().tolist() == [["probes=37 share=0.25", 0.3], ["", 1e-6]]
    assert table["setting"].tolist() == ["probes_per_table=5"] * 2  # the suite names no other
    assert settings_page(table)["setting"].tolist()[:2] == ["probes=37 share=0.25", ""]


def test_noisy_settings_are_marked(builds, queries):
    queries[0] = dataclasses.replace(queries[0], other_load_fracs=[0.4])
    page = settings_page(setting_table(builds, queries, {}))
    assert page["noisy"].tolist()[:3] == ["noisy", "", ""]


def test_memory_of_an_index_is_told_once(builds):
    table = memory_table(builds)
    assert list(table.columns) == list(SCHEMAS["memory"])
    (row,) = table.to_dict("records")
    assert (row["cell"], row["theoretical_bytes"]) == ("tiny/falconn/a/build-1t", 900_000)
    page = memory_page(table)
    assert page["index, measured MiB"].tolist() == [1.0]
    assert "peak of process MiB" not in page  # not known here
