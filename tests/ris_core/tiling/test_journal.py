from pathlib import Path

import pytest

from ris_core.tiling.journal import Journal

HEAD = {"work": "this"}
ENTRIES = [{"piece": "a", "n": 3}, {"piece": "b", "coverage": [0.1, float("inf")]}, {}, {"text": "line\nline \u00e4"}]


def entries(path: Path, head: dict[str, str] = HEAD) -> list[dict[str, object]]:
    journal = Journal(path, head)
    found = [dict(entry) for _, entry in journal.earlier()]
    journal.close()
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    journal = Journal(tmp_path / "journal", HEAD)
    assert journal.is_new
    journal.append(ENTRIES[0])
    journal.append(*ENTRIES[1:])
    journal.close()
    return tmp_path / "journal"


def test_entries_are_read_by_the_next_attempt(path: Path) -> None:
    assert entries(path) == ENTRIES
    assert entries(path) == ENTRIES


def test_whatever_byte_it_ends_at_a_beginning_of_whole_entries_is_left(path: Path) -> None:
    whole = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    assert len(ends) == 5
    for end in range(len(whole) + 1):
        path.write_bytes(whole[:end])
        assert entries(path) == ENTRIES[: max(0, sum(e <= end for e in ends) - 1)]


def test_a_damaged_entry_ends_it(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[whole.index(b'"b"') + 1] ^= 1
    path.write_bytes(whole)
    assert entries(path) == ENTRIES[:1]


def test_what_follows_a_torn_entry_is_written_in_its_place(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])
    journal = Journal(path, HEAD)
    journal.append({"piece": "c"})
    journal.close()
    assert entries(path) == [*ENTRIES[:3], {"piece": "c"}]


def test_entries_of_other_work_are_dropped(path: Path) -> None:
    assert entries(path, {"work": "other"}) == []
    assert entries(path) == []


def test_an_entry_and_those_behind_it_can_be_dropped(path: Path) -> None:
    journal = Journal(path, HEAD)
    place = [at for at, _ in journal.earlier()][2]
    journal.cut(place)
    journal.append({"piece": "c"})
    journal.close()
    assert entries(path) == [*ENTRIES[:2], {"piece": "c"}]
