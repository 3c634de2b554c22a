"""Runs judged by hand: ``python -m bench pool RUN [RUN...] --out FOLDER``, again and again as judging goes on.

The folder holds a CSV a judge, which is the only thing that people write; everything else in it is made anew from the
runs and these files: contact sheets, ``judged.qrels`` for other tools, and the tables.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from bench.judging.contact_sheet import Sheet, write_contact_sheet
from bench.judging.pool import Searcher, all_topics, pool_tiles, pooled_qrels
from bench.judging.trec import write_qrels
from bench.judging.votes import (
    JUDGE_NAME,
    KEYS,
    agreement_table,
    conflicts,
    merge_votes,
    read_votes,
    sheet_rows,
    write_sheet_rows,
)
from bench.machine import describe
from bench.report import open_tiles
from bench.results import OK, QueryResult, read_results, read_run
from bench.scores.unjudged import UNJUDGED
from bench.tables.hand_table import hand_averages, hand_table
from bench.tables.precision_table import first_of_searchers
from bench.tables.run_tables import TABLES
from bench.tables.table import write_table
from ris_core.artifacts import drop_unfinished, write_json
from ris_core.errors import UNREADABLE, ArtifactError, ComparabilityError

JUDGE = "judge"
_ABOUT = "pool.json"
CAPTIONS = {
    "hand_precision": "Relevant tiles among the nearest neighbours of each query, judged by hand; two numbers where "
    "some answers are unjudged: without and with them.",
    "hand_precision_averages": "Precision of nearest neighbours by difficulty, judged by hand: mean over the queries "
    "and its 95 % bootstrap interval. Where some answers are unjudged: precision of the judged ones, in brackets what "
    "it is if all unjudged ones are wrong, and if all are right. "
    "The thesis' rows are of another corpus, of 400,000 tiles.",
    "agreement": "Every two judges on the tiles that both judged: share on which they agree, shares that each called "
    "relevant, agreement expected by chance, Cohen's kappa.",
    "conflicts": "Tiles of which judges said different things. The majority counts; where it is split evenly, the tile "
    "counts as unjudged.",
}


@dataclasses.dataclass(frozen=True)
class PoolOptions:
    """The arguments of ``python -m bench pool``.

    Attributes:
        runs: Folders of runs on the same tiles.
        out: Folder of the pool, made if it is not there.
        judge: Who is asked; his file is ``<judge>.csv``.
        depth: How much of each answer list is pooled, at most; None: as much as is scored.
    """

    runs: tuple[Path, ...]
    out: Path
    judge: str = JUDGE
    depth: int | None = None

    def faults(self) -> list[str]:
        """What is impossible in it."""
        found = []
        if not JUDGE_NAME.fullmatch(self.judge):
            found.append(f"--judge {self.judge!r}: it names a file; allowed are letters, digits, _ . - Choose another.")
        if self.depth is not None and self.depth < 1:
            found.append(f"--depth {self.depth}: it must be at least 1.")
        return found


def pool_runs(options: PoolOptions) -> str:
    """Ask a judge for what the runs found and he has not judged, and score the runs by what is judged; a report.

    Raises:
        ArtifactError: If a run or a judge's file is missing, damaged or without answers, or the disk cannot take it.
        ComparabilityError: If the runs, or the folder's earlier ones, searched other tiles.
    """
    if faults := options.faults():
        raise ArtifactError("\n".join(faults))
    about = options.out / _ABOUT
    key = _shared_key(options.runs, about)
    searchers = [searcher for run, name in _named(options.runs) for searcher in _searchers(run, name)]
    drop_unfinished(options.out)
    votes = read_votes(options.out)
    pool = pool_tiles(searchers, options.depth)
    tiles = next((tiles for run in options.runs if (tiles := open_tiles(read_run(run))) is not None), None)
    rows = sheet_rows(pool, votes[votes["judge"] == options.judge])
    write_sheet_rows(rows, options.out / f"{options.judge}.csv")
    page = options.out / f"{options.judge}.html"
    if tiles is not None:
        write_contact_sheet(Sheet(options.judge, rows, len(pool), tiles, key), page)
    else:
        page.unlink(missing_ok=True)  # what an earlier one asks is out of date
    write_json(about, {"tiles": key})
    write_qrels(pooled_qrels(all_topics(searchers), merge_votes(votes)), options.out / "judged.qrels")
    _write_tables(searchers, votes, options.out / TABLES, _trace_words(options.runs))
    return "\n\n".join(_report(options, pool, rows, votes)) + "\n"


def _named(runs: Sequence[Path]) -> list[tuple[Path, str]]:
    """Each run with a name that no other has."""
    names = [run.resolve().name for run in runs]
    return list(zip(runs, names if len(set(names)) == len(names) else map(str, runs), strict=True))


def _searchers(run: Path, name: str) -> Iterator[Searcher]:
    """What each model answered under each setting; single and batch mode and all threads give the same answers.

    Raises:
        ArtifactError: If the run kept no answers.
    """
    cells = [r for r in read_results(run) if isinstance(r, QueryResult) and r.status == OK and r.hits_file]
    if not cells:
        raise ArtifactError(
            f"{run}: keeps no answers to judge. Name the queries in its suite and run it again: [judge] queries = "
            '"queries.csv", with the columns tile,concept,difficulty. A published run has left its answers out.'
        )
    for result in first_of_searchers(cells):
        names = {key: getattr(result, key) for key in ("backbone", "engine", "cell", "space")}
        yield Searcher.open(run / result.hits_file, {"run": name, **names})


def _shared_key(runs: Sequence[Path], about: Path) -> str:
    """What tells the tiles that all runs searched, and those of the folder's earlier runs, from any others."""
    seen = {_read_key(about): about.parent} if about.is_file() else {}
    for run in runs:
        record = read_run(run)
        try:
            searched = np.load(run / "indexed_ids.npy", allow_pickle=False).astype(np.int64)
        except UNREADABLE as error:
            raise ArtifactError(f"{run}: no list of its tiles to be read ({error}). Run it again.") from error
        digest = hashlib.sha256(np.ascontiguousarray(searched).tobytes()).hexdigest()[:16]
        key = f"{record.corpus.get('tiles_key')}-{digest}"
        if seen and key not in seen:
            raise ComparabilityError(
                f"{run} searched other tiles than {next(iter(seen.values()))}. A judgment belongs to a tile, and "
                "precisions over different tiles do not compare: pool the runs of each corpus into a folder of its own."
            )
        seen[key] = run
    return next(iter(seen))


def _read_key(path: Path) -> str:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["tiles"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: not readable ({error}). Move the judges' CSV files to a new folder.") from error


def _trace_words(runs: Sequence[Path]) -> str:
    """Over how many tiles, where and in which runs was searched."""
    record = read_run(runs[0])
    names = ", ".join(name for _, name in _named(runs))
    return f"{record.corpus.get('indexed', 0):,} tiles; {describe(record.machine)}. Runs: {names}."


def _write_tables(searchers: Sequence[Searcher], votes: pd.DataFrame, folder: Path, trace: str) -> None:
    each = hand_table(searchers, merge_votes(votes))
    tables = {
        "hand_precision": each,
        "hand_precision_averages": hand_averages(each),
        "agreement": agreement_table(votes),
        "conflicts": conflicts(votes),
    }
    for name, table in tables.items():
        write_table(table, folder, name, f"{CAPTIONS[name]} {trace}")


def _report(options: PoolOptions, pool: pd.DataFrame, rows: pd.DataFrame, votes: pd.DataFrame) -> Iterator[str]:
    """What was pooled, what is judged, and what is left to do, as Markdown."""
    tables, merged = options.out / TABLES, pool.merge(merge_votes(votes), on=KEYS)
    decided = merged["grade"] != UNJUDGED
    yield (
        f"The pool has {len(pool):,} tiles for {pool['concept'].nunique():,} concepts; {int(decided.sum()):,} are "
        f"judged, {int((merged['grade'] == 1).sum()):,} of them relevant."
    )
    left = int((rows["grade"].iloc[: len(pool)] == UNJUDGED).sum())
    file, page = options.out / f"{options.judge}.csv", options.out / f"{options.judge}.html"
    how = f"open {page}, or fill in {file}" if page.is_file() else f"fill in {file} (no run can show its tiles)"
    yield f"{options.judge} has {left:,} left to judge: {how}." if left else f"{options.judge} has judged them all."
    if not len(votes):
        return
    yield (tables / "hand_precision_averages.md").read_text(encoding="utf-8").strip()
    if votes["judge"].nunique() > 1:
        yield (tables / "agreement.md").read_text(encoding="utf-8").strip()
        disputed = len(merged) - int(decided.sum())
        yield (
            f"Judges said different things of {len(conflicts(votes)):,} tiles ({tables / 'conflicts.csv'}); "
            f"{disputed:,} of the pool are split evenly and count as unjudged."
        )
