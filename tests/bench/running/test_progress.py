import dataclasses
import io

import pytest

from bench.results import BuildResult, QueryResult, StageNote
from bench.running.progress import Progress, result_words, seconds_words, stage_line
from bench.suites.cells import BuildCell, IndexKey
from bench.suites.suite import ParamSet
from ris_core.engines.exact import ExactParams

BUILD = BuildResult("a/exact/build-1t", "a", "exact", "exact", {}, 1, build_s=[[0.1, 0.3, 0.2]], size_bytes=2**20)
QUERY = QueryResult(
    "c", "a", "exact", "exact", {}, {}, "corrected", "batch", 1, 3, q=4, times_s=[[0.004]], recall_at_k=[1.0, 0.5]
)


@pytest.mark.parametrize(
    ("seconds", "words"), [(2.0, "2 s"), (0.0305, "30.5 ms"), (0.000031, "31 us"), (2e-8, "20 ns"), (0.0, "0 ns")]
)
def test_seconds_have_a_fitting_unit(seconds: float, words: str) -> None:
    assert seconds_words(seconds) == words


def test_results_are_told_by_their_median() -> None:
    assert result_words(BUILD) == "200 ms, 1.0 MiB"
    assert result_words(QUERY) == "1 ms/query recall 0.750"
    assert result_words(dataclasses.replace(QUERY, mode="single")) == "4 ms/query recall 0.750"
    assert result_words(dataclasses.replace(BUILD, build_s=[[0.1, 0.2], [0.5]])) == "325 ms, 1.0 MiB"


def test_noisy_cells_say_so() -> None:
    noisy = dataclasses.replace(QUERY, other_load_fracs=[0.31])
    assert result_words(noisy) == "1 ms/query recall 0.750  (noisy: other work took 31% of the cores)"
    assert result_words(dataclasses.replace(QUERY, other_load_fracs=[0.05])) == result_words(QUERY)


def test_failures_and_skips_say_why() -> None:
    assert result_words(dataclasses.replace(QUERY, status="failed", reason="why")) == "FAILED: why"
    assert result_words(dataclasses.replace(QUERY, status="skipped", reason="why")) == "skipped: why"


def test_stages_say_what_they_made_or_reused() -> None:
    note = StageNote("tiles", "", "/c/tiles-12", "12", False, 2.0, {"n": 4000, "size_px": 64, "tiles_per_s": 2000.0})
    assert stage_line(note) == "tiles: 4,000 tiles, 64 px, made in 2.0 s (2,000 tiles/s)"
    assert stage_line(dataclasses.replace(note, reused=True)) == "tiles: 4,000 tiles, 64 px, reused tiles-12"
    trained = StageNote("checkpoint", "net", "/c/x-1", "1", False, 61.0, {"n": 9, "epochs": 3, "final_loss": 1.5})
    assert stage_line(trained) == "checkpoint net: 9 tiles, 3 epochs, final loss 1.500, made in 61.0 s"


def test_stages_over_vectors_say_what_the_file_brought() -> None:
    notes = {"n": 1000, "d": 8, "held_out": 50, "file": "v.hdf5"}
    note = StageNote("features", "v", "/c/features-12", "12", False, 2.0, notes)
    assert stage_line(note) == "features v: 1,000 vectors, d = 8, 50 held-out queries, made in 2.0 s"
    truth = StageNote("truth", "v", "/c/t-1", "1", False, 1.0, {"n": 9, "q": 5, "file_k": 10, "file_recall": 0.99994})
    assert "5 queries, the file's own 10 neighbours have recall 0.9999," in stage_line(truth)


def test_cells_are_counted() -> None:
    out = io.StringIO()
    progress = Progress(out)
    progress.expect(10)
    cell = BuildCell(IndexKey("a", "exact", "exact", ParamSet(ExactParams())), 1)
    progress.tell_cell(cell, BUILD)
    assert out.getvalue() == "[ 1/10] a exact build  200 ms, 1.0 MiB\n"
