from pathlib import Path

import pytest

from ris_core.errors import CorpusError
from ris_core.tiling.grid import lay_grids
from ris_core.tiling.labels import read_labels, read_vector_labels

ONE = lay_grids([(40, 60)], 20, 20, half_offset=False)  # 2 rows x 3 columns
TWO = lay_grids([(40, 60), (20, 20)], 20, 20, half_offset=False)


def write(tmp_path: Path, text: str) -> Path:
    (tmp_path / "labels.csv").write_text(text, encoding="utf-8")
    return tmp_path / "labels.csv"


def test_labels_by_hand(tmp_path: Path) -> None:
    path = write(tmp_path, "\ufeffrow,col,label,source\n1,2,water, a\n0,1, wood ,b\n0,0,,c\n")
    labels = read_labels(path, ["a.tif"], ONE)
    assert labels.index.tolist() == [1, 5]
    assert labels.tolist() == ["wood", "water"]


def test_labels_of_a_folder_name_their_raster(tmp_path: Path) -> None:
    path = write(tmp_path, "raster,row,col,label\nb.tif,0,0,x\na.tif,0,0,y\n")
    assert read_labels(path, ["a.tif", "b.tif"], TWO).to_dict() == {0: "y", 6: "x"}
    with pytest.raises(CorpusError, match="no column raster"):
        read_labels(write(tmp_path, "row,col,label\n0,0,x\n"), ["a.tif", "b.tif"], TWO)


def test_label_that_reads_like_a_missing_value_stays_a_label(tmp_path: Path) -> None:
    assert read_labels(write(tmp_path, "row,col,label\n0,0,NA\n"), ["a.tif"], ONE).tolist() == ["NA"]


def test_all_faults_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    text = "row,col,label\n0,0,x\n0,0,y\n2,0,x\nfoo,1,x\n0.5,1,x\n-1,0,x\n0,3,x\n"
    with pytest.raises(CorpusError) as caught:
        read_labels(write(tmp_path, text), ["a.tif"], ONE)
    message = str(caught.value)
    assert "line 5, 6: rows and columns must be whole numbers" in message
    assert "line 4, 7, 8: outside the grid (2 rows x 3 columns)" in message
    assert "line 2, 3: a cell may have one row only" in message


@pytest.mark.parametrize(
    ("text", "word"),
    [("", "no readable CSV"), ("a,b\n1,2\n", "no column row, col, label"), ("row,col,label\n0,0,\n", "labels no cell")],
)
def test_file_that_holds_no_labels_is_refused(tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises(CorpusError, match=word):
        read_labels(write(tmp_path, text), ["a.tif"], ONE)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"none\.csv: does not exist"):
        read_labels(tmp_path / "none.csv", ["a.tif"], ONE)


@pytest.mark.parametrize("text", ["label\na\n\n b \n", "n,label\n1,a\n2,\n3,b"])
def test_vectors_have_a_label_a_line_and_may_have_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "labels.csv").write_text(text, encoding="utf-8")
    assert read_vector_labels(tmp_path / "labels.csv", 3).tolist() == ["a", "", "b"]
    for n in (2, 4):
        with pytest.raises(CorpusError, match=f"labels 3 vectors, but there are {n}"):
            read_vector_labels(tmp_path / "labels.csv", n)


def test_lines_with_more_fields_than_the_heading_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("row,col,label\n0,0,wood,more\n9,9,wood,more\n", encoding="utf-8")
    with pytest.raises(CorpusError, match="more fields"):
        read_labels(path, ["a.tif"], lay_grids([(32, 32)], 16, 16, half_offset=False))
