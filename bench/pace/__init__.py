"""The rates of tiling, training and extraction, by this project and by the ways that it is held against."""
