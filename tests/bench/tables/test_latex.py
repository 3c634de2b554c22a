import pandas as pd

from bench.tables.latex import alignments, latex_of

NASTY = r'50 % & #1_a {b} $c$ ~^ \d | <script> "e" [f]'


def body_of(text: str) -> list[str]:
    return text[text.index(r"\midrule") : text.index(r"\bottomrule")].splitlines()[1:]


def test_everything_is_escaped() -> None:
    page = pd.DataFrame({"name": [NASTY, "b"], "n": ["1", "2"]})
    text = latex_of(page, "100 % of _it_", "models")
    assert r"\caption{100 \% of \_it\_}\label{tab:models}" in text
    assert r"50 \% \& \#1\_a \{b\} \$c\$ \textasciitilde{}\textasciicircum{} \textbackslash{}d" in text
    assert all(line.count("&") - line.count(r"\&") == 1 for line in body_of(text))
    assert r"\textquotedbl{}" not in text  # LaTeX's own font encoding has no such sign
    assert r"\textquotedblright{}e\textquotedblright{} {[}f]" in text


def test_narrow_table_stays_as_it_is() -> None:
    page = pd.DataFrame({"key": ["a", "b"], "n": ["1.5", "20"]})
    text = latex_of(page, "Few.", "few")
    assert r"\begin{tabular}{@{}lr@{}}" in text
    assert r"\small" in text
    assert "landscape" not in text.partition("\n")[2]


def test_long_texts_share_the_room_that_is_left() -> None:
    page = pd.DataFrame({"key": ["a", "b"], "value": ["short", "w " * 40], "n": ["1", "2"]})
    paragraph = r">{\raggedright\arraybackslash}p{%sem}"
    # 70 letters on a line, 6 between the columns, 3 and 1 in the others: 60 for the text, 30 em.
    assert rf"{{@{{}}l{paragraph % '30'}r@{{}}}}" in latex_of(page, "", "any")
    page["more"] = page["value"]  # 70 - 8 - 4 = 58 for two
    assert rf"{{@{{}}l{paragraph % '14.5'}r{paragraph % '14.5'}@{{}}}}" in latex_of(page, "", "any")


def test_wide_table_lies_across_the_paper_under_stacked_headings() -> None:
    page = pd.DataFrame({f"thesis number{i}": ["0.12", "1,234"] for i in range(12)})
    text = latex_of(page, "Wide.", "wide")
    assert r"\begin{landscape}" in text
    assert r"\shortstack[r]{thesis\\number0}" in text
    assert r"\scriptsize" in text
    assert r"\tiny" in latex_of(pd.concat([page, page.add_suffix("x")], axis=1).iloc[:, :15], "", "wider")


def test_table_of_many_rows_runs_over_pages() -> None:
    page = pd.DataFrame({"n": [str(number) for number in range(41)]})
    assert r"\begin{longtable}{@{}r@{}}" in latex_of(page, "", "long")
    assert "longtable}{" not in latex_of(page.iloc[:40], "", "short")


def test_nothing_is_a_comment() -> None:
    assert latex_of(pd.DataFrame(), "Caption.", "none") == "% none: nothing to show\n"


def test_numbers_stand_to_the_right() -> None:
    page = pd.DataFrame({"a": ["1,000", "-2.5e-05", ""], "b": ["1", "x", ""]})
    assert alignments(page) == ["right", "left"]


def test_line_ends_and_marks_that_cannot_be_seen_become_blanks() -> None:
    page = pd.DataFrame({"a\u202eb": ["x\x1by", "\u2066z"]})
    text = latex_of(page, "one\n\ntwo\0", "any")
    assert "one  two " in text
    assert all(letter.isprintable() or letter == "\n" for letter in text)
