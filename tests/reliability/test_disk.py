from tests.reliability.registry import scenario_test

test_scenario = scenario_test("disk")
