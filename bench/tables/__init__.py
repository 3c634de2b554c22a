"""The CSV tables of a run, and the pages that people read of them."""
