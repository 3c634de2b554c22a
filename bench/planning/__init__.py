"""What a run will cost, said before it starts: counted, measured on a small sample, and extrapolated."""
