import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ris_core.errors import ArtifactError
from ris_core.tiling import permutation
from ris_core.tiling.journal import Journal
from ris_core.tiling.permutation import Items, permute

BYTES = 5
ITEMS = [bytes([65 + number] * BYTES) for number in range(7)]


class Killed(Exception):  # noqa: N818 - it is no error
    pass


class DyingItems(Items):
    """Items of a process that is killed within its n-th write, of which some bytes are written."""

    writes_left = 0
    torn_bytes = 0

    def write(self, place: int, item: bytes) -> None:
        if DyingItems.writes_left == 0:
            super().write(place, item[: DyingItems.torn_bytes])
            raise Killed
        DyingItems.writes_left -= 1
        super().write(place, item)


def written(folder: Path) -> Path:
    for path in folder.iterdir():
        path.unlink()
    (folder / "items").write_bytes(b"head" + b"".join(ITEMS))
    return folder


def attempt(folder: Path, order: list[int], kind: type[Items] = Items) -> bytes:
    """The items after one attempt at the permutation, as the file has them."""
    journal = Journal(folder / "journal", {})
    try:
        with (folder / "items").open("r+b") as file:
            permute(kind(file, 4, BYTES, folder / "aside"), np.array(order), journal)
    finally:
        journal.close()
    return (folder / "items").read_bytes()


def expected(order: list[int]) -> bytes:
    return b"head" + b"".join(ITEMS[place] for place in order)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("items")


@given(order=st.permutations(range(7)))
def test_permutation_equals_indexing(folder: Path, order: list[int]) -> None:
    assert attempt(written(folder), order) == expected(order)
    assert attempt(folder, order) == expected(order)  # and once done stays done


@given(order=st.permutations(range(7)), kills=st.lists(st.tuples(st.integers(0, 9), st.integers(0, BYTES)), max_size=4))
def test_permutation_killed_in_whatever_step_ends_the_same(
    folder: Path, order: list[int], kills: list[tuple[int, int]]
) -> None:
    written(folder)
    for DyingItems.writes_left, DyingItems.torn_bytes in kills:
        with contextlib.suppress(Killed):
            attempt(folder, order, DyingItems)
    assert attempt(folder, order) == expected(order)


@given(order=st.permutations(range(7)), end=st.integers(0, 10**3), n=st.integers(0, 9))
def test_a_journal_that_lost_its_end_never_gives_a_mixture(folder: Path, order: list[int], end: int, n: int) -> None:
    written(folder)
    DyingItems.writes_left, DyingItems.torn_bytes = n, BYTES
    with contextlib.suppress(Killed):
        attempt(folder, order, DyingItems)
    whole = (folder / "journal").read_bytes()
    first_two = b"".join(whole.splitlines(keepends=True)[:2])  # head and first step, which the disk has taken
    (folder / "journal").write_bytes(whole[: max(len(first_two), min(end, len(whole)))])
    with contextlib.suppress(ArtifactError):
        assert attempt(folder, order) == expected(order)


def test_another_order_or_another_run_of_the_machine_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(folder)
    DyingItems.writes_left, DyingItems.torn_bytes = 2, 0
    with pytest.raises(Killed):
        attempt(folder, [1, 2, 0, 3, 4, 5, 6], DyingItems)
    with pytest.raises(ArtifactError, match="is not what it was"):
        attempt(folder, [2, 1, 0, 3, 4, 5, 6])
    (folder / "boot").write_text("another")
    monkeypatch.setattr(permutation, "_BOOT", folder / "boot")
    with pytest.raises(ArtifactError, match="or the machine, is not what it was"):
        attempt(folder, [1, 2, 0, 3, 4, 5, 6])
