"""``docs/reliability.md`` and the table that it is made of."""

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.reliability.scenario import Scenario
from tests.reliability.trial import Trial

TEMPLATE = Path(__file__).with_name("page.md")
_GROUPS = {
    "kills": "Killed",
    "together": "Two at once",
    "determinism": "The same again",
    "disk": "Disk and data",
    "trouble": "Numbers, memory, clocks, terminals",
    "input": "Bad input",
    "soak": "For long",
}


def read_trials(path: Path) -> dict[str, Trial]:
    """Trials by scenario, as `write_trials` left them; none where there is no file."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    kinds = {field.name: field.type for field in dataclasses.fields(Trial)}
    return {row["scenario"]: Trial(**{name: kinds[name](value) for name, value in row.items()}) for row in rows}  # type: ignore[operator]


def write_trials(trials: Mapping[str, Trial], path: Path) -> None:
    """Write one row a scenario."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Trial)], lineterminator="\n")
        writer.writeheader()
        for trial in trials.values():
            writer.writerow(dataclasses.asdict(trial) | {"seconds": f"{trial.seconds:.1f}"})


def page(scenarios: Sequence[Scenario], trials: Mapping[str, Trial]) -> str:
    """The page: its template with a table for each group, and a line that sums them up."""
    tried = [trials[scenario.name] for scenario in scenarios if scenario.name in trials]
    total = sum(trial.tries for trial in tried)
    failed = sum(trial.failed for trial in tried)
    last = max((trial.date for trial in tried), default="no day")
    summary = (
        f"{len(tried)} of {len(scenarios)} scenarios were tried, {total:,} tries in all, the last on {last}; "
        f"{failed or 'none'} of the tries did harm."
    )
    groups = dict.fromkeys(scenario.group for scenario in scenarios)
    tables = [_table(group, [s for s in scenarios if s.group == group], trials) for group in groups]
    return TEMPLATE.read_text(encoding="utf-8").replace("SUMMARY", summary).replace("TABLES", "\n\n".join(tables))


def _table(group: str, scenarios: Sequence[Scenario], trials: Mapping[str, Trial]) -> str:
    head = ["scenario", "what is done", "tries", "recovered", "refused", "failed", "what happens"]
    lines = [
        f"### {_GROUPS.get(group, group)}",
        "",
        _row(head),
        _row(["---", "---", "--:", "--:", "--:", "--:", "---"]),
    ]
    for scenario in scenarios:
        trial = trials.get(scenario.name)
        counts = ["not yet", "", "", ""]
        if trial is not None:
            counts = [str(n) for n in (trial.tries, trial.recovered, trial.refused, trial.failed)]
        lines.append(_row([f"`{scenario.name}`", scenario.fault, *counts, _what_happens(scenario, trial)]))
    return "\n".join(lines)


def _what_happens(scenario: Scenario, trial: Trial | None) -> str:
    """The promise, what was measured on the way, and what broke it."""
    note = f" ({trial.note})" if trial is not None and trial.note else ""
    failure = f" **{trial.failure}**" if trial is not None and trial.failure else ""
    return f"{scenario.expected}{note}{failure}"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
