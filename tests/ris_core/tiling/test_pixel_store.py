from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ris_core.errors import ArtifactError
from ris_core.tiling import pixel_store
from ris_core.tiling.pixel_store import PixelStore, permute_in_place


def tiles(n: int, first: int = 0) -> np.ndarray:
    return np.repeat(np.arange(first, first + n, dtype=np.uint8), 4 * 4 * 3).reshape(n, 4, 4, 3)


@given(st.permutations(range(9)))
def test_permute_in_place_equals_indexing(order: list[int]) -> None:
    items = tiles(9)
    permute_in_place(items, np.array(order))
    assert (items == tiles(9)[order]).all()


def test_store_on_disk_and_in_memory_agree(tmp_path: Path) -> None:
    order = np.array([4, 0, 3, 1, 2, 5])
    results = []
    for folder in (None, tmp_path):
        store = PixelStore(4, folder, None)
        store.append(tiles(2))
        store.append(tiles(0))
        store.append(tiles(4, first=2))
        results.append(store.finish(order))
        store.discard()
    assert isinstance(results[1], np.memmap)
    assert (results[0] == tiles(6)[order]).all()
    assert (results[1] == results[0]).all()
    assert [p.name for p in tmp_path.iterdir()] == ["pixels.npy"]


def test_store_file_has_a_valid_header_for_any_number_of_tiles(tmp_path: Path) -> None:
    store = PixelStore(4, tmp_path, None)
    for _ in range(12):
        store.append(tiles(100))
    assert store.finish(np.arange(1200)).shape == (1200, 4, 4, 3)
    assert np.load(tmp_path / "pixels.npy")[1150, 0, 0, 0] == 50


def test_store_that_is_discarded_leaves_nothing(tmp_path: Path) -> None:
    store = PixelStore(4, tmp_path, None)
    store.append(tiles(2))
    assert list(tmp_path.iterdir())
    store.discard()
    assert not list(tmp_path.iterdir())


def test_store_refuses_a_disk_that_is_too_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(pixel_store.shutil, "disk_usage", lambda _: usage(10**9, 10**9, 1000))
    with pytest.raises(ArtifactError, match=r"100 tiles of 4 px need .* Free some space"):
        PixelStore(4, tmp_path, 100)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, the always full device of Linux")
def test_store_on_a_full_disk_says_what_to_do() -> None:
    store = PixelStore(4, None, None)
    store._file = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115
    with pytest.raises(ArtifactError, match="Free some space"):
        store.append(tiles(2))
    store._file.close()
