"""Rasters read by window: opening, masks, sensors, reprojection, whole pictures."""
