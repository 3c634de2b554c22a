"""All scenarios, in the order of the table.

To add some: a module with a tuple ``SCENARIOS`` and a line in `MODULES`; for a new group also a file
of tests with the line ``test_scenario = scenario_test("<group>")``, so that groups run side by side.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.reliability import (
    bad_arrays,
    bad_pictures,
    bad_rasters,
    bad_runs,
    bad_suites,
    bad_tables,
    clusters,
    commands,
    corrupt_data,
    determinism,
    disk,
    kills,
    ranks,
    schedulers,
    soak,
    together,
    trouble,
)
from tests.reliability.scenario import Scenario
from tests.reliability.trial import draw_for

MODULES: tuple[tuple[Scenario, ...], ...] = (
    kills.SCENARIOS,
    commands.SCENARIOS,
    clusters.SCENARIOS,
    ranks.SCENARIOS,
    together.SCENARIOS,
    determinism.SCENARIOS,
    schedulers.SCENARIOS,
    disk.SCENARIOS,
    corrupt_data.SCENARIOS,
    trouble.SCENARIOS,
    bad_suites.SCENARIOS,
    bad_rasters.SCENARIOS,
    bad_pictures.SCENARIOS,
    bad_arrays.SCENARIOS,
    bad_tables.SCENARIOS,
    bad_runs.SCENARIOS,
    soak.SCENARIOS,
)


def all_scenarios() -> tuple[Scenario, ...]:
    """Every scenario, by group in the order in which groups appear; names are unique."""
    found = [scenario for module in MODULES for scenario in module]
    names = [scenario.name for scenario in found]
    if len(set(names)) < len(names):
        raise ValueError(f"two scenarios have one name: {', '.join(sorted(names))}.")
    groups = list(dict.fromkeys(scenario.group for scenario in found))
    return tuple(sorted(found, key=lambda scenario: groups.index(scenario.group)))


def scenario_test(*groups: str) -> Callable[..., None]:
    """A test that tries each scenario of some groups as often as the tests do; a failure is the scenario's own."""
    cases = [
        pytest.param(scenario, number, id=f"{scenario.name}-{number}")
        for scenario in all_scenarios()
        if scenario.group in groups
        for number in range(scenario.tries_in_tests)
    ]

    @pytest.mark.parametrize(("scenario", "number"), cases)
    def test_scenario(scenario: Scenario, number: int, tmp_path: Path) -> None:
        scenario.once(tmp_path, draw_for(scenario, 0, number))

    return test_scenario
