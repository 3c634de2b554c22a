"""Engines ranked over the data sets of several runs: ``python -m bench rank``."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bench.figures.ranking import draw_ranking
from bench.figures.style import save_figure
from bench.machine import compare_machines, describe
from bench.results import RunRecord, read_run
from bench.tables.ranking import ranking_table
from bench.tables.run_tables import TABLES
from bench.tables.table import read_table, write_table
from bench.tables.table_schemas import CAPTIONS
from ris_core.artifacts import disk_error
from ris_core.errors import ComparabilityError

NAME = "ranking"


def rank_runs(runs: Sequence[Path], out: Path, recall_target: float) -> str:
    """Write ``ranking.csv``, ``.md``, ``.tex`` and, for three data sets or more, the figure; the table as text.

    A data set is one backbone's features in one run, named ``<suite> <run> <backbone>``.

    Args:
        runs: Folders of runs with their tables.
        out: Folder for the files.
        recall_target: Recall that an engine's setting must reach, in [0, 1].

    Raises:
        ComparabilityError: If the runs come from different machines, two of them measured the same features, or no two
            engines were measured on all data sets.
        ArtifactError: If a folder is no run, its tables are missing or damaged, or the disk cannot take the files.
    """
    records = [read_run(run) for run in runs]
    _refuse_other_machines(runs, records)
    _refuse_same_features(runs, records)
    settings = [read_table(run / TABLES / "lsh_parameters.csv") for run in runs]
    named = [
        table.assign(backbone=f"{record.suite_name} {record.run_id} " + table["backbone"])
        for record, table in zip(records, settings, strict=True)
    ]
    ranking = ranking_table(pd.concat(named, ignore_index=True), recall_target)
    if ranking.empty:
        raise ComparabilityError(
            f"{', '.join(map(str, runs))}: no two engines were measured with single, corrected queries on every "
            "data set. Rank runs of suites that name the same engines."
        )
    write_table(ranking, out, NAME, f"{CAPTIONS[NAME]} {describe(records[0].machine)}.")
    figure = draw_ranking(out)
    try:
        if figure is not None:
            save_figure(figure, out / NAME)
    except OSError as error:
        raise disk_error(out, error) from error
    return (out / f"{NAME}.md").read_text(encoding="utf-8")


def _refuse_other_machines(runs: Sequence[Path], records: Sequence[RunRecord]) -> None:
    for run, record in zip(runs[1:], records[1:], strict=True):
        differences = compare_machines(records[0].machine, record.machine)
        if differences:
            raise ComparabilityError(
                f"{runs[0]} and {run} were measured on different machines, so their times must not be ranked "
                f"together. {'; '.join(differences)}. Rank the runs of each machine apart, or measure all on one."
            )


def _refuse_same_features(runs: Sequence[Path], records: Sequence[RunRecord]) -> None:
    """A data set that is counted twice makes differences look more certain than they are."""
    seen: dict[str, Path] = {}
    for run, record in zip(runs, records, strict=True):
        for note in record.stage_notes:
            if note.stage != "features":
                continue
            if note.key in seen:
                raise ComparabilityError(
                    f"{seen[note.key]} and {run} measured the same features ({note.backbone}); a data set "
                    "counts once. Leave one of the runs out."
                )
            seen[note.key] = run
