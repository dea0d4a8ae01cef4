"""Recordings that are already in memory as numbers: arrays, tensors, samples, rows of hub data sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from ....core.errors import InputError
from ....core.limits import Limits
from ....core.types import Sample
from .reading import RATES, AudioInfo

_SCALES = {"int16": 2.0**15, "int32": 2.0**31, "int8": 2.0**7}
_MAX_CHANNELS = 64


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
        given = np.asarray(given)
    if own is not None and rate is not None and int(own) != rate:
        raise InputError(
            f"The sampling rates do not match: the input says {int(own)} Hz and array_rate says {rate} Hz. "
            "Give one."
        )
    rate = rate if own is None else int(own)
    if rate is None:
        raise InputError("An array does not say its sampling rate. Pass array_rate=, in Hz.")
    if not RATES[0] <= rate <= RATES[1]:
        raise InputError(f"The sampling rate of the array is {rate} Hz; expected {RATES[0]} to {RATES[1]:,}.")
    values = given.detach().cpu().numpy() if isinstance(given, Tensor) else given
    subtype = str(values.dtype)
    values = _rows(values)
    limits.check("seconds", len(values) / rate, what="array: seconds")
    return values, rate, subtype


def _rows(values: np.ndarray) -> np.ndarray:
    """Return float32 [T, C] of [T] or [C, T] in any of the usual types."""
    if values.ndim not in (1, 2) or not values.size:
        raise InputError(
            f"A recording is an array [samples] or [channels, samples] with samples in it, "
            f"got shape {list(values.shape)}."
        )
    if values.ndim == 2 and len(values) > _MAX_CHANNELS:
        raise InputError(
            f"An array of shape {list(values.shape)} would have {len(values)} channels. Recordings are "
            "[channels, samples]: transpose it."
        )
    name = str(values.dtype)
    rows = np.atleast_2d(values).T
    if name in _SCALES:
        return (rows / _SCALES[name]).astype(np.float32)
    if name == "uint8":
        return (rows.astype(np.float32) - 128.0) / 128.0
    if values.dtype.kind != "f":
        raise InputError(
            f"An array of {name}; expected floats in [-1, 1] or int16, int32, int8 or uint8 samples."
        )
    return rows.astype(np.float32)
