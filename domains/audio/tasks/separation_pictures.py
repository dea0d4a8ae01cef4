"""Spectrograms of a recording before and after it was taken apart, side by side on one scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ....core.errors import InputError
from ....core.plots import INK, made_by, new_figure, plain_title, save_figure
from ....core.spectrogram import hann

if TYPE_CHECKING:
    from .separation_measures import Answer

_ROWS = 192
_COLUMNS = 1024
_LOWEST_HZ = 60.0
_WINDOW_S = 0.046
_RANGE_DB = 70.0


class Sketch:
    """A spectrogram of bounded size of samples that come in blocks: the mean power of their channels.

    Columns are means of power over as many frames as it takes to stay under a number of columns; rows are
    bands, log-spaced from 60 Hz to half the sampling rate.

    Args:
        rate: Hz. channels: C.
    """

    def __init__(self, rate: int, channels: int = 1) -> None:
        self.rate = rate
        self._size = max(64, 1 << round(math.log2(_WINDOW_S * rate)))
        self._hop = self._size // 2
        self._held = torch.zeros(channels, 0)
        # In one block: small ones that stay, between large ones that go, would pin the memory of these.
        self._columns = torch.zeros(0, _ROWS)
        self._frames = torch.zeros(0, _ROWS)
        self._per_column = 1
        self.samples = 0
        edges = torch.logspace(math.log10(_LOWEST_HZ), math.log10(rate / 2), _ROWS + 1)
        self.edges = edges.tolist()
        self._bands = _bands(edges, self._size, rate)

    def add(self, samples: Tensor) -> None:
        """Take in samples float32 [C, n]."""
        self.samples += samples.shape[-1]
        self._held = torch.cat([self._held, samples], dim=-1)
        if self._held.shape[-1] < self._size:
            return
        frames = self._held.unfold(-1, self._size, self._hop)
        self._take(frames)
        self._held = self._held[:, frames.shape[1] * self._hop :].clone()

    def _take(self, frames: Tensor) -> None:
        spectra = torch.fft.rfft(frames * hann(self._size, frames.device))
        power = spectra.abs().square().mean(dim=0) @ self._bands
        self._frames = torch.cat([self._frames, power])
        whole = len(self._frames) // self._per_column * self._per_column
        new = self._frames[:whole].view(-1, self._per_column, _ROWS).mean(dim=1)
        self._columns = torch.cat([self._columns, new])
        self._frames = self._frames[whole:].clone()
        while len(self._columns) > 2 * _COLUMNS:
            even = len(self._columns) // 2 * 2
            # An odd column goes back among the frames that have none yet.
            rest = self._columns[even:].expand(self._per_column if even < len(self._columns) else 0, -1)
            self._frames = torch.cat([rest, self._frames])
            self._columns = self._columns[:even].view(-1, 2, _ROWS).mean(dim=1)
            self._per_column *= 2

    def power(self) -> np.ndarray:
        """Return the power of bands float32 [rows, columns]; low bands first."""
        if not len(self._columns):
            filled = torch.nn.functional.pad(self._held, (0, max(0, self._size - self._held.shape[-1])))
            self._take(filled[:, None, : self._size])
        columns = self._columns if len(self._columns) else self._frames.mean(dim=0, keepdim=True)
        return columns.T.numpy()


def _bands(edges: Tensor, size: int, rate: int) -> Tensor:
    """Return float32 [size / 2 + 1, rows]: the share of each frequency in each band; at least the nearest."""
    hz = torch.linspace(0, rate / 2, size // 2 + 1)
    centers = (edges[:-1] * edges[1:]).sqrt()
    bands = ((hz[:, None] >= edges[:-1]) & (hz[:, None] < edges[1:])).float()
    empty = bands.sum(dim=0) == 0
    nearest = (hz[:, None] - centers).abs().argmin(dim=0)
    bands[nearest[empty], empty.nonzero().flatten()] = 1.0
    return bands / bands.sum(dim=0)


def save_sketches(
    sketches: Sequence[Sketch],
    titles: Sequence[str],
    path: str | Path,
    *,
    answers: Sequence[Answer] = (),
    origin: tuple[str, str] | None = None,
) -> None:
    """Write spectrograms as one PNG, one below the other, all on the scale of the first.

    Args:
        sketches: the recording first. titles: one each.
        path: file to write.
        answers: of the sketches from the second on, as far as there are any.
        origin: model and revision, for the line below.

    Raises:
        InputError: no sketches, or another number of titles.
    """
    if not sketches or len(sketches) != len(titles):
        raise InputError(f"{len(sketches)} spectrograms and {len(titles)} titles; expected as many, over 0.")
    powers = [sketch.power() for sketch in sketches]
    top = 10 * math.log10(max(float(powers[0].max()), 1e-12))
    figure, axes = new_figure(9.0, 1.75 * len(sketches) + 0.6, rows=len(sketches))
    drawn = []
    for number, (one, power) in enumerate(zip(np.atleast_1d(axes), powers, strict=True)):
        seconds = sketches[number].samples / sketches[number].rate
        decibels = 10 * np.log10(np.maximum(power, 1e-12))
        picture = one.imshow(
            decibels,
            origin="lower",
            aspect="auto",
            cmap="magma",
            vmin=top - _RANGE_DB,
            vmax=top,
            extent=(0, seconds, 0, _ROWS),
            interpolation="nearest",
        )
        drawn.append(picture)
        said = plain_title(titles[number], 70)
        if 0 < number <= len(answers):
            said += f"   ({_words(answers[number - 1])})"
        one.set_title(said, loc="left", fontsize=9, color=INK)
        ticks = [hz for hz in (100, 300, 1000, 3000, 10_000) if hz < sketches[number].rate / 2]
        edges = np.log(sketches[number].edges)
        one.set_yticks(np.interp(np.log(ticks), edges, np.arange(_ROWS + 1)), [_hertz(hz) for hz in ticks])
        one.tick_params(length=2, labelsize=7, colors=INK)
        one.spines[:].set_visible(False)
        if number < len(sketches) - 1:
            one.set_xticklabels([])
    np.atleast_1d(axes)[-1].set_xlabel("seconds", fontsize=8, color=INK)
    bar = figure.colorbar(drawn[0], ax=axes, fraction=0.02, pad=0.01)
    bar.set_label("dB", fontsize=8)
    bar.ax.tick_params(length=0, labelsize=7)
    bar.outline.set_visible(False)
    if origin is not None:
        note = made_by(*origin, "log frequency, one scale")
        figure.text(0.005, -0.01, note, fontsize=7, color=INK, va="top")
    save_figure(figure, path)


def _words(answer: Answer) -> str:
    if answer.energy_db is None:
        return "nothing there"
    low = ", low" if answer.verdict == "low" else ""
    return f"confidence {answer.confidence:.2f}{low}, {answer.energy_db:+.1f} dB of the mixture"


def _hertz(hz: int) -> str:
    return f"{hz // 1000} kHz" if hz >= 1000 else f"{hz} Hz"
