from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ris_core.errors import ArtifactError
from ris_core.tiling import pixel_store
from ris_core.tiling.pixel_store import JOURNAL, PARTIAL, PixelStore

PIECES = [("a", 2), ("b", 0), ("c", 3), ("d", 1)]  # of 6 tiles
ORDER = np.array([4, 0, 3, 1, 2, 5])


def tiles(n: int, first: int = 0) -> np.ndarray:
    return np.repeat(np.arange(first, first + n, dtype=np.uint8), 4 * 4 * 3).reshape(n, 4, 4, 3)


def fill(store: PixelStore, pieces: list[tuple[str, int]] = PIECES) -> int:
    """Append what is missing; how many pieces were."""
    first = n_appended = 0
    for name, n in pieces:
        if store.recorded(name) is None:
            store.append(tiles(n, first), [{"piece": name, "n": n}])
            n_appended += 1
        first += n
    return n_appended


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PixelStore]:
    made = PixelStore(4, tmp_path, None)
    yield made
    made.close()


def test_store_on_disk_and_in_memory_agree(tmp_path: Path) -> None:
    results = []
    for folder in (None, tmp_path):
        store = PixelStore(4, folder, None)
        assert fill(store) == 4
        results.append(store.finish(ORDER))
        store.discard()
    assert isinstance(results[1], np.memmap)
    assert (results[0] == tiles(6)[ORDER]).all()
    assert (results[1] == results[0]).all()
    assert [p.name for p in tmp_path.iterdir()] == ["pixels.npy"]


def test_store_file_has_a_valid_header_for_any_number_of_tiles(tmp_path: Path, store: PixelStore) -> None:
    for number in range(12):
        store.append(tiles(100), [{"piece": str(number), "n": 100}])
    assert store.finish(np.arange(1200)).shape == (1200, 4, 4, 3)
    assert np.load(tmp_path / "pixels.npy")[1150, 0, 0, 0] == 50


def test_store_without_a_tile_is_an_empty_file(store: PixelStore) -> None:
    assert fill(store, [("a", 0)]) == 1
    assert store.finish(np.arange(0)).shape == (0, 4, 4, 3)


def test_store_that_is_discarded_leaves_nothing(tmp_path: Path, store: PixelStore) -> None:
    fill(store)
    assert list(tmp_path.iterdir())
    store.discard()
    assert not list(tmp_path.iterdir())


def test_store_that_is_closed_before_it_has_anything_leaves_nothing(tmp_path: Path, store: PixelStore) -> None:
    store.close()
    store.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("n", range(5))
def test_a_closed_store_goes_on_where_it_was(tmp_path: Path, n: int) -> None:
    first = PixelStore(4, tmp_path, None, "work")
    fill(first, PIECES[:n])
    first.close()
    second = PixelStore(4, tmp_path, None, "work")
    assert fill(second) == 4 - n
    assert (second.finish(ORDER) == tiles(6)[ORDER]).all()
    second.discard()


def test_other_work_and_other_sizes_begin_anew(tmp_path: Path) -> None:
    for size, work in ((4, "work"), (4, "other"), (2, "other")):
        store = PixelStore(size, tmp_path, None, work)
        assert store.recorded("a") is None
        store.append(np.zeros((1, size, size, 3), np.uint8), [{"piece": "a", "n": 1}])
        store.close()
    assert (tmp_path / PARTIAL).stat().st_size == 128 + 2 * 2 * 3


def test_another_piece_than_recorded_drops_it_and_the_rest(tmp_path: Path) -> None:
    first = PixelStore(4, tmp_path, None)
    fill(first)
    first.close()
    second = PixelStore(4, tmp_path, None)
    changed = [("a", 2), ("x", 1), ("c", 3)]
    assert fill(second, changed) == 2
    assert (second.finish(np.arange(6)) == tiles(6)).all()
    second.discard()


def test_a_walk_that_ends_early_leaves_the_rest_out(tmp_path: Path) -> None:
    first = PixelStore(4, tmp_path, None)
    fill(first)
    first.close()
    second = PixelStore(4, tmp_path, None)
    assert fill(second, PIECES[:3]) == 0
    assert (second.finish(np.array([1, 0, 2, 3, 4])) == tiles(5)[[1, 0, 2, 3, 4]]).all()
    second.discard()


@pytest.mark.parametrize("order", [ORDER, np.arange(6)])
def test_finished_pixels_are_not_made_again(tmp_path: Path, order: np.ndarray) -> None:
    for _ in range(3):  # killed before the folder was whole
        store = PixelStore(4, tmp_path, None)
        n_appended = fill(store)
        assert (store.finish(order) == tiles(6)[order]).all()
        store.close()
    assert n_appended == 0


def test_pixels_of_an_earlier_tiling_are_not_taken_for_this_one(tmp_path: Path) -> None:
    np.save(tmp_path / "pixels.npy", tiles(6, 100))
    store = PixelStore(4, tmp_path, None)
    assert fill(store) == 4
    store.close()
    (tmp_path / PARTIAL).unlink()
    store = PixelStore(4, tmp_path, None)
    assert fill(store) == 4
    assert (store.finish(ORDER) == tiles(6)[ORDER]).all()
    store.discard()


def torn(tmp_path: Path, pixels_end: int, journal_end: int) -> PixelStore:
    """A store whose earlier attempt left so much of its files."""
    first = PixelStore(4, tmp_path, None)
    fill(first)
    first.close()
    for name, end in ((PARTIAL, pixels_end), (JOURNAL, journal_end)):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[:end])
    return PixelStore(4, tmp_path, None)


def test_whatever_is_torn_off_is_made_again(tmp_path: Path) -> None:
    size = 128 + 6 * 48
    sizes = [(end, 10**6) for end in range(0, size + 1, 23)] + [(size, end) for end in range(0, 260, 13)]
    sizes += [(size - 50, end) for end in (0, 60, 120, 180)]
    for pixels_end, journal_end in sizes:
        store = torn(tmp_path, pixels_end, journal_end)
        fill(store)
        assert (store.finish(ORDER) == tiles(6)[ORDER]).all(), (pixels_end, journal_end)
        store.discard()


def test_a_store_killed_while_it_orders_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, steps = pixel_store.Items.write, iter(range(0))

    def killed(items: pixel_store.Items, place: int, item: bytes) -> None:
        is_last = next(steps, None) is None
        write(items, place, item[:20] if is_last else item)
        if is_last:
            raise KeyboardInterrupt

    for n_steps in range(6):  # one cycle of five tiles: the first is put aside, then each gets its place
        store = PixelStore(4, tmp_path, None)
        fill(store)
        steps = iter(range(n_steps))
        with monkeypatch.context() as patch:
            patch.setattr(pixel_store.Items, "write", killed)
            with pytest.raises(KeyboardInterrupt):
                store.finish(ORDER)
        store.close()
        store = PixelStore(4, tmp_path, None)
        assert fill(store) == 0
        assert (store.finish(ORDER) == tiles(6)[ORDER]).all()
        store.discard()
        assert [path.name for path in tmp_path.iterdir()] == ["pixels.npy"]


def test_a_store_killed_before_it_notes_that_it_is_ordered_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = pixel_store.Journal.append

    def killed(journal: pixel_store.Journal, *records: dict[str, object]) -> None:
        if any("finished" in record for record in records):
            raise KeyboardInterrupt
        append(journal, *records)

    store = PixelStore(4, tmp_path, None)
    fill(store)
    with monkeypatch.context() as patch:
        patch.setattr(pixel_store.Journal, "append", killed)
        with pytest.raises(KeyboardInterrupt):
            store.finish(ORDER)
    store.close()
    store = PixelStore(4, tmp_path, None)
    assert fill(store) == 0
    assert (store.finish(ORDER) == tiles(6)[ORDER]).all()
    store.discard()


def test_a_mixture_that_cannot_be_sorted_out_is_refused_and_removed(tmp_path: Path) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    for change in ("order", "pieces"):
        store = PixelStore(4, tmp_path, None)
        fill(store)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pixel_store.Items, "write", killed)
            with pytest.raises(KeyboardInterrupt):
                store.finish(ORDER)
        store.close()
        store = PixelStore(4, tmp_path, None)
        with pytest.raises(ArtifactError, match=r"put tiles in order, and cannot be taken up: .* Run again"):
            store.finish(np.arange(6 + fill(store, PIECES if change == "order" else [("x", 6)])))
        assert not list(tmp_path.iterdir())


def test_store_refuses_a_disk_that_is_too_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(pixel_store.shutil, "disk_usage", lambda _: usage(10**9, 10**9, 1000))
    with pytest.raises(ArtifactError, match=r"100 tiles of 4 px need .* Free some space"):
        PixelStore(4, tmp_path, 100)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, the always full device of Linux")
def test_store_on_a_full_disk_says_what_to_do(tmp_path: Path, store: PixelStore) -> None:
    assert store.recorded("a") is None
    assert store._file is not None
    with (
        store._file,
        Path("/dev/full").open("wb", buffering=0) as store._file,
        pytest.raises(ArtifactError, match="Free some space"),
    ):
        fill(store)
