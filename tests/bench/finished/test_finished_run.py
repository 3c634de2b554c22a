import dataclasses
import shutil
from pathlib import Path

import pytest

from bench.finished.finished_run import FinishedRun, Setting
from bench.results import StageNote, read_run, write_run
from ris_core.backbone import build_backbone
from ris_core.errors import ArtifactError, SuiteError

CORPUS = 72


@pytest.fixture
def run(finished_run: Path) -> FinishedRun:
    return FinishedRun.open(finished_run)


@pytest.fixture
def own(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the run's folder to change, as far below the cache's folder as the run itself."""
    return Path(shutil.copytree(finished_run, tmp_path / "reports" / "small" / "one"))


def test_run_names_its_backbones_settings_and_judged_queries(run: FinishedRun) -> None:
    assert run.backbones == ("micro", "colour")
    names = [setting.name for setting in run.settings if setting.backbone == "micro"]
    assert names == [
        "exact",
        "falconn/tables2-hash_bits4/probes_per_table2",
        "falconn/tables2-hash_bits4/probes_per_table4",
    ]
    assert run.judgments is not None
    assert set(run.judgments.queries["stratum"]) == {"easy", "medium", "hard"}
    assert len(run.tiles) == CORPUS


def test_network_comes_with_its_trained_weights(run: FinishedRun) -> None:
    spec = run.spec("micro")
    assert Path(spec.weights).parent == run.artifact("checkpoint", "micro")
    assert build_backbone(spec).d == 16
    assert run.spec("colour").model == "colour"


def test_baseline_is_best_only_among_baselines(run: FinishedRun) -> None:
    def with_precision(**precision: float) -> FinishedRun:
        other = FinishedRun.open(run.folder)
        settings = tuple(Setting(name, precision=value) for name, value in precision.items())
        other.__dict__["settings"] = settings  # where the cached property keeps it
        return other

    assert with_precision(micro=0.1, colour=0.9).best_backbone == "micro"
    assert with_precision().best_backbone == "micro"
    other = with_precision(micro=0.1, colour=0.9)
    micro = next(entry for entry in other.record.suite["backbones"] if entry["name"] == "micro")
    micro["recipe"] = None  # untrained: a baseline as well
    assert other.best_backbone == "colour"
    micro["spec"]["weights"] = "pretrained"
    assert other.best_backbone == "micro"


def test_engine_alone_means_its_setting_of_highest_recall(run: FinishedRun) -> None:
    falconn = [s for s in run.settings if s.engine == "falconn" and s.backbone == "micro"]
    best = max(falconn, key=lambda setting: setting.recall)
    assert run.setting("micro", "falconn") == best
    assert run.setting("micro", falconn[0].name) == falconn[0]
    assert run.setting("micro", falconn[0].name.replace("/", " ")) == falconn[0]
    assert run.setting("micro").kind == "exact"


def test_exact_search_needs_no_cell(own: Path) -> None:
    shutil.rmtree(own / "cells")
    assert FinishedRun.open(own).setting("micro") == Setting("micro")


def test_unknown_backbone_engine_and_tile_are_refused_with_the_known_ones(run: FinishedRun) -> None:
    with pytest.raises(SuiteError, match=r"no backbone 'huge'; known: micro, colour\. Name one"):
        run.setting("huge")
    with pytest.raises(
        SuiteError, match=r"by 'hnsw'; known: exact, falconn, falconn/tables2-hash_bits4/probes_per_table2,"
    ):
        run.setting("micro", "hnsw")
    with pytest.raises(
        SuiteError, match=r"tile 99 is not among the run's 72 tiles, .* between 0 and 71; nearest: 69, 70, 71"
    ):
        run.places([3, 99])


def test_places_are_those_of_the_ids(run: FinishedRun) -> None:
    assert run.places([5, 71, 0]).tolist() == [5, 71, 0]
    assert run.tiles.ids[run.places([5, 71, 0])].tolist() == [5, 71, 0]


def test_lost_artifact_is_named_with_the_command_that_makes_it_again(run: FinishedRun, tmp_path: Path) -> None:
    lost = FinishedRun.open(run.folder, tmp_path)
    key = run.artifact("tiles").name
    with pytest.raises(ArtifactError, match=f"{key} .*--cache.* python -m bench run .*small.toml --cache {tmp_path}$"):
        lost.tiles  # noqa: B018 - it is opened when it is asked for
    with pytest.raises(ArtifactError, match=r"\(checkpoint of micro\) is not in the cache"):
        lost.spec("micro")


def test_cache_that_was_moved_is_found_where_it_is_said_to_be(run: FinishedRun, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    shutil.copytree(run.artifact("tiles"), tmp_path / "elsewhere" / run.artifact("tiles").name)
    moved = FinishedRun.open(run.folder, tmp_path / "elsewhere")
    assert len(moved.tiles) == CORPUS


def test_run_without_indexed_features_says_how_to_go_on(own: Path) -> None:
    record = read_run(own)
    tiles = [stage for stage in record.stages if stage["stage"] == "tiles"]
    write_run(own, dataclasses.replace(record, stages=tiles))
    cut_off = FinishedRun.open(own)
    with pytest.raises(SuiteError, match=r"no backbone was indexed\. .* --resume one"):
        cut_off.setting()
    with pytest.raises(ArtifactError, match=r"made no features of micro\. Go on with it: .* --resume one"):
        cut_off.artifact("features", "micro")


def test_run_over_vectors_has_nothing_to_be_seen(own: Path) -> None:
    features = StageNote("features", "v", str(own), "k", False, 1.0).to_json()
    write_run(own, dataclasses.replace(read_run(own), stages=[features]))
    with pytest.raises(ArtifactError, match="searched vectors, not tiles"):
        FinishedRun.open(own).tiles  # noqa: B018 - it is opened when it is asked for


def test_folder_of_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="Name the folder of a run"):
        FinishedRun.open(tmp_path)
