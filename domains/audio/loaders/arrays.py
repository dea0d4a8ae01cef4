"""Recordings that are already in memory as numbers: arrays, tensors, samples, rows of hub data sets."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from ....core.errors import InputError
from ....core.limits import Limits
from ....core.types import Sample
from ....core.waves import to_channels
from .reading import RATES, AudioInfo


class ArrayDecoder:
    """An array behind :class:`.reading.Decoder`.

    Args:
        values: float32 [T, C].
        rate: Hz.
        subtype: the type the array had.
    """

    slack: int | None = 0
    missing: float | None = None

    def __init__(self, values: np.ndarray, rate: int, subtype: str) -> None:
        frames, channels = values.shape
        self.info = AudioInfo(rate, channels, frames, frames / rate, "array", subtype)
        self._values, self._next = values, 0

    def seek(self, frame: int) -> None:
        """Let the next read start at ``frame``."""
        self._next = frame

    def read(self, frames: int) -> np.ndarray:
        """Return float32 [n, C]."""
        self._next += frames
        return self._values[self._next - frames : self._next]


def array_of(given: Any, rate: int | None, *, limits: Limits) -> tuple[np.ndarray, int, str] | None:
    """Return (float32 [T, C], Hz, its type) of an input that holds its samples, or None for any other.

    Args:
        given: whatever the caller handed in.
        rate: Hz, for arrays that do not carry it.
        limits: ``limits.seconds`` is checked.

    Raises:
        InputError: no rate or two that differ, no samples, an odd shape or type.
    """
    own: Any = None
    if isinstance(given, Sample):
        if given.modality != "audio":
            raise InputError(f"A sample of {given.modality!r}; expected one of 'audio'.")
        given, own = given.value, given.meta.get("sampling_rate")
    elif isinstance(given, Mapping):
        if given.get("array") is None:
            if given.get("bytes") is None and given.get("path") is None:
                raise InputError(
                    f"A row with {', '.join(map(repr, given)) or 'no keys'}; expected 'array' and "
                    "'sampling_rate', or 'bytes' or 'path'."
                )
            return None
        given, own = given["array"], given.get("sampling_rate")
    if not isinstance(given, (np.ndarray, Tensor)):
        if own is None:
            return None
        given = _array(given)
    rate = _rate_of(own, rate)
    subtype = str(given.dtype).removeprefix("torch.")
    held = given.detach().cpu() if isinstance(given, Tensor) else given
    values = to_channels(held, name="array").T.numpy()
    limits.check("seconds", len(values) / rate, what="array: seconds")
    return values, rate, subtype


def _array(rows: Any) -> np.ndarray:
    """Return lists of numbers, as a row of a data set holds them, as an array."""
    try:
        values = np.asarray(rows)
    except (ValueError, TypeError):
        values = None
    if values is None or values.dtype.kind not in "fiu":
        raise InputError(
            f"array: {type(rows).__name__} that holds no plain table of numbers; expected [samples] or "
            "[channels, samples] with channels of one length."
        )
    return values


def _rate_of(own: Any, given: int | None) -> int:
    """Return the rate in Hz that the input says itself, or else the one that was given."""
    if own is not None and not _is_rate(own):
        raise InputError(
            f"The sampling rate of the array is {own!r}; expected {RATES[0]} to {RATES[1]:,} Hz."
        )
    if own is not None and given is not None and own != given:
        raise InputError(
            f"The sampling rates do not match: the input says {own:g} Hz and array_rate says {given:g} Hz. "
            "Give one."
        )
    rate = given if own is None else own
    if rate is None:
        raise InputError("An array does not say its sampling rate. Pass array_rate=, in Hz.")
    return int(rate)


def _is_rate(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    rate = float(value)
    return RATES[0] <= rate <= RATES[1] and rate.is_integer()
