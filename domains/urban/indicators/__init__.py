"""Numbers per tile: tables from rasters and CSV, regression, spatial cross-validation."""
