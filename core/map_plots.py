"""Pictures with maps over them, written as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .errors import InputError
from .plots import INK, new_figure, plain_title, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

_DRAWN_PER_INCH = 250
"""Pixels of a picture worth handing to the renderer per inch of figure, at its 150 dots per inch."""


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture of a montage.

    Attributes:
        image: float [H, W], shown in grey, or [H, W, 3], in colour; in [0, 1].
        values: float [H, W] over the image, NaN where nothing is to be shown; None for none.
        title: line above.
        spacing: (between rows, between columns), in any unit; sets the shape of a pixel.
        boxes: (x0, y0, x1, y1, ...) in pixels, drawn as rectangles.
    """

    image: ArrayLike
    values: ArrayLike | None = None
    title: str = ""
    spacing: tuple[float, float] = (1.0, 1.0)
    boxes: Sequence[Sequence[float]] = ()


def save_heat_map(
    values: ArrayLike,
    image: ArrayLike,
    path: str | Path,
    *,
    title: str = "",
    value_range: tuple[float, float] = (-1.0, 1.0),
    boxes: Sequence[Sequence[float]] = (),
    note: str = "",
) -> None:
    """Write a map over its image as PNG; arguments as in :class:`Panel` and :func:`save_montage`.

    Raises:
        InputError: image and map differ in size.
    """
    panel = Panel(image, values, title, boxes=boxes)
    save_montage([panel], path, value_range=value_range, panel_inches=5.0, note=note)


def save_montage(
    panels: Sequence[Panel],
    path: str | Path,
    *,
    title: str = "",
    columns: int = 4,
    value_range: tuple[float, float] = (-1.0, 1.0),
    panel_inches: float = 2.6,
    note: str = "",
) -> None:
    """Write pictures in rows as PNG, with one colour bar where any has a map.

    For cosines (-1 to 1), their change (-2 to 2), distances of unit vectors (0 to 2) and
    probabilities (0 to 1) the colours span that range whatever the maps hold, so that figures can be
    compared; for other numbers they span what the maps of this figure hold. Blue to red through white
    where there are both signs, dark to light else. Where a map is weak its lines of equal value, which
    carry their numbers, still show its shape. NaN stays clear.

    Args:
        panels: at least one.
        path: file to write.
        title: lines above the figure.
        columns: pictures per row.
        value_range: (lowest, highest) value a map can take.
        panel_inches: width of a picture, at 150 dots per inch.
        note: small line below the figure: what it was made with, what it must not be used for.

    Raises:
        InputError: no pictures, or an image and its map differ in size.
    """
    images, maps = _layers(panels)
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    shapes = [
        image.shape[0] * panel.spacing[0] / (image.shape[1] * panel.spacing[1])
        for image, panel in zip(images, panels, strict=True)
    ]
    tallest = min(max(shapes), 3.0)
    figure, axes = new_figure(
        panel_inches * columns + 1.0,
        (panel_inches * tallest + 0.35) * rows + 0.35 * len(title.splitlines()),
        columns=columns,
        rows=rows,
    )
    colors = _color_range(value_range, [values for values in maps if values is not None])
    shown = None
    places = np.atleast_1d(axes).flatten()
    for place, panel, image, values in zip(places, panels, images, maps, strict=False):
        step = max(1, max(image.shape[:2]) // int(_DRAWN_PER_INCH * panel_inches))
        shown = _draw_panel(place, panel, (image, values), step, colors) or shown
    for place in places:
        place.set_axis_off()
    if title:
        lines = "\n".join(plain_title(line, 24 * columns + 40) for line in title.splitlines())
        figure.suptitle(lines, x=0.01, ha="left", fontsize=11, color=INK)
    if shown is not None:
        _add_bar(figure, shown, list(places), _unit_of(value_range))
    if note:
        figure.supxlabel(plain_title(note, 24 * columns + 60), x=0.01, ha="left", fontsize=7, color=INK)
    save_figure(figure, path)


def _layers(panels: Sequence[Panel]) -> tuple[list[np.ndarray], list[np.ndarray | None]]:
    """Return pictures and maps as float32.

    Raises:
        InputError: there are none, or an image and its map differ in size.
    """
    if not panels:
        raise InputError("There are no pictures to draw; give at least one panel.")
    images = [np.asarray(panel.image, dtype=np.float32) for panel in panels]
    maps = [None if panel.values is None else np.asarray(panel.values, np.float32) for panel in panels]
    for image, values in zip(images, maps, strict=True):
        gray_or_color = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
        if not gray_or_color or (values is not None and values.shape != image.shape[:2]):
            raise InputError(
                f"A picture is [H, W] or [H, W, 3] and its map [H, W]; got {image.shape} and "
                f"{None if values is None else values.shape}."
            )
    return images, maps


def _add_bar(figure: Figure, shown: Any, places: list[Axes], label: str) -> None:
    """Add the colour bar that all maps of a figure share."""
    bar = figure.colorbar(shown, ax=places, fraction=0.046, pad=0.02)
    bar.solids.set_alpha(1.0)  # pyright: ignore[reportOptionalMemberAccess]
    bar.set_label(label, color=INK)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    bar.ax.tick_params(length=0, colors=INK)


def _draw_panel(
    axes: Axes,
    panel: Panel,
    layers: tuple[np.ndarray, np.ndarray | None],
    step: int,
    colors: tuple[float, float],
) -> AxesImage | None:
    """Draw one picture, made smaller by whole steps; return the coloured layer, if any."""
    from matplotlib.patches import Rectangle

    image, values = layers
    height, width = image.shape[0] // step * step, image.shape[1] // step * step
    frame: dict[str, Any] = {
        "aspect": panel.spacing[0] / panel.spacing[1],
        "extent": (-0.5, width - 0.5, height - 0.5, -0.5),  # so that boxes and lines stay in pixels
    }
    blocks = image[:height, :width].reshape(height // step, step, width // step, step, *image.shape[2:])
    axes.imshow(blocks.mean(axis=(1, 3)).clip(0, 1), cmap="gray", vmin=0, vmax=1, **frame)
    shown = None
    if values is not None and np.isfinite(values).any():
        low, high = colors
        values = values[step // 2 : height : step, step // 2 : width : step]
        diverging = low < 0 < high
        span = max(abs(low), abs(high)) if diverging else high - low
        strength = np.abs(values) if diverging else values - low
        # The middle of the scale is nearly transparent, so that it does not veil the picture.
        opacity = np.nan_to_num(0.12 + 0.43 * np.sqrt(np.clip(strength / span, 0, 1)), nan=0.0)
        shown = axes.imshow(
            values, cmap="RdBu_r" if diverging else "magma", vmin=low, vmax=high, alpha=opacity, **frame
        )
        _draw_lines(axes, values, step)
    for x0, y0, x1, y1, *_ in panel.boxes:
        for line, color in ((2.6, "black"), (1.4, "#F0E442")):
            style = {"fill": False, "edgecolor": color, "linewidth": line, "zorder": 5}
            axes.add_patch(Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, **style))
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
    if panel.title:
        axes.set_title(plain_title(panel.title, 60), loc="left", fontsize=9, color=INK, wrap=True)
    return shown


def _draw_lines(axes: Axes, values: np.ndarray, step: int) -> None:
    """Draw up to five lines of equal value with their numbers, at round values inside the map's range."""
    from matplotlib.patheffects import withStroke
    from matplotlib.ticker import MaxNLocator

    finite = values[np.isfinite(values)]
    low, high = float(finite.min()), float(finite.max())
    if high - low < 1e-6 or min(values.shape) < 2:
        return
    levels = [level for level in MaxNLocator(5).tick_values(low, high) if low < level < high]
    if levels:
        rows, columns = (step // 2 + step * np.arange(count) for count in values.shape)
        lines = axes.contour(
            columns, rows, np.ma.masked_invalid(values), levels, colors="white", linewidths=0.7
        )
        # A dark rim keeps white lines and numbers readable on bright pictures.
        rim: list[Any] = [withStroke(linewidth=1.6, foreground="black", alpha=0.6)]
        lines.set_path_effects(rim)
        for text in axes.clabel(lines, fontsize=6, fmt="%g"):
            text.set_path_effects(rim)


def _color_range(value_range: tuple[float, float], maps: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return the values of the first and the last colour; around 0 where there are both signs."""
    low, high = value_range
    if not low < high:
        raise InputError(f"value_range must be (lowest, highest) with lowest < highest, got {value_range}.")
    finite = [values[np.isfinite(values)] for values in maps]
    filled = [values for values in finite if values.size]
    if _unit_of(value_range) != "logit" or not filled:
        return low, high
    low, high = min(float(v.min()) for v in filled), max(float(v.max()) for v in filled)
    if low < 0 < high:
        return -max(-low, high), max(-low, high)
    return (low, high) if low < high else (low - 1.0, high + 1.0)


def _unit_of(value_range: tuple[float, float]) -> str:
    units = {
        (-1.0, 1.0): "cosine",
        (0.0, 1.0): "probability",
        (-2.0, 2.0): "change of cosine",
        (0.0, 2.0): "distance of unit vectors",
    }
    return units.get((float(value_range[0]), float(value_range[1])), "logit")


def save_tile_map(
    weights: ArrayLike, places: ArrayLike, path: str | Path, *, side: float | None = None, title: str = ""
) -> None:
    """Write the weight of each tile of a slide as a coloured square where the tile lies, as PNG.

    Args:
        weights: float [N], 0 or more; the brightest colour is the largest.
        places: float [N, 2], x and y of each tile's top left corner.
        path: file to write.
        side: of a tile in the unit of ``places``; None takes the smallest step between two places.
        title: line above the figure.

    Raises:
        InputError: no tiles, lengths that differ, or places or weights that are not finite.
    """
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    heights, corners = np.asarray(weights, dtype=np.float64), np.asarray(places, dtype=np.float64)
    if not heights.size or heights.ndim != 1 or corners.shape != (len(heights), 2):
        raise InputError(f"weights must be [N] and places [N, 2]; got {heights.shape} and {corners.shape}.")
    if not (np.isfinite(heights).all() and np.isfinite(corners).all()):
        raise InputError("weights and places must be finite numbers.")
    if side is None:
        steps = np.concatenate([np.diff(np.unique(corners[:, axis])) for axis in (0, 1)])
        side = float(steps.min()) if steps.size else 1.0
    extent = np.ptp(corners, axis=0) + side
    ratio = float(np.clip(extent[1] / extent[0], 0.3, 3.0))
    figure, axes = new_figure(6.0 if ratio <= 1 else 6.0 / ratio + 1.5, 6.0 * min(ratio, 1.0) + 0.8)
    squares = PatchCollection([Rectangle((x, y), side, side) for x, y in corners], cmap="magma", linewidth=0)
    squares.set_array(heights)
    squares.set_clim(0.0, float(heights.max()) or 1.0)
    axes.add_collection(squares)
    axes.set_xlim(corners[:, 0].min(), corners[:, 0].max() + side)
    axes.set_ylim(corners[:, 1].max() + side, corners[:, 1].min())
    axes.set_aspect("equal")
    axes.set_facecolor("#EEEEEE")
    axes.spines[:].set_visible(False)
    axes.tick_params(colors=INK, length=3, labelsize=7)
    axes.set_title(plain_title(title, 80), loc="left", fontsize=10, color=INK)
    bar = figure.colorbar(squares, ax=axes, fraction=0.046, pad=0.03)
    bar.set_label("attention (sums to 1 over the bag)", color=INK)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    bar.ax.tick_params(length=0, colors=INK, labelsize=7)
    save_figure(figure, path)
