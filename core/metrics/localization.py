"""How well a heat map finds the boxes an expert drew: contrast, overlap and the pointing game."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError, nearest
from .bootstrap import Bootstrap, Estimate

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)
"""At which a map is cut for the mean IoU."""

BoxConvention = Literal["union", "per_box"]
"""``union``: all boxes of a sample are one region. ``per_box``: one box at a time against what is
outside every box, then the mean; unlike the published variant the order of the boxes plays no part."""

METRICS = ("cnr", "cnr_signed", "miou", "pointing")


@dataclass(frozen=True)
class Localization:
    """How well one map finds its boxes.

    Attributes:
        cnr: contrast to noise ratio, ``|mean_in - mean_out| / sqrt(var_in + var_out)``; NaN when the
            model has seen nothing inside or nothing outside.
        cnr_signed: the same without the absolute value: negative when the boxes are the dark part.
        miou: mean over thresholds (:data:`THRESHOLDS`) of the IoU of ``map > threshold`` and the union
            of the boxes.
        pointing: 1 when :func:`peak_of` the map lies in a box, else 0.
    """

    cnr: float
    cnr_signed: float
    miou: float
    pointing: float


def localize(
    values: ArrayLike,
    boxes: Sequence[Sequence[float]],
    *,
    convention: BoxConvention = "union",
    thresholds: Sequence[float] = THRESHOLDS,
) -> Localization:
    """Return how well a map finds its boxes.

    Pixels the model has not seen (NaN) take no part in contrast; for overlap they count as not
    found, so that a box outside the crop is a miss. The map is clamped at 0 before thresholds.

    Args:
        values: float [H, W], NaN where nothing was seen.
        boxes: at least one (x0, y0, x1, y1, ...): pixels x0 <= x < x1, y0 <= y < y1.
        convention: how several boxes count for contrast; overlap always takes the union.
        thresholds: of the overlap.

    Raises:
        InputError: not a map, no finite value, no boxes, or a box without a pixel of the image.

    Reference: Boecking et al. 2022 (MS-CXR benchmark): CNR and mIoU.
    """
    pixels = np.asarray(values, dtype=np.float64)
    if pixels.ndim != 2 or not np.isfinite(pixels).any():
        raise InputError(f"A map is float [H, W] with at least one finite value, got shape {pixels.shape}.")
    if convention not in get_args(BoxConvention):
        raise InputError(
            f"convention {convention!r} is not known; choose from: {', '.join(get_args(BoxConvention))}."
            f"{nearest(str(convention), get_args(BoxConvention))}"
        )
    if not boxes or not thresholds:
        raise InputError("There is nothing to compare with; give at least one box and one threshold.")
    masks = [_box_mask(box, pixels.shape) for box in boxes]
    union = np.logical_or.reduce(masks)
    regions = [union] if convention == "union" else masks
    contrasts = [_contrast(pixels[region], pixels[~union]) for region in regions]
    signed = float(np.mean(contrasts))
    absolute = float(np.mean(np.abs(contrasts)))
    clamped = np.maximum(np.nan_to_num(pixels, nan=0.0, posinf=0.0, neginf=0.0), 0.0)
    overlaps = [_iou(clamped > threshold, union) for threshold in thresholds]
    return Localization(absolute, signed, float(np.mean(overlaps)), float(union[peak_of(pixels)]))


def peak_of(values: NDArray[Any]) -> tuple[int, int]:
    """Return (row, column) of the largest value of [H, W]; of several equal ones the most central.

    A map spread over pixels is level inside its largest cell and at the border, where the first
    pixel of the level would be a corner of it.

    Raises:
        InputError: there is no finite value.
    """
    finite = np.where(np.isfinite(values), values, -np.inf)
    highest = float(finite.max())
    if not math.isfinite(highest):
        raise InputError("The map holds no finite value.")
    rows, columns = np.nonzero(finite >= highest - 1e-6 * max(1.0, abs(highest)))
    distance = (rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2
    nearest_one = int(distance.argmin())
    return int(rows[nearest_one]), int(columns[nearest_one])


def _box_mask(box: Sequence[float], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return bool [H, W], True inside the box; bounds are rounded to whole pixels."""
    if len(box) < 4 or not all(math.isfinite(value) for value in box[:4]):
        raise InputError(f"A box is four numbers (x0, y0, x1, y1), got {list(box)!r:.80}.")
    x0, y0, x1, y1 = (max(0, round(value)) for value in box[:4])
    mask = np.zeros(shape, dtype=bool)
    mask[y0:y1, x0:x1] = True
    if not mask.any():
        raise InputError(
            f"The box {tuple(box[:4])} holds no pixel of an image {shape[0]} high and {shape[1]} wide. "
            "Boxes are (x0, y0, x1, y1) in pixels of the file."
        )
    return mask


def _contrast(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> float:
    inside, outside = inside[np.isfinite(inside)], outside[np.isfinite(outside)]
    if not inside.size or not outside.size:
        return math.nan
    difference = float(inside.mean() - outside.mean())
    noise = math.sqrt(float(inside.var() + outside.var()))
    if noise == 0:
        return 0.0 if difference == 0 else math.copysign(math.inf, difference)
    return difference / noise


def _iou(found: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> float:
    return float((found & wanted).sum() / (found | wanted).sum())


@dataclass(frozen=True)
class LocalizationReport:
    """Localization of many samples.

    Attributes:
        samples: number of maps.
        findings: {finding: {metric: Estimate}}, metrics as in :class:`Localization`.
        mean: {metric: Estimate} of the mean over findings, each counting alike.
        undefined: maps whose contrast is not a number (see ``cnr``); they are left out of it alone.
        convention: how several boxes of one sample counted for contrast.
        thresholds: of the overlap.
        seed: of the bootstrap.
    """

    samples: int
    findings: Mapping[str, Mapping[str, Estimate]]
    mean: Mapping[str, Estimate]
    undefined: int
    convention: str
    thresholds: tuple[float, ...]
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        plain = {
            finding: {metric: estimate.to_dict() for metric, estimate in row.items()}
            for finding, row in self.findings.items()
        }
        return {
            "samples": self.samples,
            "undefined": self.undefined,
            "box_convention": self.convention,
            "thresholds": list(self.thresholds),
            "seed": self.seed,
            "mean": {metric: estimate.to_dict() for metric, estimate in self.mean.items()},
            "findings": plain,
        }


def localization_report(
    samples: Sequence[Localization],
    findings: Sequence[str],
    *,
    groups: Sequence[Any] | None = None,
    convention: BoxConvention = "union",
    thresholds: Sequence[float] = THRESHOLDS,
    seed: int = 0,
    resamples: int = 1000,
) -> LocalizationReport:
    """Return each metric per finding and its mean over findings, with bootstrap intervals.

    Args:
        samples: N results of :func:`localize`.
        findings: N names.
        groups: N ids to resample instead of samples, such as the image or the patient.
        convention, thresholds: those the samples were measured with, recorded only.
        seed, resamples: of the bootstrap.

    Raises:
        InputError: no samples, or lengths that differ.
    """
    if len(samples) != len(findings):
        raise InputError(f"There are {len(samples)} samples and {len(findings)} findings; give one each.")
    bootstrap = Bootstrap(len(samples), groups=groups, seed=seed, resamples=resamples)
    names = sorted(set(findings))
    member = np.array([[finding == name for name in names] for finding in findings], dtype=np.float64)
    table: dict[str, dict[str, Estimate]] = {name: {} for name in names}
    mean: dict[str, Estimate] = {}
    undefined = sum(not math.isfinite(sample.cnr) for sample in samples)
    for metric in METRICS:
        column = np.array([getattr(sample, metric) for sample in samples], dtype=np.float64)
        defined = np.isfinite(column)
        column, usable = np.where(defined, column, 0.0), member * defined[:, None]

        def statistic(
            weights: NDArray[np.float64],
            column: NDArray[np.float64] = column,
            usable: NDArray[np.float64] = usable,
        ) -> NDArray[np.float64]:
            count = weights @ usable
            sums = weights @ (usable * column[:, None])
            means = np.where(count > 0, sums / np.maximum(count, 1e-300), np.nan)
            # A finding that is missing as a whole leaves the mean of the others.
            present = means[:, usable.any(axis=0)]
            overall = present.mean(axis=1) if present.shape[1] else np.full(len(weights), np.nan)
            return np.concatenate([means, overall[:, None]], axis=1)

        *each, overall = bootstrap.estimates(statistic)
        for name, estimate in zip(names, each, strict=True):
            # The interval counts the units of its own finding only.
            rows = [row for row, finding in enumerate(findings) if finding == name]
            units = len(rows) if groups is None else len({str(groups[row]) for row in rows})
            low, high = (estimate.low, estimate.high) if units > 1 else (math.nan, math.nan)
            table[name][metric] = Estimate(estimate.value, low, high, units)
        mean[metric] = overall
    return LocalizationReport(len(samples), table, mean, undefined, convention, tuple(thresholds), seed)
