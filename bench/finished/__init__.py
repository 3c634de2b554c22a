"""A run opened again: its tiles, networks and settings, and what its indexes answer to any tile."""
