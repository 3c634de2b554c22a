import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.results import BuildResult, QueryResult
from bench.tables.table import build_tables, markdown_of, page_of, read_table, readable, typed, write_table
from bench.tables.table_schemas import CAPTIONS, SCHEMAS
from ris_core.errors import ArtifactError

NASTY = r'50 % & #1_a {b} $c$ ~^ \d | <script> "e" [f]'


@pytest.fixture
def models() -> pd.DataFrame:
    rows = [
        {"backbone": "tiny", "model": NASTY, "parameters": 5_500_000, "d": 128, "final_loss": 2.6612345678912},
        {"backbone": "nan", "weights": "none", "d": 6, "norm_mean": 0.00012345},
    ]
    return pd.DataFrame(rows, columns=list(SCHEMAS["models"]))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (pd.NA, ""),
        (np.nan, ""),
        (400_000, "400,000"),
        (np.int64(7), "7"),
        (0.8236, "0.824"),
        (1.0, "1.00"),
        (0.0, "0"),
        (12.34, "12.3"),
        (123.4, "123"),
        (1234.5, "1,234"),
        (0.00012345, "0.000123"),
        (-2.5, "-2.50"),
        (float("inf"), "inf"),
        ("two\nlines ", "two lines"),
    ],
)
def test_readable_shows_three_digits(value, text):
    assert readable(value) == text


def test_table_comes_back_as_written(models, tmp_path):
    write_table(models, tmp_path / "tables", "models", "Caption.")
    back = read_table(tmp_path / "tables" / "models.csv")
    pd.testing.assert_frame_equal(back, typed(models, "models", ""), rtol=1e-9)
    assert back["backbone"].tolist() == ["tiny", "nan"]
    assert back["model"].tolist() == [NASTY, ""]
    assert back["parameters"].dtype == "Int64"
    assert pd.isna(back["parameters"][1])


def test_csv_is_plain_and_empty_where_missing(models, tmp_path):
    write_table(models, tmp_path, "models")
    lines = (tmp_path / "models.csv").read_bytes().decode().split("\n")
    assert lines[0] == ",".join(SCHEMAS["models"])
    assert lines[2].startswith("nan,,none,,6,,,,,,,,0.00012345,")
    assert set(lines[2].partition("0.00012345")[2]) == {","}
    assert lines[2].count(",") == len(SCHEMAS["models"]) - 1
    assert "2.661234568" in lines[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "lacks backbone, model.* and has a, b"),
        (",".join(reversed(list(SCHEMAS["models"]))) + "\n", "in another order"),
        (",".join(SCHEMAS["models"]) + "\nx,,,many" + "," * 11 + "\n", "column parameters must hold a whole number"),
        (",".join(SCHEMAS["models"]) + "\nx,,,1.5" + "," * 11 + "\n", "column parameters must hold a whole number"),
        ("", "no table to be read"),
    ],
)
def test_foreign_csv_is_refused(tmp_path, text, message):
    path = tmp_path / "models.csv"
    path.write_text(text)
    with pytest.raises(ArtifactError, match=message):
        read_table(path)


def test_missing_csv_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="no table to be read"):
        read_table(tmp_path / "models.csv")


def test_table_with_foreign_columns_is_not_written(tmp_path):
    with pytest.raises(ArtifactError, match="has surprise"):
        write_table(pd.DataFrame(columns=[*SCHEMAS["models"], "surprise"]), tmp_path, "models")
    assert not list(tmp_path.iterdir())


def test_disk_that_refuses_is_a_clear_error(models, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot be written"):
        write_table(models, tmp_path / "file", "models")


def test_markdown_is_a_table_that_nothing_breaks_out_of(models):
    lines = markdown_of(page_of(models, "models"), "Caption.").splitlines()
    assert lines[0] == "Caption."
    assert len({line.replace("\\|", "").count("|") for line in lines[2:]}) == 1
    assert "<script>" not in "".join(lines)
    assert "5,500,000" in lines[4]
    assert markdown_of(pd.DataFrame()) == "Nothing to show.\n"


def test_every_table_is_made_and_written_when_nothing_was_measured(tmp_path):
    tables = build_tables([], None, {}, {})
    of_the_record = {"provenance", "systems", "variants"}  # made of what the run's folder tells besides
    assert set(tables) | of_the_record == set(SCHEMAS) == set(CAPTIONS)
    for name, table in tables.items():
        write_table(table, tmp_path, name, CAPTIONS[name])
        assert read_table(tmp_path / f"{name}.csv").empty
        assert "Nothing to show." in (tmp_path / f"{name}.md").read_text()


def cells() -> list[BuildResult | QueryResult]:
    """Enough cells for tables that run over a page."""
    found: list[BuildResult | QueryResult] = []
    for probes in range(60):
        fields = {"backbone": "tiny", "engine": NASTY, "kind": "falconn", "params": {"tables": 10}, "threads": 1}
        cell = f"tiny/{NASTY}/probes_per_table{probes}/corrected/single-1t"
        found.append(
            QueryResult(
                cell, query_params={"probes_per_table": probes}, space="corrected", mode="single", k=10, n=99, q=3,
                times_s=[[0.1, 0.2, 0.3]], recall_at_k=[0.1, 0.2, 0.3], **fields,
            )
        )  # fmt: skip
    return found


def test_tables_of_a_run_agree_with_their_schemas():
    tables = build_tables(cells(), None, {"tiny": {"extract_s": 2.0}}, {})
    for name, table in tables.items():
        assert list(table.columns) == list(SCHEMAS[name])
    assert len(tables["lsh_parameters"]) == 60
    assert tables["lsh_parameters"]["probes_per_table"].tolist() == list(range(60))


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(models, tmp_path):
    tables = build_tables(cells(), None, {}, {}) | {"models": models}
    for name, table in tables.items():
        write_table(table, tmp_path, name, f"{CAPTIONS[name]} {NASTY}")
    inputs = "\n".join(rf"\input{{{name}.tex}}" for name in tables)
    (tmp_path / "all.tex").write_text(
        r"\documentclass{article}\usepackage{array,booktabs,longtable,pdflscape}\begin{document}"
        f"\n{inputs}\n\\end{{document}}\n"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-draftmode", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "longtable" in Path(tmp_path / "lsh_parameters.tex").read_text()


@pytest.mark.parametrize("text", ["=1+1", "<img src=x>", "[x](javascript:alert(1))", "`c`", "a|b", "a\\|b", "-2+3"])
def test_hostile_texts_stay_texts_in_every_form_of_a_table(tmp_path: Path, text: str) -> None:
    write_table(pd.DataFrame({"name": [text, "plain"]}), tmp_path, "any", "<b> [x](y)")
    markdown = (tmp_path / "any.md").read_text(encoding="utf-8")
    assert not any(part in markdown for part in ("<", "](", "`c`", " a|b"))
    assert not (tmp_path / "any.csv").read_text(encoding="utf-8").splitlines()[1].startswith(("=", "-2"))
    assert read_table(tmp_path / "any.csv")["name"].tolist() == [text, "plain"]
