import pandas as pd
import pytest

from bench.tables.names import corpus_of, largest_sizes, setting_words, value_words, variant_of


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


def test_corpus_is_the_name_without_its_size() -> None:
    assert [corpus_of(name) for name in ("glove-n50000", "glove", "net-n", "a-n5-n7")] == [
        "glove",
        "glove",
        "net-n",
        "a-n5",
    ]


def test_largest_size_of_each_corpus_stays() -> None:
    cells = pd.DataFrame({"backbone": ["a-n5", "a-n7", "a-n7", "b", "c-n9"], "n": [5, 7, 7, 6, 9]})
    assert largest_sizes(cells)["backbone"].tolist() == ["a-n7", "a-n7", "b", "c-n9"]
