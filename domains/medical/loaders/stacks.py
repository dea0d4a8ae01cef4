"""Which slices belong together, in what order, and where they lie: DICOM series to regular stacks."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ....core.data.files import files_below
from ....core.errors import InputError
from ....core.limits import Limits
from .dicom_file import open_dicom
from .errors import (
    CorruptFile,
    DuplicateSliceError,
    MedicalImageError,
    MissingSliceError,
    NoPixelData,
    NotAMedicalImage,
    check_limit,
    label_of,
)
from .geometry import functional_group, plane, spacing_2d
from .header import Header

_SAME_DIRECTION = 1e-4
_SAME_POSITION_MM = 1e-3
_SAME_SPACING_MM = 1e-4


@dataclass(frozen=True, eq=False)
class Slice:
    """One frame of one file with its place in patient space (mm, LPS)."""

    path: Path
    label: str
    frame: int
    position: np.ndarray
    orientation: np.ndarray
    spacing: tuple[float, float]
    key: tuple[Any, ...]
    order: int = 0
    acquisition: int | None = None

    @property
    def normal(self) -> np.ndarray:
        """Unit vector across the slice: row direction x column direction."""
        normal = np.cross(self.orientation[:3], self.orientation[3:])
        return normal / np.linalg.norm(normal)


@dataclass(frozen=True)
class LeftOut:
    """A file or group that became no part of a volume, and why. Names no file by default."""

    label: str
    kind: str
    reason: str


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices in ascending position along their normal.

    Attributes:
        positions: float64 [D], mm along the normal.
        notes: what the user should know (tilt, dropped duplicates, gaps).
    """

    slices: tuple[Slice, ...]
    positions: np.ndarray
    notes: tuple[str, ...] = ()

    @property
    def step_mm(self) -> float:
        """Median distance of neighbouring slices, mm."""
        return float(np.median(np.diff(self.positions)))

    def affine(self, step: np.ndarray | None = None) -> np.ndarray:
        """Return float64 [4, 4] from voxel (column i, row j, slice k) to mm, LPS.

        Args:
            step: mm from one slice to the next [3]; default is the mean over the stack.

        Reference: PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1, with the slice column of a regular stack.
        """
        first, last = self.slices[0], self.slices[-1]
        if step is None:
            step = (last.position - first.position) / (len(self.slices) - 1)
        between_rows, between_columns = first.spacing
        affine = np.eye(4)
        affine[:3, 0] = first.orientation[:3] * between_columns
        affine[:3, 1] = first.orientation[3:] * between_rows
        affine[:3, 2] = step
        affine[:3, 3] = first.position
        return affine


def list_files(source: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return the visible files of a folder (with subfolders, linked ones too), of a list, or one file.

    The order of a folder's files is stable.
    """
    if not isinstance(source, (str, os.PathLike)):
        return [Path(path) for path in source]
    path = Path(source)
    if path.is_dir():
        try:
            return [path / name for name in files_below(path)]
        except InputError as error:
            # Its message names the folder, which may name a patient.
            reason = error.__cause__.strerror if isinstance(error.__cause__, OSError) else "unknown reason"
            raise MedicalImageError(
                f"series: a folder cannot be read ({reason}), so slices could be missing. Ask for read "
                "permission, or pass the files."
            ) from error
    return [path]


def read_slices(paths: list[Path], *, limits: Limits, show_paths: bool) -> tuple[list[Slice], list[LeftOut]]:
    """Return the slices of all image files, and the files left out with the reason.

    Localisers, files of other formats, objects without pixels and slices without a place in space
    are left out. A damaged file is an error: without it the volume would be wrong.
    """
    check_limit(limits, "frames", len(paths), what="series: files")
    slices: list[Slice] = []
    left_out: list[LeftOut] = []
    for path in paths:
        label = label_of(path, show_paths=show_paths)
        try:
            with open_dicom(path, limits=limits, show_paths=show_paths) as file:
                header = file.header
                if "LOCALIZER" in header.values("ImageType"):
                    left_out.append(LeftOut(label, "localizer", "ImageType says LOCALIZER"))
                    continue
                found = [
                    _slice(path, label, header, frame) for frame in range(header.get("NumberOfFrames") or 1)
                ]
        except (NotAMedicalImage, NoPixelData) as error:
            left_out.append(LeftOut(label, error.kind, str(error)))
            continue
        slices.extend(item for item in found if item is not None)
        if None in found:
            left_out.append(LeftOut(label, "no_position", "no position, orientation or spacing"))
    check_limit(limits, "frames", len(slices), what="series: slices")
    return slices, left_out


def _slice(path: Path, label: str, header: Header, frame: int) -> Slice | None:
    position, orientation = plane(header, frame)
    spacing, _ = spacing_2d(header, frame)
    if position is None or orientation is None or spacing is None:
        return None
    direction = np.array(orientation)
    lengths = np.linalg.norm(direction.reshape(2, 3), axis=1)
    if np.abs(lengths - 1).max() > 0.01 or abs(direction[:3] @ direction[3:]) > 0.01 or min(spacing) <= 0:
        raise CorruptFile(
            f"{label}: ImageOrientationPatient or PixelSpacing is not valid. Repair the header."
        )
    content = functional_group(header, "FrameContentSequence", frame)
    order = (content.get("InStackPositionNumber") or 0) if content else 0
    acquisition = header.get("AcquisitionNumber") if header.get("Modality") == "CT" else None
    key = _key(header, frame)
    return Slice(path, label, frame, np.array(position), direction, spacing, key, order, acquisition)


def _key(header: Header, frame: int) -> tuple[Any, ...]:
    """Return what must be equal inside one stack, besides orientation and spacing."""
    names = ["SeriesInstanceUID", "FrameOfReferenceUID", "Rows", "Columns", "PhotometricInterpretation"]
    modality = header.get("Modality")
    if modality == "MR":
        names.append("EchoTime")
    names.append("TemporalPositionIdentifier")
    key = [modality, *(header.get(name) for name in names)]
    diffusion = functional_group(header, "MRDiffusionSequence", frame) or header
    content = functional_group(header, "FrameContentSequence", frame)
    return (*key, diffusion.get("DiffusionBValue"), content.get("StackID") if content else None)


def group_slices(slices: list[Slice]) -> list[list[Slice]]:
    """Return the slices in groups of equal key, orientation (within 1e-4) and spacing.

    A CT group is divided by AcquisitionNumber only where acquisitions overlap: scanners that step
    between shots give every few slices of one volume their own number.
    """
    groups: list[list[Slice]] = []
    for item in slices:
        for group in groups:
            first = group[0]
            if (
                first.key == item.key
                and np.abs(first.orientation - item.orientation).max() <= _SAME_DIRECTION
                and np.allclose(first.spacing, item.spacing, atol=_SAME_SPACING_MM)
            ):
                group.append(item)
                break
        else:
            groups.append([item])
    return [part for group in groups for part in _split_acquisitions(group)]


def _split_acquisitions(group: list[Slice]) -> list[list[Slice]]:
    numbers = list(dict.fromkeys(item.acquisition for item in group))
    positions = np.sort([float(item.position @ group[0].normal) for item in group])
    if len(numbers) == 1 or np.diff(positions).min(initial=np.inf) >= _SAME_POSITION_MM:
        return [group]
    return [[item for item in group if item.acquisition == number] for number in numbers]


def sort_stack(group: list[Slice]) -> Stack:
    """Return the group in ascending position along its normal, with a note on gantry tilt.

    File names and InstanceNumber play no part.
    """
    normal = group[0].normal
    ordered = sorted(group, key=lambda item: (float(item.position @ normal), item.order))
    positions = np.array([item.position @ normal for item in ordered])
    notes: tuple[str, ...] = ()
    span = ordered[-1].position - ordered[0].position
    in_plane = span - (span @ normal) * normal
    if np.linalg.norm(in_plane) > 1e-3 * np.linalg.norm(span):
        notes = ("gantry tilt: the slices are sheared; the affine keeps the shear",)
    return Stack(tuple(ordered), positions, notes)


def without_duplicates(stack: Stack, same_pixels: Any) -> Stack:
    """Return the stack with one slice per position.

    Args:
        same_pixels: called with two slices, True when their stored pixels are equal.

    Raises:
        DuplicateSliceError: two slices at one position differ.
    """
    kept, positions, dropped = [stack.slices[0]], [stack.positions[0]], 0
    for item, position in zip(stack.slices[1:], stack.positions[1:], strict=True):
        if position - positions[-1] >= _SAME_POSITION_MM:
            kept.append(item)
            positions.append(position)
        elif same_pixels(kept[-1], item):
            dropped += 1
        else:
            raise DuplicateSliceError(
                f"{item.label}: two different slices lie at {position:.2f} mm. "
                "The folder mixes acquisitions: pass the files of one only."
            )
    notes = (*stack.notes, f"{dropped} identical duplicate slices left out") if dropped else stack.notes
    return replace(stack, slices=tuple(kept), positions=np.array(positions), notes=notes)


def find_gaps(stack: Stack) -> list[tuple[float, float]]:
    """Return the neighbouring positions (mm) whose distance is more than 1% and 0.01 mm off the median."""
    distances = np.diff(stack.positions)
    off = np.abs(distances - np.median(distances))
    bad = np.flatnonzero((off > 0.01 * np.median(distances)) & (off > 0.01))
    return [(float(stack.positions[k]), float(stack.positions[k + 1])) for k in bad]


def gap_error(stack: Stack, gaps: list[tuple[float, float]]) -> MedicalImageError:
    """Return the error that names the gaps, mm along the slice normal."""
    places = ", ".join(f"between {low:.2f} and {high:.2f} mm" for low, high in gaps[:5])
    return MissingSliceError(
        f"series: slices are {stack.step_mm:g} mm apart except {places}. "
        'Add the missing files, or pass on_gap="resample" (interpolate) or on_gap="keep" (use as they are).'
    )
