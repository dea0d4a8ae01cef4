"""Quick-look maps as PNG: values, classes or hits over the scene, with scale bar, north and legend."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ....core.errors import DataError, InputError, LimitError, require
from ....core.plots import new_figure, plain_title, save_figure
from ..geometry.tiles import Tiles
from . import furniture, legend
from .colors import INK, MISSING, VALUES, as_hex, class_colors
from .lattice import raster_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize

    from ..geometry.regions import Regions
    from ..loaders.records import TileImage
    from ..protocols import Background

_log = logging.getLogger(__name__)
Bounds = tuple[float, float, float, float]
_MAP_INCHES, _TALLEST_INCHES, _LEGEND_INCHES = 6.4, 8.0, 2.0
_LOWEST, _HIGHEST = 0.35, 2.0
"""Height over width of a map; around thinner scenes there is empty ground."""
_DOTS = 150
_FEW, _NAMED = 100, 30
"""Values from which the most extreme ones are cut off, and regions up to which their names fit the map."""
_MOST_PIXELS = 4_000_000
"""A raster of more pixels would lose small tiles on the way to the picture; outlines do not."""
_SKEWED = 20.0
"""High values over the middle one from which a map would show nothing but the highest."""


@dataclass(frozen=True)
class Mark:
    """A tile that is pointed out.

    Attributes:
        row: of the tile. label: a short text beside it. group: position in the names of the legend.
    """

    row: int
    label: str
    group: int = 0


def save_map(
    path: str | Path,
    values: ArrayLike,
    places: Tiles | Regions,
    *,
    title: str = "",
    unit: str = "",
    background: Background | None = None,
    classes: Sequence[str] | None = None,
    note: str = "",
) -> Path:
    """Draw one value per tile or region as a map.

    Numbers go from dark to light, of a hundred or more between their 1st and 99th percentile; beyond, the
    colour bar has points. Positive ones of which a few are far larger than most, as people per tile, get a
    logarithmic bar. Places without a value are hatched.

    Example::

        save_map("people.png", predicted, table.tiles(), title="Population", unit="people per tile")

    Args:
        path: ``.png`` file.
        values: N numbers; with ``classes``, N positions in it, -1 for none.
        places: N tiles or regions.
        title: line above the map. unit: of the values, beside the colour bar.
        background: raster to show under the values, in grey.
        classes: names, for a map of classes with a legend.
        note: what the map was made with; stands below it, after the coordinate system.

    Raises:
        DataError: another number of values than places, or none.
        InputError: the places have no coordinate system.
    """
    numbers = np.asarray(values, np.float64)
    if numbers.shape != (len(places),) or not len(places):
        raise DataError(f"A map needs one value for each of {len(places)} places, got {list(numbers.shape)}.")
    if classes is not None:
        if ((numbers < -1) | (numbers >= len(classes)) | (numbers % 1 != 0)).any():
            raise DataError(f"Classes are whole numbers from -1 to {len(classes) - 1}, one per place.")
        numbers = np.where(numbers < 0, np.nan, numbers)
    sheet = _Sheet(_extent(places, 0.03), places.crs, title)
    ground = sheet.lay(background, grey=True)
    opacity = 0.8 if ground else 1.0
    shown = _draw_values(sheet.axes, numbers, places, classes, opacity)
    if classes is not None:
        legend.add_classes(sheet.axes, numbers, classes)
    elif shown is not None:
        legend.add_color_bar(sheet.figure, sheet.axes, shown, numbers, unit)
    if np.isnan(numbers).any():
        _hatch(sheet.axes, places, np.isnan(numbers), in_legend=classes is None)
    if not isinstance(places, Tiles) and len(places) <= _NAMED:
        _name_regions(sheet.axes, places)
    sheet.finish(path, background, note)
    return Path(path)


def save_marks(
    path: str | Path,
    marks: Sequence[Mark],
    places: Tiles,
    *,
    names: Sequence[str],
    title: str = "",
    background: Background | None = None,
    note: str = "",
) -> Path:
    """Draw where some tiles lie, over the whole scene in colour; arguments as in :func:`save_map`.

    Args:
        marks: tiles to point out; none gives a map without any.
        names: legend, one per group of marks.
        places: all tiles; where there is no background, they are shown as outlines.

    Raises:
        DataError: there are no tiles, or a mark without a name.
    """
    if not len(places):
        raise DataError("There is nothing to map: the list of tiles is empty.")
    if any(not 0 <= mark.group < len(names) or not 0 <= mark.row < len(places) for mark in marks):
        raise DataError("Every mark needs a row of the tiles, and a group that has a name.")
    sheet = _Sheet(_scene_extent(background, places), places.crs, title)
    if not sheet.lay(background, grey=False):
        _outlines(sheet.axes, places)
    _draw_marks(sheet.axes, marks, places, len(names))
    legend.add_groups(sheet.axes, [mark.group for mark in marks], names)
    sheet.finish(path, background, note)
    return Path(path)


class _Sheet:
    """One figure with a map frame of the shape that its rectangle has on the ground."""

    def __init__(self, extent: Bounds, crs: str, title: str) -> None:
        self.crs, self.stretch = crs, furniture.stretch_of(extent, crs)
        self.extent = west, south, east, north = _framed(extent, self.stretch)
        shape = (north - south) / (east - west) * self.stretch
        wide = min(_MAP_INCHES, _TALLEST_INCHES / shape)
        self.inches = wide, wide * shape
        self.figure, self.axes = new_figure(wide + _LEGEND_INCHES, wide * shape + 0.9)
        self.axes.set_xlim(west, east)
        self.axes.set_ylim(south, north)
        self.axes.set_aspect(self.stretch)
        self.axes.set_xticks([])
        self.axes.set_yticks([])
        for side in self.axes.spines.values():
            side.set_color("#777777")
            side.set_linewidth(0.8)
        if title:
            self.axes.set_title(plain_title(title, 72), loc="left", fontsize=12, color=INK, pad=8)

    def lay(self, background: Background | None, *, grey: bool) -> bool:
        """Draw the scene and return whether there is one."""
        if background is None:
            return False
        west, south, east, north = self.extent
        size = max(2, round(self.inches[1] * _DOTS)), max(2, round(self.inches[0] * _DOTS))
        try:
            tile = background.read_bounds(self.extent, self.crs, size=size)
        except InputError as error:
            # The map is right without; who named another scene shall hear of it.
            _log.warning("The map has no background: %s", error)
            return False
        picture = _picture(tile, grey=grey)
        self.axes.imshow(
            picture,
            extent=(west, east, south, north),
            aspect=self.stretch,
            interpolation="bilinear",
            zorder=0,
        )
        return True

    def finish(self, path: str | Path, background: Background | None, note: str) -> None:
        """Add what every map has, and write the file."""
        furniture.add_scale_bar(self.axes, self.extent, self.crs, self.inches[1])
        furniture.add_north(self.axes, self.extent, self.crs)
        scene = f"image {background.name}" if background is not None else ""
        line = ", ".join(part for part in (furniture.place_line(self.extent, self.crs), scene, note) if part)
        self.axes.set_xlabel(
            plain_title(line, round(16 * (self.inches[0] + _LEGEND_INCHES))),
            fontsize=7,
            color="#555555",
            loc="left",
            labelpad=18,
        )
        save_figure(self.figure, path)


def _framed(extent: Bounds, stretch: float) -> Bounds:
    """Return a rectangle around ``extent`` that is neither too low nor too high to be read."""
    west, south, east, north = extent
    wide, high = east - west, (north - south) * stretch
    more_x = max(0.0, high / _HIGHEST - wide) / 2
    more_y = max(0.0, wide * _LOWEST - high) / 2 / stretch
    return west - more_x, south - more_y, east + more_x, north + more_y


def _extent(places: Tiles | Regions, margin: float) -> Bounds:
    """Return (west, south, east, north) around places, with a margin."""
    if isinstance(places, Tiles):
        places.take([0]).footprints()
        west, south, east, north = places.extent
    else:
        west, south, east, north = places.bounds
    pad = margin * max(east - west, north - south)
    return west - pad, south - pad, east + pad, north + pad


def _scene_extent(background: Background | None, places: Tiles) -> Bounds:
    """Return what lies around tiles and, in the same coordinate system, the scene."""
    around = _extent(places, 0.0 if background is not None else 0.03)
    bounds = getattr(background, "bounds", None)
    if bounds is None or getattr(background, "crs", None) != places.crs:
        return around
    lows, highs = np.minimum(around[:2], bounds[:2]), np.maximum(around[2:], bounds[2:])
    return float(lows[0]), float(lows[1]), float(highs[0]), float(highs[1])


def _picture(tile: TileImage, *, grey: bool) -> NDArray[np.float32]:
    """Return float32 [H, W, 3] in [0, 1]; invalid pixels are paper."""
    image = tile.image.numpy()
    image = image[:3] if len(image) >= 3 else np.repeat(image[:1], 3, axis=0)
    picture = np.clip(np.nan_to_num(image), 0, 1).transpose(1, 2, 0)
    if grey:
        # Pale, so that the colours of the values keep their meaning.
        picture = np.repeat(0.55 + 0.45 * (picture @ np.array([0.299, 0.587, 0.114]))[..., None], 3, axis=2)
    mask = tile.mask.numpy()[..., None]
    return np.where(mask, picture, 1.0).astype(np.float32)


def _draw_values(
    axes: Axes,
    values: NDArray[np.float64],
    places: Tiles | Regions,
    classes: Sequence[str] | None,
    opacity: float,
) -> Any:
    """Draw the places that have a value and return the coloured layer, or None where none has."""
    from matplotlib.colors import BoundaryNorm, ListedColormap

    known = np.isfinite(values)
    if not known.any():
        return None
    if classes is None:
        style: dict[str, Any] = {"cmap": VALUES, "norm": _norm(values[known])}
    else:
        colors = ListedColormap([as_hex(color) for color in class_colors(classes)])
        style = {"cmap": colors, "norm": BoundaryNorm(np.arange(len(classes) + 1) - 0.5, colors.N)}
    image = _image(values, places) if isinstance(places, Tiles) else None
    if image is not None:
        pixels, extent = image
        return axes.imshow(
            pixels, extent=extent, aspect=axes.get_aspect(), interpolation="nearest", alpha=opacity,
            zorder=2, **style,
        )  # fmt: skip
    from matplotlib.collections import PathCollection

    shapes = furniture.paths_of(_shapes(places)[known])
    layer = PathCollection(
        shapes, array=values[known], alpha=opacity, linewidths=0.3, edgecolors="white", zorder=2, **style
    )
    axes.add_collection(layer, autolim=False)
    return layer


def _image(
    values: NDArray[np.float64], tiles: Tiles
) -> tuple[NDArray[np.float32], tuple[float, float, float, float]] | None:
    """Return pixels and (west, east, south, north) of them, or None where tiles are few and far apart."""
    try:
        raster = raster_of(tiles)
    except LimitError:
        return None
    if raster.lattice is None and raster.width * raster.height > _MOST_PIXELS:
        return None
    across, _, west, _, down, north = raster.transform
    extent = west, west + across * raster.width, north + down * raster.height, north
    return raster.image(values[None].astype(np.float32))[0], extent


def _norm(values: NDArray[np.float64]) -> Normalize:
    """Return how numbers become colours."""
    from matplotlib.colors import LogNorm, Normalize

    low, middle, high = (float(bound) for bound in np.percentile(values, [1, 50, 99]))
    if high <= low or len(values) < _FEW:
        low, high = float(values.min()), float(values.max())
    if high <= low:
        return Normalize(low - 0.5, low + 0.5)
    return LogNorm(low, high) if low > 0 and high > _SKEWED * middle else Normalize(low, high)


def _hatch(axes: Axes, places: Tiles | Regions, missing: NDArray[np.bool_], *, in_legend: bool) -> None:
    """Hatch the places without a value, joined so that neighbours have no border."""
    from matplotlib.collections import PathCollection
    from matplotlib.patches import Patch

    shapely = require("shapely", extra="urban")
    joined = shapely.union_all(_shapes(places)[missing])
    layer = PathCollection(
        furniture.paths_of([joined]),
        facecolors="none",
        edgecolors=MISSING,
        hatch="////",
        linewidths=0.5,
        zorder=3,
    )
    axes.add_collection(layer, autolim=False)
    if in_legend:
        patch = Patch(facecolor="white", edgecolor=MISSING, hatch="////", label="no value")
        axes.legend(
            handles=[patch], loc="upper right", bbox_to_anchor=(1.005, -0.002), fontsize=8, frameon=False,
            borderaxespad=0.2, labelcolor=INK,
        )  # fmt: skip


def _name_regions(axes: Axes, places: Regions) -> None:
    """Write the name of each region into it."""
    from matplotlib.patheffects import withStroke

    shapely = require("shapely", extra="urban")
    spots = shapely.get_coordinates(shapely.point_on_surface(places.geometries))
    for name, (x, y) in zip(places.ids, spots, strict=True):
        text = axes.text(
            x, y, plain_title(name, 18), ha="center", va="center", fontsize=8, color="#222222", zorder=5,
            clip_on=True,
        )  # fmt: skip
        text.set_path_effects([withStroke(linewidth=2.5, foreground="white", alpha=0.85)])


def _outlines(axes: Axes, places: Tiles) -> None:
    from matplotlib.collections import PathCollection

    layer = PathCollection(
        furniture.paths_of(_shapes(places)),
        facecolors="#F2F2F2",
        edgecolors="#D5D5D5",
        linewidths=0.4,
        zorder=1,
    )
    axes.add_collection(layer, autolim=False)


def _draw_marks(axes: Axes, marks: Sequence[Mark], places: Tiles, groups: int) -> None:
    from matplotlib.patches import Rectangle

    colors = class_colors(groups)
    drawn: dict[int, int] = {}
    for mark in marks:
        west, south, east, north = places.bounds[mark.row].tolist()
        color = as_hex(colors[mark.group])
        # A tile that several queries found has their frames inside each other, and their labels in a row.
        inside = drawn.get(mark.row, 0)
        drawn[mark.row] = inside + 1
        share = min(0.4, 0.13 * inside)
        corner = west + share * (east - west), south + share * (north - south)
        sides = (1 - 2 * share) * (east - west), (1 - 2 * share) * (north - south)
        for width, line in ((3.4, "white"), (2.0, color)):
            axes.add_patch(Rectangle(corner, *sides, fill=False, edgecolor=line, linewidth=width, zorder=4))
        axes.annotate(
            mark.label,
            (east, north),
            xytext=(1 + 13 * inside, 1),
            textcoords="offset points",
            fontsize=7,
            color="white",
            fontweight="bold",
            zorder=6,
            annotation_clip=True,
            bbox={"boxstyle": "round,pad=0.18", "facecolor": color, "edgecolor": "white", "linewidth": 0.6},
        )


def _shapes(places: Tiles | Regions) -> NDArray[np.object_]:
    return places.boxes() if isinstance(places, Tiles) else np.asarray(places.geometries)
