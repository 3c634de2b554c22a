from pathlib import Path

from bench.results import cell_slug
from bench.suites.cells import BuildCell, QueryCell, expand_cells
from bench.suites.suite import Suite
from bench.suites.suite_file import read_suite

TEXT = """
[corpus]
scene_px = 1024
tile_px = 128
[backbone.colour]
model = "colour"
[backbone.other]
model = "colour"
[engine.exact]
[engine.falconn]
family = ["cross_polytope", "hyperplane"]
hash_bits = 5
tables = [1, 2]
query.probes_per_table = [1, 5, 20]
[queries]
count = 20
k = 10
space = ["corrected", "as_published"]
[measure]
threads = [1, 2]
"""


def suite_of(tmp_path: Path, text: str = TEXT) -> Suite:
    path = tmp_path / "grid.toml"
    path.write_text(text, encoding="utf-8")
    return read_suite(path)


def test_cells_are_the_product_of_what_the_suite_says(tmp_path: Path) -> None:
    cells = expand_cells(suite_of(tmp_path))
    asked = 2 * 2 * 2  # spaces, modes, threads
    a_backbone = (2 + asked) + 4 * (2 + 3 * asked)  # exact; four FALCONN builds with three query settings each
    assert len(cells) == 2 * a_backbone
    assert len({cell.id for cell in cells}) == len(cells)


def test_build_comes_before_its_queries_and_one_build_serves_them_all(tmp_path: Path) -> None:
    cells = expand_cells(suite_of(tmp_path))
    seen = []
    for cell in cells:
        if isinstance(cell, BuildCell) and cell.index not in seen:
            seen.append(cell.index)
        elif isinstance(cell, QueryCell):
            assert cell.index is seen[-1]


def test_ids_say_what_the_suite_says(tmp_path: Path) -> None:
    ids = [cell.id for cell in expand_cells(suite_of(tmp_path))]
    assert ids[0] == "colour/exact/build-1t"
    assert "colour/exact/as_published/batch-2t" in ids
    assert "other/falconn/hyperplane-tables2-hash_bits5/probes_per_table20/corrected/single-1t" in ids


def test_ids_stay_when_the_grid_grows_and_keys_move(tmp_path: Path) -> None:
    before = {cell.id for cell in expand_cells(suite_of(tmp_path))}
    moved = TEXT.replace("hash_bits = 5\ntables = [1, 2]", "tables = [1, 2, 7]\nhash_bits = 5")
    after = [cell.id for cell in expand_cells(suite_of(tmp_path, moved))]
    assert before < set(after)


def test_words_are_for_people(tmp_path: Path) -> None:
    cells = expand_cells(suite_of(tmp_path))
    words = {cell.id: cell.words() for cell in cells}
    assert words["colour/exact/build-2t"] == "colour exact build 2 threads"
    cell = "colour/falconn/cross_polytope-tables1-hash_bits5/probes_per_table5/corrected/batch-1t"
    assert words[cell] == "colour falconn cross_polytope tables=1 hash_bits=5 probes_per_table=5 corrected batch"


def test_file_names_of_cells_are_unique_and_portable(tmp_path: Path) -> None:
    slugs = {cell_slug(cell.id) for cell in expand_cells(suite_of(tmp_path))}
    assert len(slugs) == len(expand_cells(suite_of(tmp_path)))
    assert not any("/" in slug for slug in slugs)
