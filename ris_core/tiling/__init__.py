"""Parts of tiling: rasters, image folders, the grid over them, their labels; the entrance is `ris_core.tiles`."""
