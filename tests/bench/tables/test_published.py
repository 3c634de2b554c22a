import numpy as np
import pandas as pd

from bench.tables.published import MODELS, add_published, beside, published_precision, published_table


def test_published_averages_follow_from_the_counts():
    counts, averages = published_table("nn_precision_counts"), published_table("nn_precision_averages")
    for row in averages.itertuples():
        part = counts[counts["difficulty"] == row.difficulty]
        assert set(part["depth"]) == {row.depth}
        for model in MODELS:
            assert round(100 * part[model].sum() / part["depth"].sum(), 1) == getattr(row, model)


def test_averages_beside_ours_are_recomputed_from_the_counts():
    averages = published_table("nn_precision_averages").set_index(["difficulty", "depth"])
    counts = published_precision().groupby(["stratum", "depth"])[list(MODELS)].mean()
    assert set(counts.index) == set(averages.index)
    for key, row in counts.iterrows():
        assert (100 * row).round(1).to_dict() == averages.loc[key].to_dict()


def test_columns_of_a_page_pair_each_backbone_with_its_namesake():
    assert beside(["small", "colour", "tiny"]) == [
        "small", "thesis small", "colour", "tiny", "thesis tiny", "thesis tiny_longer", "thesis small_pretrained",
    ]  # fmt: skip


def test_published_queries_are_the_forty_of_the_thesis():
    precision = published_precision()
    assert precision.groupby("stratum").size().to_dict() == {"easy": 10, "hard": 10, "medium": 20}
    assert precision["query_id"].is_unique
    assert precision[list(MODELS)].to_numpy().min() >= 0
    assert precision[list(MODELS)].to_numpy().max() == 1


def test_published_columns_stand_beside_the_rows_that_they_belong_to():
    table = pd.DataFrame({"quantity": ["build_lsh_index", "build_exact_index"], "unit": "s"})
    found = add_published(table, published_table("runtimes"), ["quantity", "unit"])
    assert found["published_small"][0] == 2.184222183
    assert np.isnan(found["published_small"][1])
