"""Slices of a volume as pictures: chosen, windowed, turned the usual way, with square pixels."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ....core.errors import ConfigError, InputError, nearest
from ....core.limits import Limits
from ..loaders.errors import WindowError
from ..loaders.image import identify
from ..loaders.records import MedicalVolume
from ..loaders.series import OnGap, load_series
from ..loaders.volume import load_volume
from ..loaders.windows import ValueMap, explicit_maps, windows

Axis = Literal["axial", "coronal", "sagittal"]

_VIEWS: dict[str, tuple[int, tuple[int, float], tuple[int, float]]] = {
    "axial": (2, (1, 1.0), (0, 1.0)),
    "coronal": (1, (2, -1.0), (0, 1.0)),
    "sagittal": (0, (2, -1.0), (1, 1.0)),
}
"""{axis: (across, down, along)}; down a picture and along its rows as (LPS axis, sign): the patient's
left is on the right of the picture, the front is at the top or on the left, the head is at the top."""
_UNIT_TOLERANCE = 1e-3
_EMPTY = 1e-6


@dataclass(frozen=True)
class VolumeSource:
    """How a volume is read from files.

    Attributes:
        frame: of a 4-D NIfTI file.
        on_gap: what missing slices of a series mean: "error", "resample" or "keep".
        show_paths: let messages name paths; a path may name a patient.
    """

    frame: int | None = None
    on_gap: OnGap = "error"
    show_paths: bool = False


def open_volume(
    source: str | Path | MedicalVolume, window: Any, options: VolumeSource, *, limits: Limits
) -> tuple[MedicalVolume, ValueMap | None, str]:
    """Return a volume, the map of its values to [0, 1] (None when they are), and what it was windowed by.

    A DICOM series without ``window`` gets the rule of its modality: the header's window, or for MR
    percentiles. Rules that look at values look at the whole volume, so that slices compare.

    Args:
        source: a NIfTI file, a folder or multi-frame file of DICOM slices, or a volume.
        window: a preset, (center, width), "header", "minmax", "percentile:LOW,HIGH" or None.
        options: see :class:`VolumeSource`.

    Raises:
        MedicalImageError: what the loaders raise: missing slices, mixed series, damaged files ...
        WindowError: values in Hounsfield units without a window.
    """
    if isinstance(source, MedicalVolume):
        return _with_window(source, window)
    common: dict[str, Any] = {"limits": limits, "show_paths": options.show_paths}
    is_file = Path(source).is_file()
    if is_file and identify(source, **common) == "nifti":
        return _with_window(load_volume(source, frame=options.frame, **common), window)
    if options.frame is not None:
        raise ConfigError("frame= is for 4-D NIfTI files; a DICOM series is one volume. Leave it out.")
    if is_file or Path(source).is_dir():
        volume = load_series(
            source, window="default" if window is None else window, on_gap=options.on_gap, **common
        )
        return volume, None, _window_step(volume) or "none"
    identify(source, **common)
    raise ConfigError("A volume is a NIfTI file, a folder of DICOM slices or a MedicalVolume.")


def _window_step(volume: MedicalVolume) -> str | None:
    steps = [step.partition(": ")[2] for step in volume.history if step.startswith("window: ")]
    return steps[-1] if steps else None


def _with_window(volume: MedicalVolume, window: Any) -> tuple[MedicalVolume, ValueMap | None, str]:
    pixels = volume.pixels
    low, high = (float(bound) for bound in pixels.aminmax())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError("The volume holds values that are not finite. Replace them first.")
    if (done := _window_step(volume)) is not None:
        if window is not None:
            raise ConfigError(f"The volume was loaded with a window already ({done}). Leave window out.")
        if low < -_UNIT_TOLERANCE or high > 1 + _UNIT_TOLERANCE:
            raise InputError(f"A windowed volume lies in [0, 1]; this one goes from {low:g} to {high:g}.")
        return volume, None, done
    if window is None and volume.meta.get("units") == "HU":
        raise WindowError(
            f"The volume is in Hounsfield units ({low:g} to {high:g}). Pass window=: (center, width) or one "
            f"of {', '.join(windows())}."
        )
    # Percentiles of the foreground: what suits MR, whose numbers have no unit.
    maps = explicit_maps("foreground:1,99" if window is None else window, pixels[0].numpy())
    if len(maps) != 1:
        raise WindowError(f"A volume has one channel. Pass one window instead of {window!r}.")
    return volume, maps[0], str(maps[0])


class SliceStack(Sequence[Tensor]):
    """The slices of a volume across an anatomical axis, as pictures float32 [1, H, W] in [0, 1].

    Pictures show the patient as radiologists expect, whatever the order of axes in the file: the
    affine decides. Pixels are square: the coarser direction is interpolated. Index k is the index
    along the file's own axis, as in :meth:`MedicalVolume.slice`.

    Args:
        volume: as loaded. axis: "axial", "coronal" or "sagittal".
        values: map of the voxel values to [0, 1], or None when they are.
        limits: ceiling on the pixels of a picture.

    Raises:
        ConfigError: unknown axis.
    """

    def __init__(
        self, volume: MedicalVolume, axis: Axis, values: ValueMap | None = None, *, limits: Limits
    ) -> None:
        if axis not in _VIEWS:
            raise ConfigError(
                f"axis must be one of {', '.join(_VIEWS)}, got {axis!r}.{nearest(str(axis), _VIEWS)}"
            )
        self.volume, self.values, self.axis = volume, values, axis
        lps = volume.to_space("LPS").affine
        # voxel_of[a]: which of (i, j, k) runs along LPS axis a; unlike a choice per axis, one of each.
        cosines = lps[:3, :3] / np.linalg.norm(lps[:3, :3], axis=0)
        self._voxel_of = max(
            itertools.permutations(range(3)),
            key=lambda order: sum(abs(cosines[a, order[a]]) for a in range(3)),
        )
        self._signs = [float(np.sign(cosines[a, self._voxel_of[a]])) for a in range(3)]
        across, (down, _), (along, _) = _VIEWS[axis]
        self._across = across
        spacing = [volume.spacing[self._voxel_of[a]] for a in (down, along)]
        self.spacing_mm = min(spacing)
        shape = [self._count(a) for a in (down, along)]
        self.size = tuple(
            max(1, round(n * step / self.spacing_mm)) for n, step in zip(shape, spacing, strict=True)
        )
        limits.check("pixels", self.size[0] * self.size[1], what=f"{axis} slice: pixels")

    def _count(self, axis: int) -> int:
        return int(self.volume.pixels.shape[3 - self._voxel_of[axis]])

    def __len__(self) -> int:
        return self._count(self._across)

    def __getitem__(self, index: Any) -> Any:
        """Return one picture; a slice of indices gives a list."""
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"slice {index} asked for, the {self.axis} axis has {len(self)}.")
        _, (down, down_sign), (along, along_sign) = _VIEWS[self.axis]
        # The tensor is [0, k, j, i]: voxel axis v is dimension 3 - v, or 2 - v without the channel.
        plane = self.volume.pixels[0].select(2 - self._voxel_of[self._across], index)
        if self._voxel_of[down] < self._voxel_of[along]:
            plane = plane.T
        flips = [
            dimension
            for dimension, (axis, sign) in enumerate(((down, down_sign), (along, along_sign)))
            if self._signs[axis] != sign
        ]
        plane = plane.flip(flips) if flips else plane
        if self.values is not None:
            plane = torch.from_numpy(np.asarray(self.values.apply(plane.numpy().copy()), np.float32))
        picture = plane.float().clamp(0.0, 1.0)[None]
        if tuple(picture.shape[1:]) != self.size:
            picture = F.interpolate(
                picture[None], self.size, mode="bilinear", antialias=True, align_corners=False
            )[0]
        return picture.contiguous()

    def position_mm(self, index: int) -> float:
        """Return where a slice's centre lies along the axis, mm, in the volume's own space."""
        dimensions = self.volume.pixels.shape[:0:-1]
        voxel = [(count - 1) / 2 for count in dimensions]
        voxel[self._voxel_of[self._across]] = index % len(self)
        return float((self.volume.affine @ [*voxel, 1.0])[self._across])

    def is_empty(self, picture: Tensor) -> bool:
        """Return whether a picture shows nothing: all its pixels alike."""
        low, high = picture.aminmax()
        return bool(high - low < _EMPTY)


def choose_slices(slices: int | slice | Sequence[int] | None, count: int) -> list[int]:
    """Return slice numbers: all of them, a number evenly spread from end to end, or those that are named.

    Raises:
        ConfigError: none, or numbers outside the volume.
    """
    if slices is None:
        return list(range(count))
    if isinstance(slices, slice):
        chosen = list(range(*slices.indices(count)))
    elif isinstance(slices, int):
        if slices < 1:
            raise ConfigError(f"slices={slices}: ask for at least one, or None for all.")
        # The centres of equal parts: the very first and last slices often show nothing.
        number = min(slices, count)
        chosen = [int((part + 0.5) * count / number) for part in range(number)]
    else:
        chosen = [int(index) for index in slices]
    if not chosen or not all(0 <= index < count for index in chosen):
        raise ConfigError(
            f"slices={slices!r} asks for none, or for more than the volume has: 0 to {count - 1}."
        )
    return list(dict.fromkeys(chosen))
