"""Faces: finding them, cutting them out, alignment, pose."""
