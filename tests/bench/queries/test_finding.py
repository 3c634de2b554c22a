import numpy as np
import pandas as pd
import pytest

from bench.report.finding import build_time, large_number, percent, query_time, score_words


@pytest.mark.parametrize(("frac", "words"), [(1.0, "100 %"), (0.123, "12 %"), (0.0123, "1 %"), (0.0033, "0.3 %")])
def test_percents_are_read_without_exponents(frac: float, words: str) -> None:
    assert percent(frac) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.2, "0"), (12.4, "12"), (950.4, "950"), (12_345, "12,300"), (999_999, "1,000,000"), (12_345_678, "12.3 million"),
     (np.inf, "inf million")],
)  # fmt: skip
def test_large_numbers_have_three_digits(value: float, words: str) -> None:
    assert large_number(value) == words


def test_values_stand_with_their_intervals_where_they_have_them() -> None:
    row = pd.Series({
        "query_ms_median": 1.5, "query_ms_ci_low": 1.0, "query_ms_ci_high": 2.0, "recall": 0.912, "recall_ci_low": 0.9,
        "recall_ci_high": 0.92, "build_s": 3.0, "build_s_ci_low": 0.9, "build_s_ci_high": 265.0,
    })  # fmt: skip
    assert query_time(row) == "1.5 ms [1 ms, 2 ms]"
    assert build_time(row) == "3 s [900 ms, 265 s]"
    assert score_words(row, "recall") == "0.91 [0.90, 0.92]"
    alone = row.where(~row.index.str.contains("ci_"))
    assert (query_time(alone), build_time(alone), score_words(alone, "recall")) == ("1.5 ms", "3 s", "0.91")
