"""Reverse image search over aerial imagery: tiles, DINO features, spaces, indexes."""
