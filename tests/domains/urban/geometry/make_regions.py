"""Files of polygons for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def geojson(
    path: Path, *rings: list[list[float]], properties: list[dict[str, Any]] | None = None, **more: Any
) -> Path:
    """Write one polygon per ring."""
    features = [
        {
            "type": "Feature",
            "properties": (properties or [{}] * len(rings))[number],
            "geometry": {"type": "Polygon", "coordinates": [ring]},
        }
        for number, ring in enumerate(rings)
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features, **more}))
    return path


def box(west: float, south: float, east: float, north: float) -> list[list[float]]:
    """Return the ring of a rectangle."""
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


BOW = [[0.0, 0.0], [1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
"""Two triangles that meet where the outline crosses itself."""
