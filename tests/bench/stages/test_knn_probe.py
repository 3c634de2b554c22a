from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
import torch

from bench.stages import knn_probe
from bench.stages.base import Cut, split_rows
from bench.stages.knn_probe import KnnProbe, is_right, knn_scores, split_for_knn
from ris_core.backbone import BackboneSpec, build_backbone
from ris_core.features import extract_features
from ris_core.knn import knn_accuracy
from ris_core.records import Tiles

NETWORK = BackboneSpec(
    arch={"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}, preprocess="native"
)


def cut_of(labels: Sequence[str] | None, train_frac: float = 0.0, classes: pd.DataFrame | None = None) -> Cut:
    n = 40 if labels is None else len(labels)
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"id": np.arange(n) + 100})
    if labels is not None:
        table["label"] = list(labels)
    if classes is not None:
        table = pd.concat([table, classes.add_prefix("frac_")], axis=1)
    tiles = Tiles(rng.integers(0, 255, (n, 16, 16, 3), np.uint8), table)
    return Cut(tiles, "key", *split_rows(n, train_frac, 3))


def test_labels_that_training_never_saw_vote_on_the_searched_half() -> None:
    cut = cut_of(["a", "b", ""] * 20, train_frac=0.5)
    split = split_for_knn(cut)
    assert split is not None
    labelled = np.arange(60) % 3 != 2
    assert split.memory.tolist() == [row for row in cut.train_rows if labelled[row]]
    assert split.queries.tolist() == [row for row in cut.base_rows if labelled[row]]
    assert split.ids.tolist() == (split.queries + 100).tolist()
    assert split.names[split.memory_codes].tolist() == cut.tiles.labels[split.memory].tolist()
    assert split.names[split.query_codes].tolist() == cut.tiles.labels[split.queries].tolist()


def test_without_a_split_two_halves_are_drawn_by_seed() -> None:
    cut = cut_of(["a", "b", ""] * 20)
    split, again = split_for_knn(cut), split_for_knn(cut)
    assert split is not None
    assert again is not None
    assert sorted([*split.memory, *split.queries]) == [row for row in range(60) if row % 3 != 2]
    assert len(split.memory) == len(split.queries) == 20
    assert split.memory.tolist() == again.memory.tolist()


def test_vectors_that_train_nothing_are_halved_too() -> None:
    cut = cut_of(["a", "b"] * 20)
    split = split_for_knn(Cut(cut.tiles, "key", cut.train_rows[:0], cut.base_rows))
    assert split is not None
    assert len(split.memory) == len(split.queries) == 20


def test_main_class_stands_in_for_a_label() -> None:
    shares = pd.DataFrame({"wood": [0.9, 0.1] * 20, "field": [0.1, 0.9] * 20})
    split = split_for_knn(cut_of(None, classes=shares))
    assert split is not None
    assert split.names[split.query_codes].tolist() == [("wood", "field")[row % 2] for row in split.queries]


@pytest.mark.parametrize("labels", [None, [""] * 10, ["a", *[""] * 9]])
def test_too_few_labels_make_no_split(labels: list[str] | None) -> None:
    assert split_for_knn(cut_of(labels)) is None


def test_no_more_tiles_take_part_than_are_cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knn_probe, "MOST_TILES", 7)
    split = split_for_knn(cut_of(["a", "b"] * 30, train_frac=0.5))
    assert split is not None
    assert len(split.memory) == len(split.queries) == 7
    assert (np.diff(split.memory) > 0).all()


def test_answers_are_scored_by_hand() -> None:
    answers = pd.DataFrame({"label": list("aabb"), "knn_10": list("aaab"), "knn_20": list("bbbb")})
    assert is_right(answers, "knn_10").tolist() == [1, 1, 0, 1]
    scores = knn_scores(answers)
    assert (scores["knn_10"], scores["knn_20"]) == (0.75, 0.5)
    assert 0 <= scores["knn_20_ci_low"] < 0.5 < scores["knn_20_ci_high"] <= 1


def test_probe_reads_what_the_finished_features_say(monkeypatch: pytest.MonkeyPatch) -> None:
    cut, backbone = cut_of(["a", "b", "c"] * 20, train_frac=0.5), build_backbone(NETWORK)
    split = split_for_knn(cut)
    assert split is not None
    features = extract_features(cut.tiles, backbone).values
    answers = split.answers(features[split.memory], features[split.queries])
    monkeypatch.setattr(knn_probe, "_BLOCK_TILES", 9)
    state = torch.random.get_rng_state()
    probed = KnnProbe(cut.tiles, split)(backbone)
    assert torch.equal(state, torch.random.get_rng_state())  # training draws what it would without a probe
    assert probed == {name: knn_scores(answers)[name] for name in ("knn_10", "knn_20")}
    _, codes = np.unique(cut.tiles.labels, return_inverse=True)
    memory, queries = split.memory, split.queries
    for name, k in (("knn_10", 10), ("knn_20", 20)):
        assert probed[name] == knn_accuracy(features[memory], codes[memory], features[queries], codes[queries], k)
    assert answers["tile"].tolist() == (queries + 100).tolist()
    assert answers["label"].tolist() == cut.tiles.labels[queries].tolist()
