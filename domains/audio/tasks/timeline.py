"""The timeline of a tagged recording as a picture: its waveform, and below it when each label is heard."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ....core.plots import COLORS, INK, made_by, new_figure, plain_title, save_figure
from .track import ENVELOPE_PER_HOP

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .tagging import Tagging

MOST_ROWS = 16
"""Labels drawn, at most."""
_WORTH_A_ROW, _FEWEST_ROWS = 0.1, 3
_NARROW = 0.012
"""Share of the width below which an event is a mark instead of a frame."""
_STEPS = (
    *(0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(60 * minutes for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720)),
)
"""Seconds between ticks."""
_MOST_COLUMNS = 1500
"""Parts in time that are drawn; of longer recordings each shows the highest score inside."""


def save_timeline(tagging: Tagging, path: str | Path, *, title: str | None = None) -> None:
    """Write waveform, probabilities and events as PNG.

    One row per label, darker where its score is higher; a frame (a mark, where it is narrow) is an event,
    with its highest score.
    Labels come by their first event and, without one, by their highest score; those that score low
    everywhere, and what is beyond :data:`MOST_ROWS` rows, are left out.

    Args:
        tagging: the answer for one recording.
        path: file to write.
        title: line above; None is the name of the file that was tagged.
    """
    rows = _rows(tagging)
    figure, panels = new_figure(9.5, 1.9 + 0.3 * len(rows), rows=2)
    wave, grid = panels
    figure.get_layout_engine().set(h_pad=0.03, hspace=0.0)  # pyright: ignore
    shares = [1.1, 0.35 + 0.3 * len(rows)]
    wave.get_gridspec().set_height_ratios(shares)
    duration_s = max(tagging.duration_s, 1e-3)
    _draw_wave(wave, tagging.envelope, duration_s, tagging)
    _draw_scores(grid, tagging, rows, duration_s)
    if title is None:
        title = Path(tagging.id).name if tagging.id else "recording"
    found = len(tagging.events)
    said = f"{found} event{'s' if found != 1 else ''}" if found else "no event"
    figure.suptitle(plain_title(f"{title}: {said}", 110), x=0.01, ha="left", fontsize=11, color=INK)
    note = f"windows of {tagging.window_s:g} s every {tagging.hop_s:g} s; events from {tagging.threshold:g}"
    figure.supxlabel(
        plain_title(f"{made_by(tagging.model, tagging.revision)}; {note}", 170),
        x=0.01, ha="left", fontsize=7, color=INK,
    )  # fmt: skip
    save_figure(figure, path)


def _rows(tagging: Tagging) -> list[int]:
    """Return the columns of the labels to draw, from top to bottom."""
    peaks = tagging.cells.max(axis=0) if len(tagging.cells) else np.zeros(len(tagging.labels))
    # Events come in the order of time, so that the picture reads from top left to bottom right.
    heard = list(dict.fromkeys(tagging.labels.index(event.label) for event in tagging.events))
    others = [one for one in np.argsort(-peaks, kind="stable").tolist() if one not in heard]
    worth = sum(1 for one in others if peaks[one] >= _WORTH_A_ROW)
    return [*heard, *others[: max(worth, _FEWEST_ROWS - len(heard))]][:MOST_ROWS]


def _draw_wave(axes: Axes, envelope: NDArray[np.float32], duration_s: float, tagging: Tagging) -> None:
    """Draw lowest and highest samples as a band, at the scale of the loudest one."""
    step = max(1, math.ceil(len(envelope) / (2 * _MOST_COLUMNS)))
    low = _pooled(envelope[:, :1], step, np.minimum)[:, 0]
    high = _pooled(envelope[:, 1:], step, np.maximum)[:, 0]
    seconds = (np.arange(len(low)) + 0.5) * step * tagging.hop_s / ENVELOPE_PER_HOP
    axes.fill_between(seconds, low, high, color="#555555", linewidth=0.3)
    loudest = float(np.abs(envelope).max()) if len(envelope) else 0.0
    limit = loudest * 1.05 or 1.0
    axes.set_ylim(-limit, limit)
    axes.set_xlim(0.0, duration_s)
    axes.set_yticks([])
    words = f"peak {20 * math.log10(loudest):.1f} dB" if loudest else "silence"
    axes.set_ylabel(words, fontsize=7, color=INK)
    axes.tick_params(labelbottom=False, length=0)
    axes.spines[:].set_visible(False)


def _draw_scores(axes: Axes, tagging: Tagging, rows: list[int], duration_s: float) -> None:
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.patches import Rectangle
    from matplotlib.ticker import FuncFormatter, MultipleLocator

    step = max(1, math.ceil(len(tagging.cells) / _MOST_COLUMNS))
    shown = _pooled(tagging.cells[:, rows], step, np.maximum).T
    shades = LinearSegmentedColormap.from_list("score", ["#F4F4F4", COLORS[0]])
    end = shown.shape[1] * step * tagging.hop_s
    picture = axes.imshow(
        shown, cmap=shades, vmin=0.0, vmax=1.0, aspect="auto", interpolation="nearest",
        extent=(0.0, end, len(rows) - 0.5, -0.5),
    )  # fmt: skip
    axes.set_xlim(0.0, duration_s)
    place = {tagging.labels[column]: row for row, column in enumerate(rows)}
    for event in tagging.events:
        if event.label in place:
            row, width = place[event.label], event.end_s - event.start_s
            if width < _NARROW * duration_s:
                # A frame would hide what it is around; a mark below it does not.
                mark = Rectangle((event.start_s, row + 0.3), width, 0.16, color=COLORS[1], linewidth=0.4)
                axes.add_patch(mark)
                continue
            frame = Rectangle((event.start_s, row - 0.42), width, 0.84, fill=False, edgecolor=COLORS[1])
            frame.set_linewidth(1.3)
            axes.add_patch(frame)
            if width > 0.045 * duration_s:
                axes.text(
                    event.start_s + width / 2, row, f"{event.score:.2f}", ha="center", va="center",
                    fontsize=6.5, color="white" if event.score > 0.6 else INK, clip_on=True,
                )  # fmt: skip
    names = [plain_title(tagging.labels[column], 28) for column in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=8)
    axes.set_yticks(np.arange(len(rows) - 1) + 0.5, minor=True)
    axes.grid(which="minor", axis="y", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0, colors=INK, labelsize=8)
    axes.tick_params(axis="x", length=3)
    step_s = next((step for step in _STEPS if duration_s / step <= 9), 86_400)
    axes.xaxis.set_major_locator(MultipleLocator(step_s))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _clock(value, duration_s)))
    axes.set_xlabel("time" if duration_s >= 60 else "seconds", fontsize=8, color=INK)
    axes.spines[:].set_visible(False)
    bar = axes.figure.colorbar(picture, ax=axes, fraction=0.02, pad=0.01, aspect=max(6, 3 * len(rows)))
    bar.set_label("score", fontsize=8, color=INK)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    bar.ax.tick_params(length=0, colors=INK, labelsize=7)


def _pooled(values: NDArray[np.float32], step: int, reduce: np.ufunc) -> NDArray[np.float32]:
    """Return values [M, C] reduced over each ``step`` rows; the last part may have fewer."""
    if step == 1 or not len(values):
        return values
    return reduce.reduceat(values, np.arange(0, len(values), step), axis=0)


def _clock(seconds: float, duration_s: float) -> str:
    """Return a time as seconds, m:ss or h:mm:ss, by the length of the recording."""
    if duration_s < 60:
        return f"{seconds:g}"
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    if duration_s < 3600:
        return f"{minutes}:{rest:02d}"
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
