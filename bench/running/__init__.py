"""A run: its folder, its session under pytest, what it says meanwhile; the entrance is `run_suite`."""
