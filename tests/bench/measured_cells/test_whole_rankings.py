"""The revisited protocol through the harness, against the published function written again from its definition."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.__main__ import main
from bench.judging.judgments import Judgments
from bench.judging.pairs import judge_pairs, subject_of
from bench.judging.trec import read_qrels, read_run
from bench.measured_cells.scoring import Scorer
from bench.measured_cells.whole_rankings import score_whole_rankings
from bench.measuring.rerank_worker import RerankWorker
from bench.results import QueryResult, read_results
from bench.running import run_suite
from bench.stages.base import Asked, Base, exact_neighbours
from bench.suites.suite_file import find_suite, read_suite
from bench.tables.run_tables import run_tables
from ris_core.errors import CorpusError, SuiteError
from ris_core.records import Features, Tiles
from ris_core.tiling.ground_truth import AskedImage, GroundTruth

N, Q = 60, 7
MAP = "average_precision"


def random_truth(rng: np.random.Generator) -> GroundTruth:
    """Seven queries over sixty images; the last two lack something to be right."""
    queries = []
    for q in range(Q):
        codes = rng.choice(4, N, p=[0.1, 0.15, 0.15, 0.6])
        codes[codes == (0 if q >= Q - 2 else 9)] = 3  # nothing easy
        codes[codes == (1 if q == Q - 1 else 9)] = 3  # and nothing hard
        labels = {name: np.flatnonzero(codes == code) for code, name in enumerate(("easy", "hard", "junk"))}
        queries.append(AskedImage(f"q{q}", None, labels))
    return GroundTruth(Path("gnd.pkl"), tuple(f"i{n}" for n in range(N)), tuple(queries))


def tiles_of(ids: np.ndarray) -> Tiles:
    return Tiles(np.zeros((len(ids), 1, 1, 3), np.uint8), pd.DataFrame({"id": ids}))


def base_of(rng: np.random.Generator) -> Base:
    raw = Features(rng.normal(size=(N + Q, 3)).astype(np.float32), np.arange(N + Q))
    corrected = Features(raw.values[:N], raw.ids[:N])
    asked = Asked(np.full(Q, -1), raw.values[N:], raw.values[N:], ids=raw.ids[N:])
    truth = exact_neighbours(corrected, asked, 5)
    return Base("b", raw, corrected, Path(), np.arange(N), Path(), asked, truth)


def published(ranks: np.ndarray, truth: GroundTruth, setup: str) -> dict[str, float]:
    """mAP and mP@k of the published `compute_map`, from its definition: ranks (N, q), one column a query."""
    right, ignored = {"easy": (["easy"], ["hard", "junk"]), "medium": (["easy", "hard"], ["junk"]),
                      "hard": (["hard"], ["easy", "junk"])}[setup]  # fmt: skip
    kappas, aps, precisions = [1, 5, 10], [], []
    for column, query in enumerate(truth.queries):
        positives = np.concatenate([query.labels[name] for name in right])
        if len(positives) == 0:
            continue  # the published function leaves such a query out of the mean
        junk = np.concatenate([query.labels[name] for name in ignored])
        places = np.arange(N)[np.isin(ranks[:, column], positives)]
        junk_places = np.arange(N)[np.isin(ranks[:, column], junk)]
        places = np.array([place - np.sum(junk_places < place) for place in places])
        area, step = 0.0, 1.0 / len(positives)
        for j, place in enumerate(places):
            before = 1.0 if place == 0 else j / place
            area += (before + (j + 1) / (place + 1)) * step / 2
        aps.append(area)
        places = places + 1
        row = []
        for kappa in kappas:
            most = min(max(places), kappa)
            row.append((places <= most).sum() / most)
        precisions.append(row)
    means = np.mean(precisions, axis=0)
    return {MAP: float(np.mean(aps))} | {f"revisited_precision_at_{k}": m for k, m in zip(kappas, means, strict=True)}


@pytest.mark.parametrize("seed", range(20))
def test_random_rankings_score_as_the_published_function(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    truth, base = random_truth(rng), base_of(rng)
    if seed % 2:
        monkeypatch.setattr("bench.measured_cells.whole_rankings._BLOCK_ROWS", 2 * N)  # two queries at a time
    judgments = judge_pairs(tiles_of(np.arange(N)), tiles_of(np.arange(N, N + Q)), truth, dict.fromkeys(
        ("easy", "medium", "hard"), 10))  # fmt: skip
    suite: Any = SimpleNamespace(queries=SimpleNamespace(k=5, exclude=("self",)))
    scorer = Scorer(suite, base, tiles_of(np.arange(N)), judgments)
    ranks = np.stack([rng.permutation(N) for _ in range(Q)], axis=1)
    monkeypatch.setattr(Base, "asked_by", lambda self, ids: Asked(np.full(len(ids), -1), ids, ids, ids=ids))
    scores = pd.DataFrame(score_whole_rankings(scorer, lambda asked, k: ranks.T[asked.ids - N]))
    setups = judgments.queries["stratum"].to_numpy()
    assert list(dict.fromkeys(setups)) == ["easy", "medium", "hard"]
    for setup in ("easy", "medium", "hard"):
        expected = published(ranks, truth, setup)
        found = scores[setups == setup].mean()
        assert found[list(expected)].to_dict() == pytest.approx(expected)
        assert all(found[f"precision_at_{k}"] <= found[f"revisited_precision_at_{k}"] + 1e-12 for k in (1, 5, 10))
    # Heads come first, what follows them is not named twice: here the heads are the whole ranking already.
    heads = ranks.T[judgments.queries["query_id"].to_numpy() - N]
    other = np.arange(N)[::-1]
    again = score_whole_rankings(scorer, lambda asked, k: np.tile(other, (len(asked.ids), 1)), heads)
    pd.testing.assert_frame_equal(pd.DataFrame(again), scores)
    # A list that is cut off scores what it names.
    short = score_whole_rankings(scorer, lambda asked, k: np.where(np.arange(N) < 20, ranks.T[asked.ids - N], -1))
    assert (pd.DataFrame(short)[MAP] <= scores[MAP] + 1e-12).all()


def test_each_set_up_has_its_own_right_and_ignored_images() -> None:
    labels = {"easy": np.array([1]), "hard": np.array([2]), "junk": np.array([3])}
    nothing_hard = {"easy": np.array([0]), "hard": np.array([], np.int64), "junk": np.array([], np.int64)}
    truth = GroundTruth(Path("g"), tuple("abcde"), (AskedImage("q", None, labels), AskedImage("r", None, nothing_hard)))
    searched, asked = tiles_of(np.array([0, 1, 2, 3, 4, 90, 91])), tiles_of(np.array([5, 6]))  # two distract
    judged = judge_pairs(searched, asked, truth, {"easy": 1, "medium": 2, "hard": 3})
    assert judged.queries[["query_id", "stratum", "depth", "relevant"]].to_numpy().tolist() == [
        [5, "easy", 1, 1], [6, "easy", 1, 1], [5, "medium", 2, 2], [6, "medium", 2, 1], [5, "hard", 3, 1]]  # fmt: skip
    assert judged.ignored is not None
    both = zip(judged.relevant, judged.ignored, strict=True)
    places = [(np.flatnonzero(right).tolist(), np.flatnonzero(out).tolist()) for right, out in both]
    assert places == [([1], [2, 3]), ([0], []), ([1, 2], [3]), ([0], []), ([2], [1, 3])]
    assert judged.notes == ("1 of 2 queries have nothing right in the set-up hard; left out.",)
    assert judged.chance.tolist() == pytest.approx([1 / 5, 1 / 7, 2 / 6, 1 / 7, 1 / 5])
    with pytest.raises(CorpusError, match="no searched image is right for any query"):
        judge_pairs(tiles_of(np.array([4])), asked, truth, {"easy": 1, "medium": 2, "hard": 3})
    with pytest.raises(CorpusError, match="has 2 queries, the corpus 1"):
        judge_pairs(searched, tiles_of(np.array([5])), truth, {"easy": 1, "medium": 2, "hard": 3})


@pytest.mark.parametrize(
    ("name", "subject"),
    [("all_souls_000013", "all_souls"), ("boat/023_003", "boat"), ("water/9.png", "water"), ("0001.jpg", "0001")],
)
def test_a_query_is_of_what_its_name_says(name: str, subject: str) -> None:
    assert subject_of(name) == subject


def test_the_suite_of_the_real_images_lacks_nothing_but_files() -> None:
    with pytest.raises(SuiteError) as told:
        read_suite(find_suite("revisited"))
    lines = str(told.value).splitlines()[1:]
    assert len(lines) == 3
    assert all("does not exist" in line or "is no file" in line for line in lines)


SUITE = """
[corpus]
source = "."
ground_truth = "gnd.json"
tile_px = 16

[backbone.colour]
model = "colour"
preprocess = "native"

[engine.exact]

[engine.falconn]
tables = 2
hash_bits = 4
query.probes_per_table = 2

[rerank.aqe]
kind = "query_expansion"
top = 8

[queries]
count = 4
k = 10

[judge]
easy_depth = 5
medium_depth = 5
hard_depth = 5

[measure]
processes = 1
rounds = 1
modes = ["single"]
"""


def test_a_run_in_the_published_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_suite, "fingerprint", lambda: {"cpu": {"model": "A", "usable_cores": 2}, "memory_gib": 4.0})
    monkeypatch.setattr(run_suite, "write_report", lambda folder: folder / "index.html")
    rng, names = np.random.default_rng(0), []
    (tmp_path / "jpg").mkdir()
    for number in range(24):
        names.append(f"{'ab'[number % 2]}_{number:06}")
        pixels = np.clip(rng.normal((200, 60, 60) if number % 2 else (60, 60, 200), 40, (24, 20, 3)), 1, 254)
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "jpg" / f"{names[-1]}.jpg")
    gnd = [{"bbx": [0, 0, 18, 18], "easy": list(range(q, 20, 4)), "hard": list(range(q + 2, 20, 4)), "junk": [1 - q]}
           for q in (0, 1, 0, 1)]  # fmt: skip
    for entry in gnd[:1]:
        entry["bbx"] = None
    (tmp_path / "gnd.json").write_text(json.dumps({"imlist": names[:20], "qimlist": names[20:], "gnd": gnd}))
    (tmp_path / "mine.toml").write_text(SUITE, encoding="utf-8")
    calls = []
    for name in ("answer", "used_cpu_s"):
        method = getattr(RerankWorker, name)
        monkeypatch.setattr(
            RerankWorker, name, lambda *given, name=name, method=method: calls.append(name) or method(*given)
        )
    assert main(["run", "mine.toml", "--cache", "cache", "--reports", "reports"]) == 0
    assert calls == ["answer", "used_cpu_s"] * 2  # what whole rankings take is our own work, not other's
    (run,) = (tmp_path / "reports" / "mine").iterdir()
    table = run_tables(run)["revisited"]
    exact = table[(table["engine"] == "exact") & (table["rerank"] == "")].set_index("setup")
    assert exact["queries"].to_dict() == {"easy": 4, "medium": 4, "hard": 4}
    assert set(table["n"]) == {20}
    assert exact.loc["medium", "map"] == 1.0  # colours tell the two apart
    assert exact.loc["medium", "mp_at_10"] == exact.loc["medium", "published_mp_at_10"] == 1.0
    assert exact.loc["easy", "mp_at_10"] == 0.5
    assert exact.loc["easy", "published_mp_at_10"] == 1.0  # ends with the last of five
    hashed = table[(table["engine"] == "falconn") & (table["rerank"] == "")].set_index("setup")
    assert (hashed["map"] <= exact["map"] + 1e-12).all()
    assert set(table["rerank"]) == {"", "aqe"}
    assert (table.loc[table["rerank"] == "aqe", "map"] > 0.9).all()  # whole rankings, not the eight that were re-ranked
    results = [r for r in read_results(run) if isinstance(r, QueryResult)]
    assert all(len(r.revisited[MAP]) == 12 for r in results)
    judgments = Judgments.open(run / "judgments")
    assert judgments.ignored is not None
    assert judgments.ignored.sum() == 4 * 6 + 4 * 1 + 4 * 6
    assert set(judgments.queries["query_id"]) == {20, 21, 22, 23}
    assert main(["export", str(run), "trec"]) == 0
    qrels = read_qrels(tmp_path / "trec" / "judgments-hard.qrels")
    assert qrels.groupby("topic").size().to_dict() == {20: 5, 21: 5, 22: 5, 23: 5}
    (answers,) = (tmp_path / "trec").glob("*exact*-hard.run")
    asked, hits = read_run(answers)
    assert asked.tolist() == [20, 21, 22, 23]
    assert (hits.ids[0] % 4 == 2).all()  # of the same colour the easy ones, multiples of four, went
