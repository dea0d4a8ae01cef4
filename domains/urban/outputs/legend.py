"""What the colours of a map stand for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ....core.plots import plain_title
from .colors import INK, MISSING, as_hex, class_colors

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def add_color_bar(figure: Figure, axes: Axes, shown: Any, values: NDArray[np.float64], unit: str) -> None:
    """Show what the colours of a layer stand for; points say that some values lie beyond."""
    low, high = shown.norm.vmin, shown.norm.vmax
    below, above = bool(np.nanmin(values) < low), bool(np.nanmax(values) > high)
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max"}.get(
        (below, above), "both"
    )
    bar = figure.colorbar(shown, ax=axes, fraction=0.05, pad=0.025, extend=extend, shrink=0.85)
    bar.solids.set_alpha(1.0)  # pyright: ignore[reportOptionalMemberAccess]
    bar.set_label(plain_title(unit, 48), color=INK, fontsize=10)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    # Plain numbers on logarithmic bars, too: powers of ten are read by few.
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
    bar.ax.minorticks_off()
    bar.ax.tick_params(length=0, colors=INK, labelsize=9)


def add_classes(axes: Axes, values: NDArray[np.float64], classes: Sequence[str]) -> None:
    """Name the classes that occur, most frequent first, with their share of the places."""
    from matplotlib.patches import Patch

    known = values[np.isfinite(values)].astype(np.int64)
    counts = np.bincount(known, minlength=len(classes))
    colors = class_colors(classes)
    entries: list[Any] = [
        Patch(
            facecolor=as_hex(colors[place]),
            edgecolor="#666666",
            linewidth=0.5,
            label=f"{plain_title(str(classes[int(place)]), 26)}  {counts[place] / len(values):.0%}",
        )
        for place in np.argsort(-counts, kind="stable")
        if counts[place]
    ]
    if len(known) < len(values):
        share = (len(values) - len(known)) / len(values)
        entries.append(
            Patch(facecolor="white", edgecolor=MISSING, hatch="////", label=f"no value  {share:.0%}")
        )
    _legend(axes, entries[:24])


def add_groups(axes: Axes, groups: Sequence[int], names: Sequence[str]) -> None:
    """Name the groups of marks, with how many each has."""
    from matplotlib.patches import Patch

    colors = class_colors(len(names))
    counts = np.bincount(np.asarray(groups, np.int64), minlength=len(names))
    entries = [
        Patch(
            facecolor="none",
            edgecolor=as_hex(color),
            linewidth=2,
            label=f"{plain_title(name, 26)}  ({count})",
        )
        for color, name, count in zip(colors, names, counts, strict=True)
    ]
    _legend(axes, entries[:24])


def _legend(axes: Axes, entries: list[Any]) -> None:
    axes.legend(
        handles=entries,
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        borderaxespad=0.2,
        handlelength=1.4,
    )
