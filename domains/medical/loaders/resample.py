"""Volumes on another grid: axis order and voxel spacing, through MONAI."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import torch

from ....core.errors import ConfigError, require
from .records import MedicalVolume


def resample(
    volume: MedicalVolume,
    spacing_mm: tuple[float, float, float] | None = None,
    *,
    axcodes: str | None = None,
    mode: Literal["bilinear", "nearest"] = "bilinear",
) -> MedicalVolume:
    """Return the volume with voxels of ``spacing_mm`` and, when asked, axes in the order ``axcodes``.

    Args:
        volume: as returned by ``load_series`` or ``load_volume``.
        spacing_mm: (between columns i, between rows j, between slices k) after reorientation, or None
            to keep the spacing.
        axcodes: three letters of RAS/LPI for the directions of increasing (i, j, k), such as "RAS".
        mode: "nearest" for label maps.

    Raises:
        ConfigError: spacing not positive, unknown axis letters or mode.
        DependencyError: monai is not installed.
    """
    if spacing_mm is not None and (len(spacing_mm) != 3 or min(spacing_mm) <= 0):
        raise ConfigError(f"spacing_mm must be three lengths above 0, got {spacing_mm!r}.")
    if axcodes is not None and sorted(
        "RAS"["RLAPSI".index(c) // 2] for c in axcodes if c in "RLAPSI"
    ) != list("ARS"):
        raise ConfigError(f"axcodes must name each of R/L, A/P and S/I once, such as 'RAS', got {axcodes!r}.")
    if mode not in ("bilinear", "nearest"):
        raise ConfigError(f"mode must be 'bilinear' or 'nearest', got {mode!r}.")
    transforms = require("monai.transforms", extra="medical")
    data = require("monai.data", extra="medical")
    source = volume.to_space("RAS")
    image = data.MetaTensor(source.pixels.permute(0, 3, 2, 1), affine=torch.from_numpy(source.affine))
    history = list(volume.history)
    if axcodes is not None:
        image = transforms.Orientation(axcodes=axcodes, labels=(("L", "R"), ("P", "A"), ("I", "S")))(image)
        history.append(f"reorient: {axcodes}")
    if spacing_mm is not None:
        image = transforms.Spacing(pixdim=spacing_mm, mode=mode, padding_mode="border")(image)
        history.append("resample: {:g} x {:g} x {:g} mm {}".format(*spacing_mm, mode))
    result = replace(
        source,
        value=image.as_tensor().permute(0, 3, 2, 1).contiguous().float(),
        affine=np.asarray(image.affine, dtype=np.float64),
        history=tuple(history),
    )
    return result.to_space(volume.space)
