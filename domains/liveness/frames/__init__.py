"""Frames: reading pictures and films, choosing frames, combining their scores."""
