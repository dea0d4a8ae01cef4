"""Pixels that stand for a whole raster, without reading the whole raster."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .layout import Layout
from .reader import LayoutReader

_SIDE = 1024
"""Pixels per side of the copy that is looked at where there are overviews."""
_WINDOWS, _WINDOW = 8, 256
"""Without overviews: windows per side, spread evenly, and their size in pixels."""


def sample_pixels(reader: LayoutReader, layout: Layout, *, overviews: tuple[int, ...]) -> NDArray[Any]:
    """Return valid pixels [C, K] as stored: of an overview, else of windows spread over the raster."""
    width, height = layout.width, layout.height
    if overviews or max(width, height) <= _SIDE:
        scale = max(1.0, max(width, height) / _SIDE)
        shape = (max(1, round(height / scale)), max(1, round(width / scale)))
        found = reader.window((0, 0, width, height), shape, resampling="nearest")
        return found.values[:, found.valid]
    samples = []
    for top in _starts(height):
        for left in _starts(width):
            window = (left, top, min(_WINDOW, width), min(_WINDOW, height))
            found = reader.window(window, (int(window[3]), int(window[2])), resampling="nearest")
            samples.append(found.values[:, found.valid])
    return np.concatenate(samples, axis=1)


def _starts(length: int) -> list[int]:
    """Return where windows begin along one axis."""
    return sorted({round(value) for value in np.linspace(0, max(0, length - _WINDOW), _WINDOWS)})
