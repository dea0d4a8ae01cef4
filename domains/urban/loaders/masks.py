"""Which pixels hold data, told from the values that were read.

The first of these that a file has decides: alpha band, mask of the data set, number for missing pixels.
NaN and infinite numbers, and a number the user names, are missing in any case.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .header import Header
from .options import RasterOptions


@dataclass(frozen=True)
class MaskRule:
    """How missing pixels are marked in some bands of one file.

    Attributes:
        alpha: number of the alpha band from 1, or 0.
        dataset_mask: the file has a mask of its own.
        missing: per band, the numbers that mean "missing".
        nan: NaN and infinite numbers mean "missing".
        combine: "any" or "all": how many bands of a pixel must be missing.
    """

    alpha: int
    dataset_mask: bool
    missing: tuple[tuple[np.generic, ...], ...]
    nan: bool
    combine: str
    always_valid: bool = field(init=False)
    """No pixel can be missing."""

    def __post_init__(self) -> None:
        possible = self.alpha or self.dataset_mask or self.nan or any(self.missing)
        object.__setattr__(self, "always_valid", not possible)


def mask_rule(header: Header, indexes: tuple[int, ...], *, alpha: int, options: RasterOptions) -> MaskRule:
    """Return the rule for the bands ``indexes`` of a file.

    Args:
        header: of the file.
        indexes: band numbers from 1.
        alpha: the alpha band, 0 where it is read as data.
        options: as the raster was opened.
    """
    own = not (alpha or header.has_mask)
    missing = []
    for index in indexes:
        numbers = [header.nodata[index - 1] if own else None, options.nodata]
        missing.append(
            tuple(
                found
                for found in (_as_stored(number, header.dtype) for number in numbers)
                if found is not None
            )
        )
    return MaskRule(
        alpha,
        header.has_mask and not alpha,
        tuple(missing),
        np.dtype(header.dtype).kind == "f",
        options.invalid,
    )


def _as_stored(number: float | None, dtype: str) -> np.generic | None:
    """Return a number in the type of the pixels, or None when no pixel can be equal to it."""
    kind = np.dtype(dtype)
    if number is None or math.isnan(number):
        return None
    if kind.kind == "f":
        with np.errstate(over="ignore"):
            return kind.type(number)
    bounds = np.iinfo(kind)
    if math.isinf(number) or number != int(number) or not bounds.min <= number <= bounds.max:
        return None
    return kind.type(int(number))


def valid_pixels(
    values: NDArray[Any], rule: MaskRule, *, alpha: NDArray[Any] | None, dataset_mask: NDArray[Any] | None
) -> NDArray[np.bool_]:
    """Return bool [H, W], True where a pixel holds data.

    Args:
        values: [C, H, W] as stored.
        rule: of the file.
        alpha: [H, W], where the rule has an alpha band.
        dataset_mask: uint8 [H, W], 0 where missing, where the rule has a mask.
    """
    missing = _missing(values, rule)
    kept = alpha if alpha is not None else dataset_mask
    if kept is None:
        return np.ones(values.shape[1:], np.bool_) if missing is None else ~missing
    return kept != 0 if missing is None else (kept != 0) & ~missing


def holes(values: NDArray[Any], missing: tuple[tuple[np.generic, ...], ...]) -> NDArray[np.bool_]:
    """Return bool of the shape of ``values``, True where a single band holds no number.

    Valid pixels have such bands where "all" of them must be missing to make a pixel invalid.

    Args:
        values: [C, ...] as stored.
        missing: per band, the numbers that mean "missing".
    """
    found = ~np.isfinite(values)
    for hole, band, numbers in zip(found, values, missing, strict=True):
        for number in numbers:
            hole |= band == number
    return found


def _missing(values: NDArray[Any], rule: MaskRule) -> NDArray[np.bool_] | None:
    """Return bool [H, W] of pixels whose numbers mean "missing", or None when none can."""
    total = None
    for band, numbers in zip(values, rule.missing, strict=True):
        marks = [band == number for number in numbers]
        if rule.nan:
            marks.append(~np.isfinite(band))
        if not marks:
            if rule.combine == "all":
                return None
            continue
        mark = marks[0]
        for other in marks[1:]:
            mark |= other
        if total is None:
            total = mark
        elif rule.combine == "any":
            total |= mark
        else:
            total &= mark
    return total
