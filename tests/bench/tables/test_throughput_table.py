from typing import Any

import pandas as pd
import pytest

from bench.results import PaceResult
from bench.tables.table import markdown_of, page_of, typed
from bench.tables.throughput_table import throughput_table


def pace(way: str, times_s: list[list[float]], **changes: Any) -> PaceResult:
    processes = len(times_s)
    return PaceResult(
        **{
            "cell": f"throughput/extract/tiny/{way}-1t", "stage": "extract", "way": way, "backbone": "tiny",
            "threads": 1, "n": 10, "batch": 5, "device": "cpu", "precision": "fp32", "times_s": times_s,
            "prepare_s": [0.5] * processes, "flops_per_tile": 100, "peak_flops": [1000.0] * processes,
            "peak_rss_bytes": [7, 9], "peak_device_bytes": [None] * processes, "other_load_fracs": [0.0, 0.2],
            **changes,
        }
    )  # fmt: skip


OURS = pace("ours", [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]])
PUBLISHED = pace("published", [[6.0, 6.0, 6.0], [12.0, 12.0, 12.0]])


def test_rates_and_ratio_by_hand() -> None:
    """Ten tiles in 1 and 2 s: median 1.5 s a round. The ratio's extremes are those of the pairs of processes."""
    ours, published = throughput_table([OURS, PUBLISHED]).to_dict("records")
    assert ours["tiles_per_s"] == pytest.approx(10 / 1.5)
    assert (ours["ci_low"], ours["ci_high"]) == pytest.approx((5.0, 10.0))
    assert ours["times_as_fast"] == pytest.approx(9 / 1.5)
    assert (ours["times_ci_low"], ours["times_ci_high"]) == pytest.approx((3.0, 12.0))
    assert published["tiles_per_s"] == pytest.approx(10 / 9)
    assert published["times_as_fast"] == 1
    assert "times_ci_low" not in published or pd.isna(published["times_ci_low"])
    assert ours["prepare_frac"] == pytest.approx((0.5 + 0.25) / 2)
    assert ours["mfu"] == pytest.approx(100 * 10 / 1.5 / 1000)
    assert (ours["rounds"], ours["processes"], ours["peak_rss_bytes"]) == (6, 2, 9)
    assert ours["other_load_frac"] == 0.2
    assert ours["peak_device_bytes"] is None


def test_ratio_is_to_the_published_cell_of_the_same_stage_backbone_and_threads() -> None:
    others = [
        pace("published", [[1.0]] * 2, backbone="small"),
        pace("published", [[1.0]] * 2, threads=2),
        pace("published", [[1.0]] * 2, stage="train"),
        pace("published", [], status="failed", reason="it burst"),
    ]
    rows = throughput_table([OURS, *others]).to_dict("records")
    assert pd.isna(rows[0]["times_as_fast"])
    assert (rows[-1]["status"], rows[-1]["reason"]) == ("failed", "it burst")
    assert pd.isna(rows[-1]["tiles_per_s"])


def test_single_times_give_a_ratio_without_an_interval() -> None:
    """One round in one process; the published way's two rounds alone say nothing of ours."""
    once = pace("ours", [[2.0]], peak_rss_bytes=[7])
    row = throughput_table([once, pace("published", [[6.0, 6.0]], peak_rss_bytes=[7])]).iloc[0]
    assert row["times_as_fast"] == pytest.approx(3)
    assert row[["ci_low", "ci_high", "times_ci_low", "times_ci_high"]].isna().all()
    assert page_of(typed(throughput_table([once]), "throughput", "throughput"), "throughput")["tiles/s"].tolist() == [
        "5"
    ]


def test_tiling_has_neither_network_nor_batch() -> None:
    tiling = pace(
        "ours", [[2.0], [2.0]], stage="tiles", backbone="", batch=0, precision="", flops_per_tile=None,
        prepare_s=[None, None], peak_flops=[None, None],
    )  # fmt: skip
    row = throughput_table([tiling]).iloc[0]
    assert row[["batch", "prepare_frac", "flops_per_tile", "mfu"]].isna().all()
    assert row["tiles_per_s"] == 5


def test_page_shows_spans_and_leaves_out_what_nobody_has() -> None:
    table = typed(throughput_table([OURS, PUBLISHED]), "throughput", "throughput")
    page = page_of(table, "throughput")
    assert page["tiles/s"].tolist() == ["6.67 [5, 10]", "1.11 [0.833, 1.67]"]
    assert page["times the published rate"].tolist() == ["6 [3, 12]", "1"]
    assert page["preparation"].tolist() == ["38%", "6.2%"]
    assert "on the GPU (MB)" not in page
    assert "not measured because" not in page
    assert "extraction" in markdown_of(page)


def test_no_rates_make_an_empty_table() -> None:
    assert throughput_table([]).empty
