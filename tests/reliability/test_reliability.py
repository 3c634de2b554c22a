"""The scenarios themselves: how they are counted, and that the tests and the page leave none out."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.reliability.page import page, read_trials, write_trials
from tests.reliability.registry import all_scenarios
from tests.reliability.scenario import RECOVERED, REFUSED, Failure, Outcome, Scenario, expect
from tests.reliability.soak import Reading, judge
from tests.reliability.tiny import read_journal
from tests.reliability.trial import Trial, draw_for, try_scenario


def scenario(once: object, name: str = "sample") -> Scenario:
    return Scenario(name, "kills", "It is killed.", "It goes on.", once)  # type: ignore[arg-type]


def test_every_group_that_is_tried_in_the_tests_has_its_file() -> None:
    claims = [path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py")]
    groups = {each.group for each in all_scenarios() if each.tries_in_tests}
    assert {group for group in groups if not any(f'"{group}"' in text for text in claims)} == set()


def test_tries_are_counted_by_how_they_ended_and_failed_ones_keep_their_folder(tmp_path: Path) -> None:
    drawn = []

    def once(folder: Path, rng: np.random.Generator) -> Outcome:
        drawn.append(rng.random())
        number = int(folder.name.rpartition("-")[2])
        expect(number != 2, "two is lost")
        if number == 3:
            raise RuntimeError("what nobody thought of")
        return Outcome(RECOVERED if number else REFUSED)

    trial = try_scenario(scenario(once), tmp_path, 5, seed=1)
    assert (trial.tries, trial.recovered, trial.refused, trial.failed) == (5, 2, 1, 2)
    assert trial.failure == "two is lost"
    assert {path.name for path in tmp_path.iterdir()} == {"sample-2", "sample-3"}
    assert len(set(drawn)) == 5
    assert drawn[1] == draw_for(scenario(once), 1, 1).random()


def test_outcome_is_one_of_two() -> None:
    with pytest.raises(ValueError, match="recovered, refused, not 'survived'"):
        Outcome("survived")


def test_trials_are_read_as_written_and_the_page_shows_every_scenario(tmp_path: Path) -> None:
    kept = {"sample": Trial("sample", 1200, 1100, 99, 1, 3.5, 0, "2026-01-02", "lost a | row")}
    write_trials(kept, tmp_path / "trials.csv")
    assert read_trials(tmp_path / "trials.csv") == kept
    shown = page([scenario(None), scenario(None, "other")], kept)
    assert "1 of 2 scenarios were tried, 1,200 tries in all, the last on 2026-01-02; 1 of the tries did harm." in shown
    assert "| `sample` | It is killed. | 1200 | 1100 | 99 | 1 | It goes on. **lost a \\| row** |" in shown
    assert "| `other` | It is killed. | not yet |" in shown


def test_process_is_struck_at_the_operation_that_was_drawn(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from tests.reliability.strike import Strike, await_strike\n"
        "await_strike(Strike(pattern='made', number=3, journal='journal'))\n"
        "for name in ('made-1', 'other', 'made-2', 'made-3', 'made-4'): Path(name).write_text(name)"
    )
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        check=False,
        env={**os.environ, "PYTHONPATH": root},
        start_new_session=True,
    )
    assert done.returncode == -signal.SIGKILL
    assert {path.name for path in tmp_path.iterdir()} == {"journal", "made-1", "other", "made-2"}
    assert [path for _, path in read_journal(tmp_path)] == ["made-1", "other", "made-2", "made-3"]


def reading(**grown: float) -> Reading:
    return Reading(**{"memory_mib": 500.0, "handles": 9, "threads": 2, "processes": 1, "shared": 0} | grown)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["handles", "threads", "processes", "shared", "temporary", "cache_files"])
def test_soak_fails_where_anything_grows_after_the_first_runs(name: str) -> None:
    warm = [reading(**{name: 90})] * 4  # what the first runs need does not count
    assert judge([*warm, *[reading()] * 8]).how == RECOVERED
    with pytest.raises(Failure, match=f"{name} grew"):
        judge([*warm, *[reading()] * 7, reading(**{name: 10})])


def test_soak_fails_where_memory_grows_by_every_run() -> None:
    noise = [reading(memory_mib=500 + 3 * (number % 2)) for number in range(40)]
    assert judge(noise).how == RECOVERED
    with pytest.raises(Failure, match=r"memory grew from 5\d\d to 5\d\d MiB"):
        judge([reading(memory_mib=500 + number) for number in range(40)])
