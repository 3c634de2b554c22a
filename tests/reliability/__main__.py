"""``python -m tests.reliability``: every fault tried many times, and ``docs/reliability.md`` written from it."""

import argparse
import contextlib
import dataclasses
import functools
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.reliability import page, soak
from tests.reliability.registry import all_scenarios
from tests.reliability.scenario import Scenario
from tests.reliability.trial import try_scenario

ROOT = Path(__file__).parents[2]


def main(arguments: Sequence[str] | None = None) -> int:
    """Try scenarios, keep what came of it, and write the page.

    Returns:
        0, or 1 if a try did harm.
    """
    options = _parser().parse_args(arguments)
    chosen = [
        _lasting(scenario, options.minutes)
        for scenario in all_scenarios()
        if not options.only or _is_named(scenario, options.only)
    ]
    if options.list:
        print(*(f"{scenario.group:12} {scenario.name:40} {scenario.tries}" for scenario in chosen), sep="\n")
        return 0
    failed = 0
    with _work(options.work) as work:
        for scenario in chosen:
            trial = try_scenario(scenario, work, options.tries or scenario.tries, options.seed)
            failed += trial.failed
            counts = f"{trial.recovered} recovered, {trial.refused} refused, {trial.failed} failed"
            print(
                f"{scenario.group}/{scenario.name}: {trial.tries} tries in {trial.seconds:.0f} s: {counts}", flush=True
            )
            trials = page.read_trials(options.trials) | {scenario.name: trial}
            page.write_trials(trials, options.trials)
            options.out.write_text(page.page(all_scenarios(), trials), encoding="utf-8")
    return int(failed > 0)


def _is_named(scenario: Scenario, only: Sequence[str]) -> bool:
    return any(name in (scenario.group, scenario.name) for name in only)


def _lasting(scenario: Scenario, minutes: float | None) -> Scenario:
    """The scenario, of those minutes where it is one that lasts."""
    if minutes is None or scenario not in soak.SCENARIOS:
        return scenario
    return dataclasses.replace(scenario, once=functools.partial(scenario.once, minutes=minutes))


@contextlib.contextmanager
def _work(folder: Path | None) -> Iterator[Path]:
    """The folder of the tries: the user's, which stays, or one that goes with the command."""
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="ris-reliability-") as made:
        yield Path(made)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m tests.reliability", description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="a scenario or group; repeatable")
    parser.add_argument("--tries", type=int, metavar="N", help="tries of each (default: its own number)")
    parser.add_argument("--minutes", type=float, metavar="M", help="how long the soak lasts (default: 30)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (default: %(default)s)")
    parser.add_argument("--list", action="store_true", help="print the scenarios and end")
    parser.add_argument("--work", type=Path, metavar="DIR", help="folder of the tries; failed ones stay there")
    parser.add_argument(
        "--trials",
        type=Path,
        default=ROOT / "reports/reference/reliability/trials.csv",
        metavar="CSV",
        help="what came of them; rows of scenarios that are not tried now stay (default: %(default)s)",
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "docs/reliability.md", metavar="MD", help="page (default: %(default)s)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
