"""A gate for changes: passes or fails a run against an earlier one, and says which cells became worse."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from bench.comparing.compare import changed_settings, read_pair, run_lines
from bench.comparing.verdict import (
    BETTER,
    CELL,
    NOISY,
    SAME,
    SCORES,
    THRESHOLDS,
    TIMES,
    WORSE,
    Verdict,
    is_measured,
    judge_cell,
)
from bench.measuring.other_load import NOISY_FRAC, is_noisy
from bench.results import Result, RunRecord, read_results
from bench.scores.inference import ratio_interval
from bench.tables.table import readable
from ris_core.errors import ComparabilityError

_NO_QUESTION = ("about", "name")  # what of a suite asks nothing
_TILES = {"indexed": "tiles indexed", "trained": "tiles trained on", "tiles_key": "key of the tiles"}
_TITLES = {WORSE: "Worse", NOISY: "Different, perhaps by other work: not counted", BETTER: "Better"}
_UNITS = {"time": "ms", "build": "s", "pace": "ms"}
_COUNTS = {WORSE: "worse", BETTER: "better", NOISY: "not counted", SAME: "within the thresholds"}


@dataclasses.dataclass(frozen=True)
class Gate:
    """All verdicts on a run.

    Attributes:
        records: The earlier run and the run.
        verdicts: Of each metric of each cell that the earlier run measured, in the suite's order.
        warnings: What a pass does not cover.
    """

    records: tuple[RunRecord, RunRecord]
    verdicts: tuple[Verdict, ...]
    warnings: tuple[str, ...] = ()

    @property
    def is_passed(self) -> bool:
        """Whether nothing became worse."""
        return not self.of(WORSE)

    def of(self, *states: str) -> list[Verdict]:
        """The verdicts in some of the states."""
        return [verdict for verdict in self.verdicts if verdict.state in states]

    def table(self) -> pd.DataFrame:
        """One row a verdict, under the names of its fields; the ids of both runs stand in front."""
        base, run = (record.run_id for record in self.records)
        rows = [{"base_run": base, "other_run": run} | dataclasses.asdict(verdict) for verdict in self.verdicts]
        return pd.DataFrame(rows)

    def markdown(self) -> str:
        """What differs, failures first; then how much was compared, and what the runs are."""
        base, run = (f"{record.suite_name} {record.run_id}" for record in self.records)
        lines = [f"# Gate {'passed' if self.is_passed else 'failed'}: {run} against {base}", ""]
        for state, title in _TITLES.items():
            if self.of(state):
                lines += [f"## {title}", "", _grid(self.of(state)), ""]
        lines += [self.summary(), *(f"Warning: {warning}" for warning in self.warnings), ""]
        return "\n".join([*lines, *run_lines(*self.records)]) + "\n"

    def summary(self) -> str:
        """One line of counts."""
        cells = {verdict.cell for verdict in self.verdicts}
        counts = ", ".join(f"{len(self.of(state))} {word}" for state, word in _COUNTS.items())
        return f"Compared: {len(self.verdicts)} metrics of {len(cells)} cells: {counts}."


def parse_thresholds(texts: Sequence[str]) -> dict[str, float]:
    """`THRESHOLDS` with those of arguments such as ``time=0.2`` in their places.

    Raises:
        ComparabilityError: With all unknown metrics and impossible values.
    """
    found, faults = dict(THRESHOLDS), []
    for text in texts:
        metric, _, value = text.partition("=")
        if metric not in THRESHOLDS:
            faults.append(f"--threshold {text}: unknown metric {metric!r}; known metrics: {', '.join(THRESHOLDS)}.")
            continue
        try:
            found[metric] = float(value)
        except ValueError:
            found[metric] = math.nan
        if not 0 <= found[metric] < (1 if metric in SCORES else math.inf):
            allowed = "of at least 0 and below 1" if metric in SCORES else "of at least 0, such as 0.1 for 10 %"
            faults.append(f"--threshold {text}: {value!r} is no threshold; give {metric} a number {allowed}.")
    if faults:
        raise ComparabilityError("\n".join(faults))
    return found


def gate_runs(
    base: Path, run: Path, thresholds: Mapping[str, float] = THRESHOLDS, *, scores_only: bool = False
) -> Gate:
    """A verdict on each metric of each cell that ``base`` measured, see `bench.comparing.verdict.judge_cell`.

    Args:
        base: Folder of the earlier run.
        run: Folder of the run to judge.
        thresholds: What each metric may lose.
        scores_only: Judge recall and precision alone, so that the machines may differ.

    Raises:
        ComparabilityError: If tiles, suites or machines differ, or ``base`` measured nothing of the kind.
        ArtifactError: If a folder is no run, or a file of it is damaged.
    """
    records = read_pair(base, run, scores_only=scores_only)
    _refuse_other_questions(base, run, records)
    before, now = ({result.cell: result for result in read_results(folder)} for folder in (base, run))
    verdicts = [
        verdict
        for cell in dict.fromkeys([*before, *now])
        for verdict in judge_cell(cell, before.get(cell), now.get(cell), thresholds, scores_only=scores_only)
    ]
    if all((verdict.metric, verdict.state) == (CELL, BETTER) for verdict in verdicts):
        raise ComparabilityError(
            f"{base} has measured no {'score' if scores_only else 'cell'}, so there is nothing that {run} could lose. "
            "Name the folder of a finished run first."
        )
    warnings = [*_unmeasured(records[0].cells, before, now)]
    if not scores_only:
        warnings += [*_other_work(before, "before"), *_other_work(now, "now"), *_overheads(records, thresholds["time"])]
    return Gate(records, tuple(verdicts), tuple(warnings))


def _refuse_other_questions(base: Path, run: Path, records: tuple[RunRecord, RunRecord]) -> None:
    asked, now = ({key: part for key, part in record.suite.items() if key not in _NO_QUESTION} for record in records)
    found = [f"{key}: {_brief(left)} | {_brief(right)}" for key, left, right in changed_settings(asked, now)]
    corpora = [record.corpus for record in records]
    if all(corpora):  # a run whose cells all failed may not have come to its tiles
        pairs = {words: [corpus.get(key) for corpus in corpora] for key, words in _TILES.items()}
        found += [f"{words}: {left} | {right}" for words, (left, right) in pairs.items() if left != right]
    if found:
        raise ComparabilityError(
            f"{base} and {run} do not answer the same questions, so one cannot be gated by the other. "
            f"{'; '.join(found)}. Measure both with one suite on one corpus; `compare` without --gate shows what "
            "they have in common."
        )


def _brief(value: object) -> str:
    """A setting as a message can hold it."""
    if isinstance(value, Mapping | list) and len(str(value)) > 60:
        return "other values"
    return "none" if value is None else str(value)


def _unmeasured(cells: Sequence[str], before: Mapping[str, Result], now: Mapping[str, Result]) -> Iterator[str]:
    neither = [cell for cell in cells if not is_measured(before.get(cell)) and not is_measured(now.get(cell))]
    if neither:
        yield f"{len(neither)} of the suite's {len(cells)} cells were measured by neither run, such as {neither[0]}."


def _other_work(results: Mapping[str, Result], when: str) -> Iterator[str]:
    noisy = sum(is_noisy(result.other_load_frac) for result in results.values())
    if noisy:
        yield (
            f"{noisy} of {len(results)} cells were measured beside other work {when} (over {NOISY_FRAC:.0%} of the "
            "cores): a regression may hide there. Measure again on a quiet machine."
        )


def _overheads(records: tuple[RunRecord, RunRecord], allowed: float) -> Iterator[str]:
    """Whether the machine or the harness changed: an engine that does nothing tells."""
    base, run = (record.overhead for record in records)
    for mode in sorted(base.keys() & run.keys()):
        ratio, low, high = ratio_interval(base[mode], run[mode])
        if low > 1 + allowed or high < 1 / (1 + allowed):
            yield (
                f"asking an engine that does nothing ({mode}) took {ratio:.2f} times as long as before: the machine or "
                "the harness changed, not the engines alone."
            )


def _grid(verdicts: Sequence[Verdict]) -> str:
    """A Markdown table; columns that say nothing are left out."""
    headers = ["metric", "cell", "before", "now", "change", "95 % interval", "allowed", "note"]
    rows = [_words(verdict) for verdict in verdicts]
    shown = [place for place in range(len(headers)) if any(row[place] for row in rows)]
    cells = [[row[place] for place in shown] for row in rows]
    return tabulate(cells, [headers[place] for place in shown], tablefmt="github", disable_numparse=True)


def _words(verdict: Verdict) -> list[str]:
    if math.isnan(verdict.change):
        return [verdict.metric, verdict.cell, "", "", "", "", "", verdict.note]
    before, now = _value(verdict, verdict.base), _value(verdict, verdict.run)
    low, change, high = (_change(verdict, bound) for bound in (verdict.low, verdict.change, verdict.high))
    interval = f"{low} to {high}" if verdict.low < verdict.high else ""
    allowed = f"{verdict.threshold:g}" if verdict.kind in SCORES else f"+{100 * verdict.threshold:.3g}%"
    return [verdict.metric, verdict.cell, before, now, change, interval, allowed, verdict.note]


def _value(verdict: Verdict, value: float) -> str:
    if verdict.kind in SCORES:
        return f"{value:.4f}"
    return f"{readable(value)} {_UNITS[verdict.kind]}" if verdict.kind in TIMES else f"{value:,.0f} bytes"


def _change(verdict: Verdict, change: float) -> str:
    return f"{change:+.2g}" if verdict.kind in SCORES else f"{change - 1:+.1%}"
