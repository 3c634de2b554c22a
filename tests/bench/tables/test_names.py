import pandas as pd
import pytest

from bench.tables.names import corpora, largest_sizes, setting_words, value_words, variant_of


@pytest.mark.parametrize(
    ("names", "variant"),
    [
        (("flat", "exact", ""), "exact"),
        (("falconn", "falconn", "cross_polytope"), "falconn cross-polytope"),
        (("crosspolytope", "crosspolytope", "cross_polytope"), "crosspolytope"),
        (("crosspolytope", "crosspolytope", "hyperplane"), "crosspolytope hyperplane"),
        (("falconn_hyperplane", "falconn", "hyperplane"), "falconn_hyperplane"),
        (("hnswlib", "hnswlib", ""), "hnswlib"),
    ],
)
def test_variant_is_engine_and_family_and_exact_by_any_name(names: tuple[str, str, str], variant: str) -> None:
    assert variant_of(*names) == variant


def test_setting_is_what_the_suite_names() -> None:
    params = {"family": "hyperplane", "tables": 1, "hash_bits": 11, "rotations": 2, "storage": "flat", "exact": True}
    query = {"probes": 5, "max_candidates": -1, "slack": 1e-05, "tables1": 0}
    cell = "tiny/lsh/hyperplane-tables1-hash_bits11-flat-exact/probes5-max_candidates-1-slack1e-05/corrected/batch-2t"
    words = "tables=1 hash_bits=11 storage=flat exact=True probes=5 max_candidates=-1 slack=1e-05"
    assert setting_words(cell, params | query) == words
    assert setting_words(cell, dict(sorted((params | query).items()))) == words  # in the order of the id
    assert setting_words("tiny/lsh/corrected/single-1t", params | query) == ""
    assert setting_words("tables1/probes5/no_exact/corrected/single-1t", params | {"exact": False}) == "exact=False"


def test_values_in_words() -> None:
    assert value_words({"probes": 37, "budget": 1200, "share": 0.123456}) == "probes=37 budget=1200 share=0.1235"
    assert value_words({}) == ""


def sized(**sizes: list[int | None]) -> pd.DataFrame:
    """A row for each n of each backbone; None: the cell failed. ``_`` stands for ``-``."""
    rows = [(name.replace("_", "-"), n) for name, own in sizes.items() for n in own]
    return pd.DataFrame(rows, columns=["backbone", "n"]).astype({"n": "Int64"})


def test_corpus_is_the_name_without_its_size() -> None:
    cells = sized(glove_n50=[50, None], glove=[70], net_n=[5], a_n5_n7=[7])
    assert corpora(cells).tolist() == ["glove", "glove", "glove", "net-n", "a-n5"]


def test_name_that_merely_ends_as_sizes_do_is_kept() -> None:
    assert corpora(sized(vit_n7=[4000], vit_n8=[4000])).tolist() == ["vit-n7", "vit-n8"]
    assert corpora(sized(vit_n7=[None], vit_n8=[4000])).tolist() == ["vit-n7", "vit-n8"]


def test_size_that_was_never_measured_belongs_to_its_corpus() -> None:
    assert corpora(sized(glove_n5=[5], glove_n7=[None, None])).tolist() == ["glove"] * 3


def test_largest_size_of_each_corpus_stays() -> None:
    cells = pd.DataFrame({"backbone": ["a-n5", "a-n7", "a-n7", "b", "c-n9"], "n": [5, 7, 7, 6, 9]})
    assert largest_sizes(cells)["backbone"].tolist() == ["a-n7", "a-n7", "b", "c-n9"]


def test_failed_cells_stay_with_their_backbone() -> None:
    """The largest size that was measured counts, and of a corpus that never was, all that there is."""
    cells = sized(a_n5=[5, None], a_n7=[7, None], a_n9=[None], b=[None, 6], c=[None])
    assert largest_sizes(cells)["backbone"].tolist() == ["a-n7", "a-n7", "b", "b", "c"]
