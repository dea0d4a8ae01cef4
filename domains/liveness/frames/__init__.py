"""Videos to the frames that are scored, and frames to one score."""
