"""Regions of a query picture: boxes of a file, a sliding window, a detector; cut into crops that a backbone takes."""
