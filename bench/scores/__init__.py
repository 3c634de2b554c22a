"""Numbers from answers: measures, intervals and tests, geometry of queries. Nothing here knows suites or runs."""
