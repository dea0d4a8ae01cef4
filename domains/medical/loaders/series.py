"""``load_series``: a folder of DICOM slices, or an enhanced multi-frame file, to a volume."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, overload

import numpy as np
import torch

from ....core.errors import ConfigError
from ....core.limits import DEFAULT, Limits
from .dicom import Loaded, is_inverted, load_frames, resolve_windows
from .dicom_file import open_dicom
from .errors import MedicalImageError, NoPixelData, NotAVolume, check_limit
from .header import Header
from .pixels import PixelInfo, decode_frames, read_pixel_info
from .records import ImageOptions, MedicalVolume
from .stacks import (
    LeftOut,
    Slice,
    Stack,
    find_gaps,
    gap_error,
    group_slices,
    list_files,
    read_slices,
    sort_stack,
    without_duplicates,
)

OnGap = Literal["error", "resample", "keep"]


@dataclass(frozen=True)
class SeriesVolumes(Sequence[MedicalVolume]):
    """Every regular stack found (a sequence of volumes), and ``left_out`` with a reason each."""

    volumes: tuple[MedicalVolume, ...]
    left_out: tuple[LeftOut, ...]

    def __len__(self) -> int:
        return len(self.volumes)

    def __iter__(self) -> Iterator[MedicalVolume]:
        return iter(self.volumes)

    @overload
    def __getitem__(self, index: int) -> MedicalVolume: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[MedicalVolume, ...]: ...
    def __getitem__(self, index: int | slice) -> MedicalVolume | tuple[MedicalVolume, ...]:
        return self.volumes[index]


@overload
def load_series(
    source: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    split: Literal[False] = False,
    window: Any = None,
    on_gap: OnGap = "error",
    space: Literal["LPS", "RAS"] = "LPS",
    limits: Limits = DEFAULT,
    show_paths: bool = False,
) -> MedicalVolume: ...
@overload
def load_series(
    source: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    split: Literal[True],
    window: Any = None,
    on_gap: OnGap = "error",
    space: Literal["LPS", "RAS"] = "LPS",
    limits: Limits = DEFAULT,
    show_paths: bool = False,
) -> SeriesVolumes: ...
def load_series(
    source: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    split: bool = False,
    window: Any = None,
    on_gap: OnGap = "error",
    space: Literal["LPS", "RAS"] = "LPS",
    limits: Limits = DEFAULT,
    show_paths: bool = False,
) -> MedicalVolume | SeriesVolumes:
    """Return the one volume of a series: float32 [1, D, H, W] in modality units (HU for CT).

    Slices are ordered by position along their normal, never by file name or InstanceNumber, and the
    distance between slices is the median of the positions, never SliceThickness.

    Example::

        volume = load_series("study/chest_ct/")
        for volume in load_series("study/", split=True):
            print(volume.spacing, volume.notes)

    Args:
        source: a folder (read with its subfolders), files, or one enhanced multi-frame file.
        split: return every regular stack found and what was left out, instead of exactly one.
        window: as in ``load_image``; the default None keeps modality units.
        on_gap: "error", "resample" (linear, to the median distance) or "keep".
        space: axes of ``affine``, "LPS" or "RAS".

    Raises:
        NotAVolume: no stack of at least two slices, or several without ``split``.
        MissingSliceError, DuplicateSliceError: naming the positions.
        MedicalImageError: a file is damaged or cannot be decoded.
    """
    if on_gap not in ("error", "resample", "keep"):
        raise ConfigError(f'on_gap must be "error", "resample" or "keep", got {on_gap!r}.')
    if space not in ("LPS", "RAS"):
        raise ConfigError(f"space must be 'LPS' or 'RAS', got {space!r}.")
    slices, left_out = read_slices(list_files(source), limits=limits, show_paths=show_paths)
    groups = group_slices(slices)
    stacks = [group for group in groups if len(group) > 1]
    if not stacks or (len(stacks) > 1 and not split):
        raise _no_single_stack(groups, left_out)
    single = [
        LeftOut(group[0].label, "single_slice", "no other slice is parallel to it")
        for group in groups
        if len(group) == 1
    ]
    if not split and single:
        raise _no_single_stack(groups, left_out)
    volumes = []
    for group in stacks:
        try:
            volume = _load_stack(group, window, on_gap, limits=limits, show_paths=show_paths)
            volumes.append(volume.to_space(space))
        except NotAVolume as error:
            if not split:
                raise
            left_out.append(LeftOut(group[0].label, error.kind, str(error)))
    return SeriesVolumes(tuple(volumes), (*left_out, *single)) if split else _with_notes(volumes[0], left_out)


def _no_single_stack(groups: list[list[Slice]], left_out: list[LeftOut]) -> MedicalImageError:
    if not groups and {item.kind for item in left_out} in ({"no_pixels"}, {"no_pixels", "not_an_image"}):
        return NoPixelData("series: none of the files holds pixels. Pass the folder with the image files.")
    sizes = sorted((len(group) for group in groups), reverse=True)
    kinds = ", ".join(sorted({item.kind for item in left_out})) or "none"
    if not groups and not left_out:
        return NotAVolume("series: there are no files. Pass the folder that holds the slices.")
    if not groups and kinds == "not_an_image":
        return NotAVolume(
            "series: no file is DICOM. A volume is a folder of DICOM slices or a NIfTI file; load a picture "
            "with load_image, or on the command line `verticlip classify`."
        )
    if not sizes or sizes[0] < 2:
        return NotAVolume(
            f"series: no two slices are parallel and alike ({len(sizes)} single slices; left out: {kinds}). "
            "Single, radial or localiser slices, and films, are not a volume: load them with load_image, or "
            "on the command line `verticlip classify`."
        )
    largest = sorted(groups, key=len, reverse=True)[:2]
    examples = " and ".join(group[0].label for group in largest)
    return NotAVolume(
        f"series: {len(sizes)} different groups of slices (sizes {', '.join(map(str, sizes[:8]))}), such as "
        f"those of {examples}. Put the files of one into a folder of its own, or pass split=True to "
        "load_series for all of them."
    )


def _with_notes(volume: MedicalVolume, left_out: list[LeftOut]) -> MedicalVolume:
    if not left_out:
        return volume
    counts = {
        kind: sum(item.kind == kind for item in left_out) for kind in sorted({item.kind for item in left_out})
    }
    notes = tuple(f"left out: {count} files ({kind})" for kind, count in counts.items())
    return replace(volume, notes=(*volume.notes, *notes))


def _load_stack(
    group: list[Slice], window: Any, on_gap: OnGap, *, limits: Limits, show_paths: bool
) -> MedicalVolume:
    def same_pixels(one: Slice, other: Slice) -> bool:
        return np.array_equal(
            _stored(one, limits=limits, show_paths=show_paths),
            _stored(other, limits=limits, show_paths=show_paths),
        )

    stack = without_duplicates(sort_stack(group), same_pixels)
    if len(stack.slices) < 2:
        raise NotAVolume("series: all slices lie at one position. Load them with load_image.")
    gaps = find_gaps(stack)
    if gaps and on_gap == "error":
        raise gap_error(stack, gaps)
    values, first, header, info = _load_values(stack, limits=limits, show_paths=show_paths)
    notes, affine = list(stack.notes), stack.affine()
    if gaps and on_gap == "resample":
        values, affine = _resample_slices(values, stack)
        notes.append(f"{len(gaps)} gaps filled by linear interpolation at {stack.step_mm:g} mm")
    elif gaps:
        notes.append(f"{len(gaps)} gaps kept: the affine holds for the first and the last slice only")
    history = [*first.history, f"stack: {len(stack.slices)} slices by position"]
    if window is not None:
        values = _apply_window(values, window, header, info, history)
    meta = first.meta
    meta["slice_step_mm"] = stack.step_mm
    pixels = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))[None]
    return MedicalVolume(pixels, "volume", meta, None, affine, "LPS", tuple(history), tuple(notes))


def _stored(item: Slice, *, limits: Limits, show_paths: bool) -> np.ndarray:
    with open_dicom(item.path, limits=limits, show_paths=show_paths) as file:
        info = read_pixel_info(file, limits=limits)
        return decode_frames(file, info, [item.frame])[0]


def _load_values(
    stack: Stack, *, limits: Limits, show_paths: bool
) -> tuple[np.ndarray, Loaded, Header, PixelInfo]:
    """Return (modality values [D, H, W], record, header and pixel description of the first slice)."""
    options = ImageOptions(window=None, show_paths=show_paths)
    first: tuple[Loaded, Header, PixelInfo] | None = None
    values = np.empty(0, np.float32)
    for k, item in enumerate(stack.slices):
        with open_dicom(item.path, limits=limits, show_paths=show_paths) as file:
            info = read_pixel_info(file, limits=limits)
            if info.samples != 1 or info.photometric == "PALETTE COLOR":
                raise NotAVolume(f"{item.label}: a colour image. A volume needs grey slices; use load_image.")
            loaded = load_frames(file, info, [item.frame], options)
            if first is None:
                total = len(stack.slices) * info.rows * info.columns * 4
                check_limit(limits, "decoded_bytes", total, what="series: decoded bytes")
                values = np.empty((len(stack.slices), info.rows, info.columns), np.float32)
                first = loaded, file.header, info
            values[k] = loaded.values[0, 0]
    if first is None:
        raise NotAVolume("series: no slices.")
    return values, *first


def _resample_slices(values: np.ndarray, stack: Stack) -> tuple[np.ndarray, np.ndarray]:
    """Return (values [D', H, W] on a regular grid of the median step, affine)."""
    start, end, step = stack.positions[0], stack.positions[-1], stack.step_mm
    count = int(np.floor((end - start) / step + 1e-6)) + 1
    targets = start + step * np.arange(count)
    upper = np.clip(np.searchsorted(stack.positions, targets), 1, len(stack.positions) - 1)
    lower = upper - 1
    weight = (targets - stack.positions[lower]) / (stack.positions[upper] - stack.positions[lower])
    weight = np.clip(weight, 0, 1).astype(np.float32)[:, None, None]
    span = stack.slices[-1].position - stack.slices[0].position
    return values[lower] * (1 - weight) + values[upper] * weight, stack.affine(span / (end - start) * step)


def _apply_window(
    values: np.ndarray, window: Any, header: Header, info: PixelInfo, history: list[str]
) -> np.ndarray:
    """Return [D, H, W] in [0, 1]; data-driven rules see the whole volume."""
    maps = resolve_windows(window, header, info, [0], (values, None))
    if len(maps[0]) != 1:
        raise NotAVolume("series: a volume has one channel. Pass one window instead of 'multi'.")
    history.append(f"window: {maps[0][0]}")
    unit = maps[0][0].apply(values)
    if is_inverted(header):
        history.append("invert: 1 - u")
        return 1 - unit
    return unit
