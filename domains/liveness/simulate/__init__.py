"""Simulated recapture: prints, screens and other attacks made from ordinary photos."""

from __future__ import annotations

from ....core.lazy import lazy_names

_HOMES = {
    "BONA_FIDE": "presentation",
    "FAMILIES": "families",
    "Simulated": "presentation",
    "load_ranges": "ranges",
    "simulate": "presentation",
    "simulated": "presentation",
    "write_dataset": "dataset",
}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]

__getattr__ = lazy_names(__name__, _HOMES)
