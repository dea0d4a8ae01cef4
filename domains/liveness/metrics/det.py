"""Detection error tradeoff: every APCER against BPCER, as points and as a picture on normal deviate axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ....core.errors import DataError
from .iso import IsoReport, Presentations, group_presentations
from .numbers import json_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 512
"""Points of a curve that a report holds; the score table holds them all."""

_TICKS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95)
_TOP = 0.97
"""Where the axes end."""
_DRAWN_SPECIES = 12

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DetCurve:
    """Rates at every threshold at which one changes, from accepting all to refusing all.

    Attributes:
        thresholds: float64 [P], the distinct scores ascending, then +inf.
        bpcer, apcer_max, apcer_pooled: float64 [P]. apcer: {species: float64 [P]}.
        counts: {species: attack presentations}. bona_fides: presentations.
    """

    thresholds: Floats
    bpcer: Floats
    apcer_max: Floats
    apcer_pooled: Floats
    apcer: Mapping[str, Floats]
    counts: Mapping[str, int]
    bona_fides: int

    def to_dict(self, points: int = POINTS) -> dict[str, object]:
        """Return plain values for JSON, of at most ``points`` thresholds that change something."""
        kept = self._kept(points)
        return {
            "points_of": len(self.thresholds),
            "threshold": [json_number(float(value)) for value in self.thresholds[kept]],
            "bpcer": self.bpcer[kept].tolist(),
            "apcer_max": self.apcer_max[kept].tolist(),
            "apcer_pooled": self.apcer_pooled[kept].tolist(),
            "apcer": {name: rates[kept].tolist() for name, rates in self.apcer.items()},
        }

    def _kept(self, points: int) -> NDArray[np.int64]:
        count = len(self.thresholds)
        if count <= points:
            return np.arange(count)
        # Equal steps along the curve, not in scores: most scores lie where nothing is decided.
        travelled = np.abs(np.diff(self.bpcer, prepend=0)) + np.abs(np.diff(self.apcer_max, prepend=1))
        wanted = np.linspace(0, travelled.sum(), points - 1)
        found = np.searchsorted(np.cumsum(travelled), wanted).clip(0, count - 1)
        return np.unique(np.append(found, [0, count - 1]))[:points]


def det_curve(scores: Sequence[float | None], species: Sequence[str]) -> DetCurve:
    """Return APCER and BPCER at every threshold, counted as in :mod:`.iso`.

    Args:
        scores: N finite numbers, higher = more live; None = no response.
        species: N names, ``bona_fide`` or an attack species.

    Raises:
        DataError: there are no bona fides or no attacks.
        InputError: lengths differ or a score is not finite.
    """
    return curve_of(group_presentations(scores, species))


def curve_of(presentations: Presentations) -> DetCurve:
    """Return :func:`det_curve` of presentations that are grouped already."""
    genuine, attacks = presentations.bona_fide, presentations.attacks
    if not genuine.n or not attacks:
        raise DataError(
            f"A DET curve needs bona fides and attacks; there are {genuine.n} bona fide and "
            f"{presentations.pooled.n} attack presentations."
        )
    thresholds, pooled = presentations.candidates(), presentations.pooled
    return DetCurve(
        thresholds=thresholds,
        bpcer=presentations.bpcer(thresholds),
        apcer_max=presentations.max_apcer(thresholds),
        apcer_pooled=pooled.accepted(thresholds) / pooled.n,
        apcer={name: one.accepted(thresholds) / one.n for name, one in attacks.items()},
        counts={name: one.n for name, one in attacks.items()},
        bona_fides=genuine.n,
    )


def save_det(
    curve: DetCurve,
    path: str | Path,
    *,
    title: str = "Detection error tradeoff",
    at: IsoReport | None = None,
    note: str = "",
) -> None:
    """Write a DET curve per species as PNG, on normal deviate axes.

    A rate of zero has no place on such an axis; it is drawn at the axis. Steps finer than one presentation
    do not exist: few presentations give a coarse curve.

    Args:
        curve: of :func:`det_curve`.
        path: file to write.
        title: line above. note: small line below.
        at: rates at the chosen threshold, marked on each curve.
    """
    from ....core.plots import COLORS, INK, new_figure, plain_title, save_figure

    figure, axes = new_figure(6.6, 5.6)
    names = _drawn(curve)
    floor = _floor(curve)
    axes.plot(*_deviates((floor, 0.99), (floor, 0.99), floor), color="#BBBBBB", linewidth=0.8, linestyle=":")
    for index, name in enumerate(names):
        style = "-" if index < len(COLORS) else "--"
        color = COLORS[index % len(COLORS)]
        part = _off_the_axes(curve.apcer[name], curve.bpcer, floor)
        x, y = _deviates(curve.apcer[name][part], curve.bpcer[part], floor)
        label = plain_title(f"{name} (n={curve.counts[name]:,})", 40)
        # Between two scores the rates stay, then one of them steps.
        axes.plot(x, y, drawstyle="steps-post", color=color, linestyle=style, linewidth=1.6, label=label)
        rate = at.apcer[name].value if at is not None and name in at.apcer else None
        if at is not None and rate is not None and at.bpcer.value is not None:
            # What lies beyond the axes is marked at their end.
            x, y = _deviates((min(rate, _TOP),), (min(at.bpcer.value, _TOP),), floor)
            axes.plot(x, y, "o", color=color, markersize=7, clip_on=False)
    _axes(axes, floor)
    axes.set_title(plain_title(title, 90), loc="left", fontsize=11, pad=10)
    axes.set_xlabel("APCER: attacks accepted", color=INK)
    axes.set_ylabel(f"BPCER: bona fides rejected (n={curve.bona_fides:,})", color=INK)
    axes.legend(loc="upper right", facecolor="white", edgecolor="none", framealpha=0.9, fontsize=8)
    if note:
        figure.supxlabel(plain_title(note, 130), x=0.01, ha="left", fontsize=7, color="#777777")
    save_figure(figure, path)


def _drawn(curve: DetCurve) -> list[str]:
    """Return the species to draw: all, or those with the largest area of error."""
    ranked = sorted(curve.apcer, key=lambda name: -float(np.trapezoid(curve.apcer[name], curve.bpcer)))
    return sorted(ranked[:_DRAWN_SPECIES])


def _floor(curve: DetCurve) -> float:
    """Return the lowest rate of the axes: below half a presentation of the largest group."""
    largest = max(curve.bona_fides, *curve.counts.values())
    below = [tick for tick in _TICKS if tick <= max(0.5 / largest, _TICKS[0])]
    return min(below[-1], 0.05)


def _off_the_axes(apcer: Floats, bpcer: Floats, floor: float) -> slice:
    """Return the part of a curve that does not lie on an axis, where it would only cover it."""
    start = max(int(np.searchsorted(bpcer, floor, side="right")) - 1, 0)
    end = len(apcer) - int(np.searchsorted(apcer[::-1], floor, side="right"))
    return slice(start, max(end, start) + 1)


def _deviates(
    x: Sequence[float] | Floats, y: Sequence[float] | Floats, floor: float
) -> tuple[Floats, Floats]:
    from scipy.special import ndtri

    return ndtri(np.clip(x, floor, 0.99)), ndtri(np.clip(y, floor, 0.99))


def _axes(axes: Axes, floor: float) -> None:
    from scipy.special import ndtri

    shown = [tick for tick in _TICKS if tick >= floor]
    words = [f"{100 * tick:g} %" for tick in shown]
    # Zero is drawn at the axis, where the lowest rate stands.
    words[0] = f"≤ {words[0]}"
    places = ndtri(np.asarray(shown))
    axes.set_xticks(places, words, fontsize=8, rotation=40)
    axes.set_yticks(places, words, fontsize=8)
    limits = (float(ndtri(floor)), float(ndtri(_TOP)))
    axes.set_xlim(*limits)
    axes.set_ylim(*limits)
    axes.set_aspect("equal")
    axes.grid(color="#E4E4E4", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")
    axes.tick_params(length=3, colors="#333333")
