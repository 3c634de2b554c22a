import itertools

import numpy as np
import pytest
import torch

from ris_core.tile_batches import TileBatches

CPU = torch.device("cpu")


def some_batches(n: int = 23, batch: int = 4, **changes) -> TileBatches:
    """Tiles whose every pixel is their row."""
    pixels = np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None], (n, 2, 2, 3))
    return TileBatches(pixels, changes.pop("rows", np.arange(n)), batch, changes.pop("seed", 0), **changes)


def rows_of(batches: TileBatches, epoch: int = 0, first_step: int = 0) -> list[list[int]]:
    return [batch[:, 0, 0, 0].tolist() for batch in batches.read(epoch, first_step, CPU)]


def test_epoch_visits_every_tile_of_full_batches_once():
    batches = some_batches()
    assert batches.steps == 5
    read = rows_of(batches)
    assert [len(rows) for rows in read] == [4] * 5
    assert len({row for rows in read for row in rows}) == 20
    assert all(rows == sorted(rows) for rows in read)


def test_order_changes_with_epoch_and_seed_alone():
    assert rows_of(some_batches()) == rows_of(some_batches())
    assert rows_of(some_batches()) != rows_of(some_batches(), epoch=1)
    assert rows_of(some_batches()) != rows_of(some_batches(seed=1))


def test_reading_goes_on_at_a_step():
    assert rows_of(some_batches(), 3, first_step=2) == rows_of(some_batches(), 3)[2:]
    assert rows_of(some_batches(), 3, first_step=5) == []


def test_only_chosen_rows_are_read():
    chosen = np.array([2, 3, 5, 7, 11, 13, 17, 19, 22])
    read = rows_of(some_batches(rows=chosen))
    assert len(read) == 2
    assert {row for rows in read for row in rows} <= set(chosen.tolist())


@pytest.mark.parametrize("size", [2, 4])
def test_parts_make_up_the_batch(size):
    share = 4 // size
    parts = [rows_of(some_batches(part=slice(rank * share, (rank + 1) * share))) for rank in range(size)]
    together = [list(itertools.chain.from_iterable(lines)) for lines in zip(*parts, strict=True)]
    assert together == rows_of(some_batches())


def test_mapped_pixels_are_read(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 3, 3, 3), dtype=np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    read, expected = (
        [batch.numpy() for batch in TileBatches(values, np.arange(9), 2, 0).read(0, 0, CPU)]
        for values in (mapped, pixels)
    )
    np.testing.assert_array_equal(read, expected)
    assert read[0].dtype == np.uint8


def test_a_batch_is_its_taker_s_own():
    """A batch that was given out stays as it is while later ones are read."""
    batches = list(some_batches().read(0, 0, CPU))
    batches[0].zero_()
    assert rows_of(some_batches())[1:] == [batch[:, 0, 0, 0].tolist() for batch in batches[1:]]


def test_a_reader_s_error_reaches_the_training():
    batches = some_batches()
    object.__setattr__(batches, "pixels", None)
    with pytest.raises(AttributeError):
        next(batches.read(0, 0, CPU))
