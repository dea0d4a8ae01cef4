"""Figures for reports and model cards, written as PNG."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .console import shown
from .errors import InputError
from .files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart with every common form of colour blindness.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
INK = "#333333"
_FURTHER_FONTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei", "Microsoft YaHei", "SimHei", "PingFang SC", "Hiragino Sans", "Malgun Gothic",
    "Arial Unicode MS", "Noto Sans Arabic", "Noto Sans Devanagari", "Noto Sans Thai", "Noto Sans Hebrew",
)  # fmt: skip
_MISSING_LETTER = "missing from font"


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


def plain_title(text: str, longest: int) -> str:
    """Return a title that fits, holds no formula and nothing that no font can draw: stray bytes of a name."""
    text = shown(text)
    return (text if len(text) <= longest else text[: longest - 1] + "…").replace("$", r"\$")


def made_by(model: str, revision: str, note: str = "") -> str:
    """Return the line below a picture: model, revision and a note; of a folder only its name."""
    local = model.startswith((".", "~")) or Path(model).is_absolute()
    return ", ".join(part for part in (Path(model).name if local else model, revision[:19], note) if part)


def new_figure(width: float, height: float, *, columns: int = 1, rows: int = 1) -> tuple[Figure, Any]:
    """Return a figure outside pyplot, so that nothing global is left behind, and its axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes: Axes | np.ndarray[Any, Any] = figure.subplots(rows, columns)
    return figure, axes


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure of :func:`new_figure` as PNG; equal figures give equal bytes.

    Warns:
        UserWarning: no installed font has some of the letters; they are drawn as boxes.
    """
    _add_fonts(figure)
    with atomic_path(path) as temporary, warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        # Without metadata equal inputs give equal bytes.
        figure.savefig(
            temporary, format="png", bbox_inches="tight", pad_inches=0.15, metadata={"Software": None}
        )
    missing = [entry for entry in seen if _MISSING_LETTER in str(entry.message)]
    for entry in seen:
        if entry not in missing:
            warnings.warn_explicit(entry.message, entry.category, entry.filename, entry.lineno)
    if missing:
        warnings.warn(
            f"{Path(path).name}: no installed font has some of the letters, so they are boxes. Install one "
            "that does, for example Noto Sans CJK.",
            stacklevel=2,
        )


def _add_fonts(figure: Figure) -> None:
    """Let text in other scripts fall back on fonts that are installed; matplotlib's own has no Chinese."""
    from matplotlib.font_manager import fontManager
    from matplotlib.text import Text

    texts: list[Any] = [text for text in figure.findobj(Text) if not text.get_text().isascii()]  # pyright: ignore[reportAttributeAccessIssue]
    if not texts:
        return
    installed = {font.name for font in fontManager.ttflist}
    further = [name for name in _FURTHER_FONTS if name in installed]
    for text in texts:
        text.set_fontfamily([*text.get_fontfamily(), *further])
