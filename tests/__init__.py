"""The tests; a package so that `python -m tests.reliability` finds its scenarios from a checkout."""
