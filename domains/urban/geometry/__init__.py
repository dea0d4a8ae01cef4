"""Where tiles lie: tile schemes, coordinate systems, regions, grids, samplers."""
