import pandas as pd

from bench.tables.cheapest_table import RECALL_TARGETS, cheapest_page, cheapest_table
from bench.tables.table import typed
from bench.tables.table_schemas import SCHEMAS


def settings(*rows: tuple[str, float, float, str, str]) -> pd.DataFrame:
    records = [
        {"cell": f"tiny/lsh/{name}/corrected/single-1t", "backbone": "tiny", "engine": "lsh", "mode": "single", "n": 99,
         "threads": 1, "k": 10, "recall": recall, "query_ms_median": ms, "space": space, "status": status}
        for name, recall, ms, space, status in rows
    ]  # fmt: skip
    return pd.DataFrame(records, columns=list(SCHEMAS["lsh_parameters"]))


TABLE = cheapest_table(
    settings(
        ("slow", 0.99, 3.0, "corrected", "ok"),
        ("fast", 0.92, 1.0, "corrected", "ok"),
        ("poor", 0.6, 2.0, "corrected", "ok"),  # slower and worse than another: never chosen
        ("raw", 1.0, 0.1, "as_published", "ok"),
        ("dead", 1.0, 0.1, "corrected", "failed"),
    )
)


def test_fastest_setting_that_reaches_each_recall_is_found_by_hand() -> None:
    chosen = dict(zip(TABLE["recall_target"], TABLE["cell"].fillna(""), strict=True))
    names = {target: cell.split("/")[2] if cell else "" for target, cell in chosen.items()}
    assert names == {0.5: "fast", 0.8: "fast", 0.9: "fast", 0.95: "slow", 0.99: "slow"}
    assert set(TABLE["settings"]) == {3}


def test_target_that_no_setting_reaches_has_no_cell() -> None:
    table = typed(cheapest_table(settings(("a", 0.85, 1.0, "corrected", "ok"))), "cheapest_settings", "here")
    assert table["cell"].tolist()[-3:] == ["", "", ""]
    page = cheapest_page(table)
    assert page.columns.tolist() == ["backbone", "mode", "engine", *(f"recall {t:g}" for t in RECALL_TARGETS)]
    assert page.iloc[0].tolist() == ["tiny", "single", "lsh", "1.00 ms", "1.00 ms", *["not reached"] * 3]


def test_page_names_what_tells_a_setting_from_the_others() -> None:
    rows = settings(("a-bits8", 0.8, 1.0, "corrected", "ok"), ("b-bits8", 1.0, 2.0, "corrected", "ok"))
    page = cheapest_page(typed(cheapest_table(rows), "cheapest_settings", "here"))
    assert page.iloc[0].tolist()[3:] == ["a: 1.00 ms", "a: 1.00 ms", *["b: 2.00 ms"] * 3]
