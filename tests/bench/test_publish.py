import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.figures.losses import draw_losses
from bench.publish import publish_run
from bench.results import read_run, write_run
from ris_core.errors import ArtifactError


@pytest.fixture(autouse=True)
def one_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take seconds, and all are made from the tables alone."""
    monkeypatch.setattr("bench.figures.FIGURES", {"training_losses": draw_losses})


@pytest.fixture
def run(run_folder: Path) -> Path:
    record = read_run(run_folder)
    suite = json.loads(json.dumps(record.suite))
    suite.setdefault("corpus", {}).update(source="/home/secret/ortho.tif", labels="/home/secret/labels.csv")
    suite["corpus"]["queries"] = "/home/secret/queries.npy"
    suite["corpus"] |= {
        "ground_truth": "/home/secret/gnd.pkl",
        "distractors": ["/home/secret/more", "C:\\home\\secret"],
    }
    suite["regions"] = [{"name": "boxes", "params": {"boxes": "/home/secret/boxes.csv"}}]
    (run_folder / "regions").mkdir()
    (run_folder / "regions" / "objects.csv").write_text("/home/secret", encoding="utf-8")
    suite["judge"] = {"qrels": "/home/secret/mine.qrels", "queries": "/home/secret/queries.csv"}
    (run_folder / "failures").mkdir()
    (run_folder / "failures" / "cell.txt").write_text("in /home/secret", encoding="utf-8")
    (run_folder / "benchmark-2.json").write_text('"/home/secret"', encoding="utf-8")
    suite["backbones"][0]["spec"]["weights"] = "/home/secret/tiny.safetensors"
    changed = dataclasses.replace(
        record,
        suite=suite,
        suite_file="/home/secret/mine.toml",
        overrides=["corpus.source=/home/secret/ortho.tif", "queries.k=50"],
        corpus={**record.corpus, "source": "/home/secret/ortho.tif"},
    )
    write_run(run_folder, changed)
    return run_folder


def test_published_run_shows_no_path_no_picture_and_no_cell(run: Path, tmp_path: Path) -> None:
    target = tmp_path / "published" / "mine"
    page = publish_run(run, target)
    assert page == target / "index.html"
    assert not (target / "figures" / "pictures").exists() or not any((target / "figures" / "pictures").iterdir())
    assert not (target / "cells").exists()
    assert not (target / "regions").exists()
    suite = read_run(target).suite
    assert suite["corpus"]["distractors"] == ["more", "secret"]
    assert suite["regions"][0]["params"] == {"boxes": "boxes.csv"}
    assert not (target / "failures").exists()
    assert sorted(path.name for path in (target / "tables").glob("*.csv"))
    for path in target.rglob("*"):
        if path.suffix in (".html", ".json", ".csv", ".md", ".tex", ".svg"):
            assert "/home/secret" not in path.read_text(encoding="utf-8"), path
    record = read_run(target)
    assert record.overrides == ["corpus.source=ortho.tif", "queries.k=50"]
    assert record.suite["corpus"]["source"] == "ortho.tif"


def test_published_page_counts_the_cells_that_stayed_behind(run: Path, tmp_path: Path) -> None:
    page = publish_run(run, tmp_path / "mine").read_text(encoding="utf-8")
    assert "1 failed, 1 not measured" in page  # as in the run itself, though its cells are gone


def test_publishing_refuses_to_overwrite_and_what_was_not_measured(run: Path, tmp_path: Path) -> None:
    publish_run(run, tmp_path / "mine")
    with pytest.raises(ArtifactError, match="exists already"):
        publish_run(run, tmp_path / "mine")
    with pytest.raises(ArtifactError, match="no measured cells"):
        publish_run(tmp_path / "mine", tmp_path / "again")


def test_publishing_again_after_a_kill_finds_no_half_folder_in_the_way(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.publish.write_report", lambda folder, pictures: folder / "index.html")
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    left = tmp_path / f".{dead.pid}.mine"
    shutil.copytree(run, left)
    page = publish_run(run, tmp_path / "mine")
    assert page == tmp_path / "mine" / "index.html"
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []
