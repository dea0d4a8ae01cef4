"""Captions of tiles: reading, filtering, making."""
