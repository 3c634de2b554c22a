"""One cell measured in one process, and its answers scored: a file a kind of cell."""
