"""Runs held against each other: side by side, as a gate, as an A/A test, as ranks."""
