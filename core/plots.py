"""Figures for reports and model cards, written as PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .errors import InputError
from .files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

# Okabe and Ito's palette: told apart with every common form of colour blindness.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
INK = "#333333"
_DRAWN_PER_INCH = 250
"""Pixels of a picture worth handing to the renderer per inch of figure, at its 150 dots per inch."""


def save_confusion_matrix(
    confusion: ArrayLike, class_names: Sequence[str], path: str | Path, *, title: str = "Confusion matrix"
) -> None:
    """Write a confusion matrix as PNG: counts as text, share of the row as colour.

    Args:
        confusion: int [K, K], row = target, column = prediction.
        class_names: K names in order.
        path: file to write.
        title: line above the figure.

    Raises:
        InputError: not a square matrix of counts, or another number of names.
    """
    table = np.asarray(confusion)
    count = len(class_names)
    if table.shape != (count, count) or not count or not np.issubdtype(table.dtype, np.integer):
        raise InputError(
            f"confusion must be integer counts [{count}, {count}] for {count} class names, got "
            f"{table.dtype} {table.shape}."
        )
    rows = table.sum(axis=1, keepdims=True)
    share = table / np.maximum(rows, 1)
    side = min(1.6 + 0.62 * count, 13)
    longest = max(map(len, class_names))
    figure, axes = new_figure(side + 1.6 + 0.09 * min(longest, 24), side + 0.06 * min(longest, 24))
    picture = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    # A dollar sign would start a formula.
    short = [(name if len(name) <= 24 else name[:23] + "…").replace("$", r"\$") for name in class_names]
    axes.set_xticks(range(count), short, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(
        range(count), [f"{name} ({total})" for name, total in zip(short, rows[:, 0], strict=True)]
    )
    axes.set_xlabel("predicted")
    axes.set_ylabel("true (rows)")
    axes.set_title(title, loc="left", fontsize=12, pad=10)
    axes.set_xticks(np.arange(count + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(count + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    # Beyond this, counts would overlap; the colour remains.
    if count <= 30:
        for (row, column), value in np.ndenumerate(table):
            axes.text(
                column,
                row,
                f"{value:,}",
                ha="center",
                va="center",
                fontsize=10 if count <= 12 else 6,
                color="white" if share[row, column] > 0.55 else INK,
            )
    bar = figure.colorbar(picture, ax=axes, fraction=0.046, pad=0.03)
    bar.set_label("share of the true class")
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    bar.ax.tick_params(length=0)
    save_figure(figure, path)


def save_curves(
    curves: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]],
    path: str | Path,
    *,
    title: str = "Training",
    x_label: str = "step",
) -> None:
    """Write curves as PNG, one panel per quantity and one line per series.

    Args:
        curves: {quantity: {series: (x values, y values)}}, e.g. ``{"loss": {"train": (x, y)}}``.
            Values that are not finite leave a gap.
        path: file to write.
        title: line above the figure.
        x_label: name of the horizontal axis.

    Raises:
        InputError: no curves, or x and y of different length.
    """
    if not curves or not all(curves.values()):
        raise InputError("curves needs at least one quantity with one series each.")
    for quantity, series in curves.items():
        for name, (x, y) in series.items():
            if len(x) != len(y) or not len(x):
                raise InputError(
                    f"{quantity}/{name}: {len(x)} x values for {len(y)} y values; expected equal, > 0."
                )
    figure, panels = new_figure(4.6 * len(curves) + 0.4, 3.6, columns=len(curves))
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    names = list(dict.fromkeys(name for series in curves.values() for name in series))
    for axes, (quantity, series) in zip(np.atleast_1d(panels), curves.items(), strict=True):
        for name, (x, y) in series.items():
            axes.plot(
                x,
                np.where(np.isfinite(y), y, np.nan),
                color=COLORS[names.index(name) % len(COLORS)],
                linewidth=1.8,
                marker="o" if len(x) <= 25 else None,
                markersize=3.5,
                label=name,
            )
        axes.set_title(quantity, loc="left", fontsize=10, color=INK)
        axes.set_xlabel(x_label)
        axes.grid(axis="y", color="#DDDDDD", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color("#999999")
        axes.tick_params(colors=INK, length=3)
        if len(series) > 1:
            axes.legend(facecolor="white", edgecolor="none", framealpha=0.9, fontsize=9)
    save_figure(figure, path)


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
    if not panels:
        raise InputError("There are no pictures to draw; give at least one panel.")
    images = [np.asarray(panel.image, dtype=np.float32) for panel in panels]
    maps = [None if panel.values is None else np.asarray(panel.values, np.float32) for panel in panels]
    for image, values in zip(images, maps, strict=True):
        grey_or_colour = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
        if not grey_or_colour or (values is not None and values.shape != image.shape[:2]):
            raise InputError(
                f"A picture is [H, W] or [H, W, 3] and its map [H, W]; got {image.shape} and "
                f"{None if values is None else values.shape}."
            )
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
    colours = _colour_range(value_range, [values for values in maps if values is not None])
    shown = None
    places = np.atleast_1d(axes).flatten()
    for place, panel, image, values in zip(places, panels, images, maps, strict=False):
        step = max(1, max(image.shape[:2]) // int(_DRAWN_PER_INCH * panel_inches))
        shown = _draw_panel(place, panel, (image, values), step, colours) or shown
    for place in places:
        place.set_axis_off()
    if title:
        lines = "\n".join(plain_title(line, 24 * columns + 40) for line in title.splitlines())
        figure.suptitle(lines, x=0.01, ha="left", fontsize=11, color=INK)
    if shown is not None:
        bar = figure.colorbar(shown, ax=list(places), fraction=0.046, pad=0.02)
        bar.solids.set_alpha(1.0)  # pyright: ignore[reportOptionalMemberAccess]
        bar.set_label(_unit_of(value_range), color=INK)
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
        bar.ax.tick_params(length=0, colors=INK)
    if note:
        figure.supxlabel(plain_title(note, 24 * columns + 60), x=0.01, ha="left", fontsize=7, color=INK)
    save_figure(figure, path)


def _draw_panel(
    axes: Axes,
    panel: Panel,
    layers: tuple[np.ndarray, np.ndarray | None],
    step: int,
    colours: tuple[float, float],
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
        low, high = colours
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


def _colour_range(value_range: tuple[float, float], maps: Sequence[np.ndarray]) -> tuple[float, float]:
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


def plain_title(text: str, longest: int) -> str:
    """Return a title that fits and holds no formula."""
    return (text if len(text) <= longest else text[: longest - 1] + "…").replace("$", r"\$")


def made_by(model: str, revision: str, note: str = "") -> str:
    """Return the line below a picture: model, revision and a note; of a folder only its name."""
    local = model.startswith((".", "~")) or Path(model).is_absolute()
    return ", ".join(part for part in (Path(model).name if local else model, revision[:19], note) if part)


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


def new_figure(width: float, height: float, *, columns: int = 1, rows: int = 1) -> tuple[Figure, Any]:
    """Return a figure outside pyplot, so that nothing global is left behind, and its axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes: Axes | np.ndarray[Any, Any] = figure.subplots(rows, columns)
    return figure, axes


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure of :func:`new_figure` as PNG; equal figures give equal bytes."""
    with atomic_path(path) as temporary:
        # Without metadata equal inputs give equal bytes.
        figure.savefig(
            temporary, format="png", bbox_inches="tight", pad_inches=0.15, metadata={"Software": None}
        )
