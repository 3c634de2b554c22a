"""All that starts runs and holds them against one undisturbed run, which is made once a file."""

from tests.reliability.registry import scenario_test

test_scenario = scenario_test("kills", "together", "determinism")
