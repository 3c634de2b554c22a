from pathlib import Path

from bench.report.hygiene_sentences import hygiene_results
from bench.tables.table import read_table, write_table


def test_what_counts_something_is_told_and_the_worst_backbone_speaks(whole_tables: Path) -> None:
    found = {finding.about: finding.text for finding in hygiene_results(whole_tables)}
    assert found == {
        "Data: overlapping tiles": "3,900 of 4,000 tiles <share> ground.",
        "Data: tied queries": "On colour features, the worst of 3 backbones: 2 are tied.",
    }


def test_clean_data_is_one_sentence(tables: Path) -> None:
    table = read_table(tables / "data_hygiene.csv")
    write_table(table.assign(count=0, frac=0), tables, "data_hygiene")
    (finding,) = hygiene_results(tables)
    assert finding.text == "Looked for and not found: identical tiles, overlapping tiles, tied queries."


def test_run_that_was_not_examined_says_nothing(tmp_path: Path) -> None:
    assert hygiene_results(tmp_path) == []
