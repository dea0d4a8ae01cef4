"""The scores of a test set as a picture: a row per species, and where the threshold cuts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..metrics.iso import BONA_FIDE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .report import LivenessReport

_BINS = 60
_ROWS = 12


def save_scores(report: LivenessReport, path: str | Path) -> None:
    """Write histograms of the scores as PNG, bona fides first, each row scaled by itself.

    Margins are drawn where presentations were compared by them: probabilities pile up at 0 and 1.
    """
    from ....core.plots import COLORS, INK, new_figure, plain_title, save_figure

    values = {name: _values(report, name) for name in _species(report)}
    present = np.asarray([value for value in report.values if value is not None], dtype=np.float64)
    threshold = report.threshold.applied
    edges = _edges(present, threshold)
    figure, panels = new_figure(7.2, 0.8 + 0.85 * len(values), rows=len(values))
    panels = list(np.atleast_1d(panels))
    for axes, (name, (found, missing)) in zip(panels, values.items(), strict=True):
        color = COLORS[2] if name == BONA_FIDE else COLORS[1]
        axes.hist(found, bins=edges, color=color, alpha=0.85)
        if math.isfinite(threshold):
            axes.axvline(threshold, color=INK, linewidth=1.2)
        silent = f", {missing:,} without response" if missing else ""
        axes.set_title(
            plain_title(f"{name} (n={len(found) + missing:,}{silent})", 80), loc="left", fontsize=8.5, pad=3
        )
        _bare(axes, last=axes is panels[-1])
        axes.set_xlim(edges[0], edges[-1])
    scale = "log-odds of live" if report.threshold.compared == "margin" else "score"
    side = "line: threshold, accepted to the right of it"
    if math.isinf(threshold):
        side = "nothing is accepted" if threshold > 0 else "everything is accepted"
    panels[-1].set_xlabel(f"{scale}; {side}", fontsize=9, color=INK)
    name = report.system or "Presentation attack detection"
    figure.suptitle(plain_title(f"{name}: scores", 80), x=0.01, ha="left", fontsize=11)
    save_figure(figure, path)


def _species(report: LivenessReport) -> list[str]:
    """Return bona fides and the species with the largest APCER, as many as can be read."""
    worst = sorted(report.iso.apcer, key=lambda name: (-(report.iso.apcer[name].value or 0.0), name))
    return ([BONA_FIDE] if report.iso.bpcer.n else []) + sorted(worst[: _ROWS - 1])


def _values(report: LivenessReport, species: str) -> tuple[np.ndarray, int]:
    of_species = [
        value for row, value in zip(report.rows, report.values, strict=True) if row.species == species
    ]
    found = np.asarray([value for value in of_species if value is not None], dtype=np.float64)
    return found, len(of_species) - len(found)


def _edges(present: np.ndarray, threshold: float) -> np.ndarray:
    """Return bin edges over all scores, the same for every row; one edge is the threshold.

    So no bar holds accepted and refused presentations at once.
    """
    start = threshold if math.isfinite(threshold) else float(present.min())
    low, high = min(float(present.min()), start), max(float(present.max()), start)
    width = (high - low) / _BINS or 1 / _BINS
    # One bin more on either side: the last bin of a histogram is closed, and the picture needs a margin.
    first, last = math.floor((low - start) / width) - 1, math.floor((high - start) / width) + 2
    return start + width * np.arange(first, last + 1)


def _bare(axes: Axes, *, last: bool) -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines[["bottom"]].set_color("#999999")
    axes.tick_params(left=False, labelleft=False, labelbottom=last, length=3, labelsize=8, colors="#333333")
