"""docs/trust.md keeps its word: what it cites exists, and no need or pitfall is passed over."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "trust.md"
NEEDS, PITFALLS = 25, 21
NOT_YET = "not yet"

_CITED = re.compile(r"\*(\w+):\* ([a-z0-9 ]+?)(?= · |$)")  # *file:* name of the test in words
_LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)")


def text() -> str:
    return PAGE.read_text(encoding="utf-8")


def rows() -> dict[str, list[str]]:
    """The lines of all tables by their number: subject, what we do, proof, otherwise."""
    found: dict[str, list[str]] = {}
    for line in text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and re.fullmatch(r"[A-Z]\d+", cells[0]):
            assert cells[0] not in found, f"{cells[0]} stands twice"
            found[cells[0]] = cells[1:]
    return found


def every_test() -> set[tuple[str, str]]:
    """File and function of every test, wherever under ``tests`` the file lies."""
    return {
        (path.stem, node.name)
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def anchors(page: Path) -> set[str]:
    """Names that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_need_and_pitfall_has_a_row() -> None:
    wanted = {f"N{i}" for i in range(1, NEEDS + 1)} | {f"P{i}" for i in range(1, PITFALLS + 1)}
    assert wanted <= rows().keys()


def test_every_row_says_what_is_done_and_by_which_test_or_that_it_is_not_yet() -> None:
    for number, cells in rows().items():
        assert len(cells) == 4, f"{number} has {len(cells)} cells"
        assert all(cells), f"{number} has an empty cell"
        assert _CITED.search(cells[2]) or NOT_YET in cells[2] + cells[3], f"{number} has no proof"


def test_every_cited_test_exists() -> None:
    proofs = [proof for cells in rows().values() for proof in _CITED.findall(cells[2])]
    cited = {(f"test_{file}", f"test_{words.replace(' ', '_')}") for file, words in proofs}
    assert len(cited) > NEEDS + PITFALLS
    missing = cited - every_test()
    assert not missing, sorted(missing)


def test_proofs_are_nothing_but_citations() -> None:
    for number, cells in rows().items():
        left = _CITED.sub("", cells[2]).replace(NOT_YET, "").strip(" ·")
        assert not left, f"{number} has a proof that is none: {left}"


def test_every_link_leads_somewhere() -> None:
    links = [(path, anchor) for path, anchor in _LINK.findall(text()) if not path.startswith("https://")]
    assert len(links) > 20
    for path, anchor in links:
        target = (PAGE.parent / path).resolve() if path else PAGE
        assert target.is_file(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


@pytest.mark.parametrize("name", ["measures.md", "architecture.md", "own_data.md"])
def test_page_leads_on_to_the_others(name: str) -> None:
    assert f"]({name}" in text()
