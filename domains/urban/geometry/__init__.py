"""Where tiles lie: tile schemes, coordinate systems, regions, grids, samplers; names are in ``io.py``."""
