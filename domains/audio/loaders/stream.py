"""Recordings of any length, window by window, in memory that does not grow with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....core.errors import ConfigError
from ....core.limits import DEFAULT, Limits
from .audio import AudioOptions, AudioSource, opened


@dataclass(frozen=True)
class AudioWindow:
    """A stretch of a recording.

    Attributes:
        start: sample at which it begins, at the rate asked for, counted from ``start_s``.
        values: float32 [C, n].
        last: whether the recording ends with it; only then n may be less than the window.
    """

    start: int
    values: Tensor
    last: bool


def iter_audio(
    source: AudioSource,
    *,
    window_s: float,
    hop_s: float | None = None,
    limits: Limits = DEFAULT,
    show_paths: bool = False,
    **options: Any,
) -> Iterator[AudioWindow]:
    """Yield windows of a recording; together they hold the same bits as :func:`.audio.load_audio` of it.

    Windows begin every ``hop_s``; the first one that reaches the end is the last.

    Example::

        for window in iter_audio("night.flac", rate=16_000, window_s=10, hop_s=5):
            ...

    Args:
        source: as for :func:`.audio.load_audio`.
        window_s: length of a window. hop_s: from one to the next, at most ``window_s``; None is ``window_s``.
        limits: ceilings; ``decoded_bytes`` bounds one window.
        show_paths: let error messages name the whole path instead of the file name.
        options: fields of :class:`.audio.AudioOptions`, except ``normalize``.

    Raises:
        ConfigError: a hop of nothing or over the window, or options that cannot be. Other errors are those of
            :func:`.audio.load_audio`, raised when the reading meets them.
    """
    chosen = AudioOptions().with_(**options)
    hop_s = window_s if hop_s is None else hop_s
    if not 0 < hop_s <= window_s < float("inf"):
        raise ConfigError(
            f"Windows of {window_s:g} s every {hop_s:g} s: both are over 0, and hop_s is at most window_s."
        )
    if chosen.normalize is not None:
        raise ConfigError(
            f"normalize={chosen.normalize!r} needs the whole recording. Use load_audio, or set the level of "
            "the result."
        )
    return _windows(source, chosen, (window_s, hop_s), limits, show_paths)


def iter_blocks(
    source: AudioSource, *, block_s: float = 10.0, mono: bool = False, **options: Any
) -> Iterator[AudioWindow]:
    """Yield a recording in stretches of ``block_s`` without overlap, all channels; see :func:`iter_audio`."""
    return iter_audio(source, window_s=block_s, mono=mono, **options)


def _windows(
    source: AudioSource,
    options: AudioOptions,
    seconds: tuple[float, float],
    limits: Limits,
    show_paths: bool,
) -> Iterator[AudioWindow]:
    with opened(source, options, limits=limits, show_paths=show_paths, streams=True) as recording:
        window, hop = (max(1, round(value * recording.rate)) for value in seconds)
        limits.check("decoded_bytes", 4 * window * recording.channels, what="one window: bytes")
        ring = np.zeros((window, recording.channels), np.float32)
        filled = start = 0
        for block in recording.blocks():
            while len(block):
                if filled == window:
                    # More follows, so this window is not the last.
                    yield AudioWindow(start, _copy(ring), last=False)
                    ring[: window - hop] = ring[hop:]
                    filled, start = window - hop, start + hop
                taken = min(window - filled, len(block))
                ring[filled : filled + taken] = block[:taken]
                filled, block = filled + taken, block[taken:]
        yield AudioWindow(start, _copy(ring[:filled]), last=True)


def _copy(rows: np.ndarray) -> Tensor:
    return torch.from_numpy(rows.T.copy(order="C"))
