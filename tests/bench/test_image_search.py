from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench import image_search
from bench.image_search import ImageSearch
from ris_core.errors import ArtifactError, SearchError, SuiteError


@pytest.fixture(scope="module")
def search(finished_run: Path) -> ImageSearch:
    return ImageSearch(finished_run, backbone="colour")


def test_query_gives_the_nearest_images_of_any_image(search: ImageSearch, finished_run: Path) -> None:
    raw = np.load(search.run.artifact("features", "colour") / "features.npy").astype(np.float64)
    searched = np.load(finished_run / "indexed_ids.npy")
    centred = raw - raw[searched].mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    distances = ((unit[searched] - unit[5]) ** 2).sum(axis=1)
    order = [place for place in np.argsort(distances, kind="stable") if searched[place] != 5][:10]
    matches = search.query(image_idx=5, k=10)
    assert matches.images.tolist() == searched[order].tolist()
    np.testing.assert_allclose(matches.distances, distances[order], rtol=1e-4)
    assert matches.names == tuple(search.run.tiles.table["raster"].iloc[matches.images])
    assert matches.labels == tuple(name.split("/")[0] for name in matches.names)


def test_query_is_drawn_with_its_matches(search: ImageSearch, tmp_path: Path) -> None:
    search.query(image_idx=5, k=10, plot=tmp_path / "matches.png")
    with Image.open(tmp_path / "matches.png") as drawn:
        pixels = np.asarray(drawn.convert("RGB"))
    assert min(pixels.shape[:2]) > 200
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100
    search.query(image_idx=5, k=10, plot=str(tmp_path / "matches.svg"))
    assert (tmp_path / "matches.svg").read_text(encoding="utf-8").startswith("<?xml")


@pytest.mark.parametrize("k", [5, 30])  # kept by the run, and asked anew
@pytest.mark.parametrize("engine", ["exact", "falconn"])
def test_performance_is_the_share_of_neighbours_of_the_query_s_class(finished_run: Path, engine: str, k: int) -> None:
    search = ImageSearch(finished_run, engine=engine, backbone="micro")
    shares: dict[str, list[float]] = {}
    for tile in search.run.judgments.queries["query_id"]:
        matches = search.query(int(tile), k)  # of all images: numbers are ids here
        label = search.run.tiles.labels[tile]
        shares.setdefault(label, []).append(sum(other == label for other in matches.labels) / k)
    class_accuracy, accuracy, query_ms = search.performance(k)
    assert class_accuracy == pytest.approx({label: np.mean(values) for label, values in shares.items()})
    assert accuracy == pytest.approx(np.mean([value for values in shares.values() for value in values]))
    assert query_ms > 0


def test_engine_without_a_backbone_takes_its_most_precise_setting(finished_run: Path) -> None:
    search = ImageSearch(finished_run, engine="falconn")
    settings = [setting for setting in search.run.settings if setting.engine == "falconn"]
    assert search.setting.precision == max(setting.precision for setting in settings)


def test_what_a_run_lacks_is_refused(search: ImageSearch, finished_run: Path, tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"was not searched by 'kdtree'; known: exact"):
        ImageSearch(finished_run, engine="kdtree")
    with pytest.raises(SuiteError, match=r"image 72 is none of the run's; its 72 are 0 to 71"):
        search.query(image_idx=72)
    with pytest.raises(SearchError, match="k = 72"):
        search.query(image_idx=5, k=72)
    with pytest.raises(SearchError, match="k = 0; of"):
        search.performance(k=0)
    with pytest.raises(SuiteError, match=r"matches\.bmp: its ending names the format; allowed: \.png"):
        search.query(image_idx=5, plot=tmp_path / "matches.bmp")
    with pytest.raises(ArtifactError, match=r"run\.json: not found"):
        ImageSearch(tmp_path)


def test_suite_is_measured_and_opened(finished_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(image_search, "run_suite", asked.append)
    monkeypatch.setattr(image_search, "find_suite", Path)
    monkeypatch.setattr(image_search, "read_suite", lambda path, overrides: (path, overrides))
    monkeypatch.setattr(image_search, "fingerprint", dict)
    monkeypatch.setattr(image_search, "find_run", lambda suite, reports, run_id, machine: finished_run)
    search = ImageSearch.of_suite("small", "falconn", ["corpus.seed=3"], cache=finished_run.parents[2] / ".ris_cache")
    assert (asked[0].suite, asked[0].overrides) == ("small", ("corpus.seed=3",))
    assert search.setting.engine == "falconn"
    monkeypatch.setattr(image_search, "find_run", lambda *given: None)
    with pytest.raises(ArtifactError, match="left no folder"):
        ImageSearch.of_suite("small")
