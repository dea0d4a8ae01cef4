"""What belongs to every map: a scale bar in metres, north, and where it is."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ....core.errors import require
from ..geometry.projection import crs_name, is_geographic, parse_crs, transform_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.path import Path as Outline
    from shapely.geometry.base import BaseGeometry

Bounds = tuple[float, float, float, float]


def stretch_of(extent: Bounds, crs: str) -> float:
    """Return how much longer a unit of y is drawn than one of x: up north, degrees of longitude are short."""
    if not is_geographic(crs):
        return 1.0
    middle = math.radians(min(85.0, abs(extent[1] + extent[3]) / 2))
    return 1 / math.cos(middle)


def meters_across(extent: Bounds, crs: str) -> float:
    """Return the geodesic length of a map's middle line from its west to its east edge, in metres.

    Where the coordinate system does not reach so far, a part in the middle stands for the whole.
    """
    pyproj = require("pyproj", extra="urban")
    west, south, east, north = extent
    # A tenth in the middle: far away from it, projections stretch, and a bar is read at the middle.
    span, middle = (east - west) / 10, (east + west) / 2
    xs = np.array([middle - span / 2, middle + span / 2])
    lon, lat = transform_points(xs, np.full(2, (south + north) / 2), crs, "EPSG:4326")
    _, _, length = pyproj.Geod(ellps="WGS84").inv(lon[0], lat[0], lon[1], lat[1])
    return 10 * float(length)


def bar_length(across_m: float) -> float:
    """Return the metres of a scale bar: 1, 2 or 5 times a power of ten, at most 30 % of the map's width."""
    most = 0.3 * across_m
    power = 10 ** math.floor(math.log10(most))
    return next(step * power for step in (5, 2, 1) if step * power <= most)


def length_words(meters: float) -> str:
    """Return a length with its unit: "500 m", "2 km", "0.5 m"."""
    return f"{meters / 1000:,.10g} km" if meters >= 1000 else f"{meters:.10g} m"


def add_scale_bar(axes: Axes, extent: Bounds, crs: str, inches: float) -> None:
    """Draw a scale bar below a map that is ``inches`` high; nothing where the ground has no length there."""
    from matplotlib.patches import Rectangle

    across = meters_across(extent, crs)
    if not (math.isfinite(across) and across > 0):
        return
    meters = bar_length(across)
    share = meters / across
    point = 1 / (72 * inches)
    # Outside of the frame: inside, it would hide tiles.
    low, high = -12 * point, -8 * point
    frame: dict[str, Any] = {"transform": axes.transAxes, "zorder": 7, "clip_on": False}
    for place, color in enumerate(("#222222", "white")):
        axes.add_patch(
            Rectangle((place * share / 2, low), share / 2, high - low, facecolor=color, edgecolor="#222222",
                      linewidth=0.8, **frame)
        )  # fmt: skip
    axes.text(
        share + 6 * point, (low + high) / 2, length_words(meters), ha="left", va="center", fontsize=8,
        color="#222222", **frame,
    )  # fmt: skip


def add_north(axes: Axes, extent: Bounds, crs: str) -> None:
    """Draw an arrow to true north, as it is in the middle of the map, into the upper right corner."""
    from matplotlib.patheffects import AbstractPathEffect, withStroke

    x, y = north_direction(extent, crs)
    halo: list[AbstractPathEffect] = [withStroke(linewidth=3, foreground="white", alpha=0.9)]
    arrow = {"arrowstyle": "-|>", "color": "#222222", "linewidth": 1.4, "shrinkA": 0, "shrinkB": 0}
    note = axes.annotate(
        "N",
        xy=(0.955, 0.975 - 0.02 * (1 - y)),
        xytext=(-30 * x, -30 * y),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=10,
        fontweight="bold",
        color="#222222",
        arrowprops={**arrow, "path_effects": halo},
        zorder=8,
    )
    note.set_path_effects(halo)


def north_direction(extent: Bounds, crs: str) -> tuple[float, float]:
    """Return the unit vector (right, up) on the map that points to true north in its middle."""
    pyproj = require("pyproj", extra="urban")
    x, y = (extent[0] + extent[2]) / 2, (extent[1] + extent[3]) / 2
    lon, lat = transform_points([x], [y], crs, "EPSG:4326")
    meters = max(1.0, 0.001 * meters_across(extent, crs))
    further = pyproj.Geod(ellps="WGS84").fwd(lon[0], lat[0], 0.0, meters)
    to_x, to_y = transform_points([further[0]], [further[1]], "EPSG:4326", crs)
    right, up = float(to_x[0]) - x, (float(to_y[0]) - y) * stretch_of(extent, crs)
    length = math.hypot(right, up)
    return (right / length, up / length) if math.isfinite(length) and length > 0 else (0.0, 1.0)


def place_line(extent: Bounds, crs: str) -> str:
    """Return where a map is: the coordinate system and the place of its middle."""
    x, y = (extent[0] + extent[2]) / 2, (extent[1] + extent[3]) / 2
    lon, lat = (float(axis[0]) for axis in transform_points([x], [y], crs, "EPSG:4326"))
    named = crs_name(crs)
    named = named if len(named) <= 24 else parse_crs(crs).name
    digits = 1 if max(extent[2] - extent[0], extent[3] - extent[1]) > 5 and is_geographic(crs) else 3
    east, north = "E" if lon >= 0 else "W", "N" if lat >= 0 else "S"
    return f"{named}, middle at {abs(lat):.{digits}f}° {north} {abs(lon):.{digits}f}° {east}"


def paths_of(shapes: Iterable[BaseGeometry]) -> list[Outline]:
    """Return polygons, with their holes and parts, as outlines of matplotlib."""
    from matplotlib.path import Path as Outline

    shapely = require("shapely", extra="urban")
    orient = require("shapely.geometry.polygon", extra="urban").orient
    found = []
    for shape in shapes:
        rings = [
            ring
            for part in shapely.get_parts(shape)
            if part.geom_type == "Polygon"
            for ring in shapely.get_rings(orient(part))  # a hole is what turns the other way
        ]
        outlines = [Outline(shapely.get_coordinates(ring), closed=True) for ring in rings]
        found.append(Outline.make_compound_path(*outlines) if outlines else Outline(np.empty((0, 2))))
    return found
