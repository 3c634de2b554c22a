import base64
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.judging.contact_sheet import Sheet, write_contact_sheet
from ris_core.errors import ArtifactError
from ris_core.records import Tiles

NASTY = '</script><b onclick="x">&\u2028 "road"'


class Page(HTMLParser):
    """Tags with their attributes, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def tiles(size_px: int = 400) -> Tiles:
    pixels = np.zeros((3, size_px, size_px, 3), np.uint8)
    pixels[1] = (250, 10, 10)
    return Tiles(pixels, pd.DataFrame({"id": [10, 20, 30]}))


def sheet(rows: list[tuple], pooled: int, corpus: Tiles | None = None, tiles_key: str = "corpus-1") -> Sheet:
    frame = pd.DataFrame(rows, columns=["concept", "queries", "tile", "grade"])
    return Sheet("ann", frame, pooled, corpus or tiles(), tiles_key)


ROWS = [(NASTY, "10", 20, -1), (NASTY, "10", 30, 1), ("boat", "30 10", 20, -1), ("boat", "30 10", 99, -1),
        ("old", "", 10, 0), ("old", "", 20, -1)]  # fmt: skip


@pytest.fixture
def text(tmp_path: Path) -> str:
    write_contact_sheet(sheet(ROWS, 4), tmp_path / "ann.html")
    return (tmp_path / "ann.html").read_text(encoding="utf-8")


def test_sheet_shows_what_is_not_judged_under_its_concept_and_queries(text: str) -> None:
    page = Page(text)
    asked = [tag["data-line"] for tag in page.all("button") if tag.get("class") == "tile"]
    assert asked == ["0", "2", "3"]  # not what is judged, nor what belongs to no pool of today
    assert [tag["alt"] for tag in page.all("img") if tag["alt"]] == ["Query tile 10", "Query tile 30", "Query tile 10"]
    assert "3 tiles to judge" in page.words
    assert "no picture" in page.words  # of tile 99, which the corpus lacks


def test_sheet_escapes_everything_and_loads_nothing(text: str) -> None:
    page = Page(text)
    assert not page.all("b") or all("onclick" not in tag for tag in page.all("b"))
    assert len(page.all("script")) == 1
    assert " ".join(page.words.split()).count('</script><b onclick="x">& "road"') == 1
    assert not page.all("link")
    for _, attributes in page.tags:
        for name in ("src", "href"):
            assert str(attributes.get(name) or "data:image/jpeg;base64,").startswith("data:image/jpeg;base64,")
    assert "default-src 'none'" in text


def test_script_holds_every_line_of_the_judges_file(text: str) -> None:
    (rows,) = re.findall(r"^const ROWS = (.*);$", text, re.MULTILINE)
    wanted = [[*row[:3], None if row[3] < 0 else row[3]] for row in ROWS]
    assert json.loads(rows) == wanted


def test_pictures_are_the_tiles_made_smaller(text: str) -> None:
    picture = next(tag["src"] for tag in Page(text).all("img") if not tag["alt"])
    assert picture is not None
    image = Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2])))
    assert image.size == (192, 192)
    np.testing.assert_allclose(np.asarray(image).mean(axis=(0, 1)), (250, 10, 10), atol=4)


def test_small_tiles_stay_as_they_are(tmp_path: Path) -> None:
    write_contact_sheet(sheet(ROWS, 4, tiles(16)), tmp_path / "ann.html")
    picture = Page((tmp_path / "ann.html").read_text(encoding="utf-8")).all("img")[0]["src"]
    assert picture is not None
    assert Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2]))).size == (16, 16)


def test_sheet_of_a_judge_who_has_judged_all_says_so(tmp_path: Path) -> None:
    write_contact_sheet(sheet(ROWS[1:2], 1), tmp_path / "ann.html")
    page = Page((tmp_path / "ann.html").read_text(encoding="utf-8"))
    assert "ann has judged all 1 tiles" in " ".join(page.words.split())
    assert not page.all("script")


def test_full_disk_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ArtifactError, match="cannot be written"):
        write_contact_sheet(sheet(ROWS, 4), tmp_path / "file" / "ann.html")


# One browser that opens pages one after another; it prints the tiles marked on opening and whether any mark is kept.
BROWSER = """
const storage = {}, localStorage = {
  getItem: (key) => storage[key] ?? null,
  setItem: (key, text) => { storage[key] = text; },
  removeItem: (key) => { delete storage[key]; },
};
const nothing = () => ({}), URL = { createObjectURL: nothing, revokeObjectURL: nothing };
const element = (line) => ({
  dataset: { line }, querySelector: nothing, setAttribute: nothing, addEventListener: nothing, click: nothing,
});
const end = "; report(marked, localStorage.getItem(key) !== null);";
const seen = JSON.parse(process.argv[1]).map(([script, lines, act]) => {
  const tiles = lines.map(element), answer = [];
  const document = { querySelectorAll: () => tiles, getElementById: element, createElement: element };
  document.addEventListener = nothing;
  const given = {
    document, localStorage, URL, location: { pathname: "/ann.html" }, addEventListener: nothing,
    report: (...words) => answer.push(...words),
  };
  const start = "; const marked = tiles.filter((tile) => 'mark' in tile.dataset).length; ";
  new Function(...Object.keys(given), script + start + act + end)(...Object.values(given));
  return answer;
});
console.log(JSON.stringify(seen));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node, which runs the page's script")
def test_browser_keeps_unsaved_marks_of_one_corpus_until_they_are_saved(tmp_path: Path) -> None:
    visits = []
    for tiles_key, act in (("one", "judge(tiles[0], 1)"), ("other", ""), ("one", "save()"), ("one", "")):
        write_contact_sheet(sheet(ROWS, 4, tiles(16), tiles_key), tmp_path / "ann.html")
        text = (tmp_path / "ann.html").read_text(encoding="utf-8")
        visits.append((*re.findall(r"<script>(.*)</script>", text, re.DOTALL), [0, 2, 3], act))
    done = subprocess.run(["node", "-e", BROWSER, json.dumps(visits)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[0, True], [0, False], [1, False], [0, False]]
