"""What the state of the data does to the scores, in sentences: findings of ``data_hygiene`` that count something."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from bench.figures.style import read_rows
from bench.report.finding import Finding


def hygiene_results(tables: Path) -> list[Finding]:
    """One finding a kind, with its consequence; of several backbones the one with the largest share speaks.

    What was looked for and not found stands in the table alone; where nothing was found, one sentence says so.
    """
    found = read_rows(tables, "data_hygiene")
    return list(_findings(found)) if len(found) else []


def _findings(found: pd.DataFrame) -> Iterator[Finding]:
    counted = found[found["count"] > 0]
    if counted.empty:
        kinds = ", ".join(dict.fromkeys(found["about"]))
        yield Finding("Data", f"Looked for and not found: {kinds}.")
    for about, rows in counted.groupby("about", sort=False):
        worst = rows.iloc[int(rows["frac"].argmax())]
        backbones = found.loc[found["about"] == about, "backbone"]
        who = f"On {worst['backbone']} features" if worst["backbone"] else ""
        more = f", the worst of {len(backbones)} backbones" if len(backbones) > 1 else ""
        text = f"{who}{more}: {worst['consequence']}" if who else worst["consequence"]
        yield Finding(f"Data: {about}", text)
