"""DICOM to values: decode, colour, modality transform, padding, window, inversion, in that order."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ....core.errors import nearest
from ....core.limits import Limits
from .color import apply_icc, apply_palette
from .dicom_file import DicomFile, open_dicom
from .errors import CorruptFile, MedicalImageError, WindowError
from .geometry import Geometry, functional_group, plane, spacing_2d
from .header import Header, allowed_meta
from .pixels import PixelInfo, decode_frames, read_pixel_info
from .records import ImageOptions, Meta, choose_frames
from .windows import (
    FUNCTIONS,
    Range,
    Table,
    ValueMap,
    Window,
    default_rules,
    explicit_maps,
    parse_descriptor,
    range_of,
    windows,
)

_CODED_UNITS = (
    "BQML",
    "CNTS",
    "NONE",
    "CM2",
    "PCNT",
    "CPS",
    "GML",
    "MLG",
    "MLMING",
    "PROPCNTS",
    "PROPCPS",
    "STDDEV",
)


@dataclass
class Loaded:
    """Pixels of one file on their way to a ``MedicalImage``: float32 [T, C, H, W] and what is known."""

    values: np.ndarray
    meta: Meta
    geometry: Geometry
    history: list[str]
    mask: np.ndarray | None = None


def load_dicom(path: str | os.PathLike[str], options: ImageOptions, *, limits: Limits) -> Loaded:
    """Return the frames asked for as float32 [T, C, H, W] after steps 1 to 9 of the pipeline.

    Raises:
        MedicalImageError: every kind of :mod:`.errors` that concerns DICOM.
    """
    with open_dicom(path, limits=limits, force=options.force, show_paths=options.show_paths) as file:
        info = read_pixel_info(file, limits=limits, strict=options.strict)
        frames = choose_frames(options, info.frames, file.header.label)
        return load_frames(file, info, frames, options)


def load_frames(file: DicomFile, info: PixelInfo, frames: Sequence[int], options: ImageOptions) -> Loaded:
    """Return the given frames of an open file as float32 [T, C, H, W]."""
    header = file.header
    stored, decoder = decode_frames(file, info, frames, strict=options.strict)
    history = [f"decode: {decoder}"]
    meta = Meta(allowed_meta(header, file.syntax))
    meta["photometric"] = info.photometric
    mask = None
    if info.samples == 3 or (info.photometric == "PALETTE COLOR" and "color" not in options.skip):
        values = _color_values(stored, header, info, options, history)
        meta["units"] = "color"
    else:
        values, mask = _gray_values(stored, header, info, frames, options, history, meta)
    position, orientation = plane(header, frames[0])
    spacing, source = spacing_2d(header, frames[0])
    meta["spacing_mm"], meta["spacing_source"] = spacing, source
    if (times := _frame_times(header, frames)) is not None:
        meta["frame_times_s"] = times
    geometry = Geometry((info.rows, info.columns), (), spacing, source, position, orientation)
    return Loaded(values.astype(np.float32, copy=False), meta, geometry, history, mask)


def _color_values(
    stored: np.ndarray, header: Header, info: PixelInfo, options: ImageOptions, history: list[str]
) -> np.ndarray:
    top = (1 << min(info.bits_stored, 32)) - 1
    if info.photometric == "PALETTE COLOR":
        stored, top = apply_palette(stored, header), 255
        history.append("color: palette to RGB")
    elif info.photometric.startswith("YBR"):
        history.append("color: YBR to RGB")
    if options.window not in (None, "default", "full"):
        raise WindowError(
            f"{header.label}: a window applies to grey images, this one is colour. Leave window out."
        )
    if options.normalize == "xrv":
        raise WindowError(f"{header.label}: normalize='xrv' applies to grey images, this one is colour.")
    if options.icc and (profile := header.raw("ICCProfile")) is not None:
        if stored.dtype != np.uint8:
            raise MedicalImageError(f"{header.label}: icc=True needs 8-bit colour. Pass icc=False.")
        stored = np.stack([apply_icc(frame, profile, header.label) for frame in stored])
        history.append("color: ICC profile to sRGB")
    values = np.moveaxis(stored, -1, 1).astype(np.float64 if top > 0xFFFFFF else np.float32)
    if options.window is not None and "window" not in options.skip:
        values /= top
        history.append(f"unit: divided by {top}")
    return values


def _gray_values(
    stored: np.ndarray, header: Header, info: PixelInfo, frames: Sequence[int], options: ImageOptions,
    history: list[str], meta: Meta,
) -> tuple[np.ndarray, np.ndarray | None]:  # fmt: skip
    if options.normalize == "xrv":
        return xrv_values(stored, header, info, options, history)[:, None], None
    mask = None if "padding" in options.skip else padding_mask(stored, header)
    values = modality_values(
        stored, header, info, frames, rescale="rescale" not in options.skip, history=history
    )
    meta["units"] = _units(header) if "rescale" not in options.skip else "stored"
    if mask is not None:
        # +inf first, so that one pass over the array finds the smallest valid value
        np.putmask(values, mask, np.inf)
        least = values.min()
        np.putmask(values, mask, least if np.isfinite(least) else 0)
        history.append("padding: set to the minimum")
    if options.window is None or "window" in options.skip:
        return values[:, None], mask
    maps = resolve_windows(
        options.window, header, info, frames, (values, mask), prefer_lut=options.prefer_lut
    )
    unit = _apply_windows(values, maps)
    meta["window"] = tuple(str(item) for item in maps[0])
    history.extend(f"window: {item}" for item in maps[0])
    if is_inverted(header) and "invert" not in options.skip:
        np.subtract(1, unit, out=unit)
        if mask is not None:
            unit[np.broadcast_to(mask[:, None], unit.shape)] = 0
        history.append("invert: 1 - u")
    return unit, mask


def _apply_windows(values: np.ndarray, maps: list[list[ValueMap]]) -> np.ndarray:
    """Return [T, C, H, W]: one channel per map; one list of maps serves all frames or each its own."""
    if len(maps) == 1:
        return np.stack([item.apply(values) for item in maps[0]], axis=1)
    return np.stack(
        [np.stack([item.apply(frame) for item in own]) for frame, own in zip(values, maps, strict=True)]
    )


def padding_mask(stored: np.ndarray, header: Header) -> np.ndarray | None:
    """Return bool [T, H, W], True where the stored value is padding; None without padding.

    The range limit, when present, may lie on either side of the padding value.
    """
    value = header.get("PixelPaddingValue")
    if value is None:
        return None
    limit = header.get("PixelPaddingRangeLimit")
    low, high = sorted((value, value if limit is None else limit))
    mask = stored == low if low == high else (stored >= low) & (stored <= high)
    return mask if mask.any() else None


def modality_values(
    stored: np.ndarray, header: Header, info: PixelInfo, frames: Sequence[int], *, rescale: bool,
    history: list[str],
) -> np.ndarray:  # fmt: skip
    """Return modality values [T, H, W] as float32, or float64 where float32 would lose digits.

    A ModalityLUTSequence wins over slope and intercept; a missing slope is 1, a missing intercept
    0. Enhanced objects carry the transform per frame, which replaces the one of the data set.
    """
    if not rescale or stored.dtype.kind == "f":
        return stored.astype(np.float64 if info.bits_stored > 24 else np.float32)
    table = modality_table(header)
    if table is not None:
        history.append(f"rescale: {table}")
        return table.look_up(stored).astype(np.float32)
    pairs = [_slope_intercept(header, frame) for frame in frames]
    whole = all(float(number).is_integer() for pair in pairs for number in pair)
    largest = max(
        abs(slope) * (1 << min(info.bits_stored, 62)) + abs(intercept) for slope, intercept in pairs
    )
    values = stored.astype(np.float32 if whole and largest < 2**24 else np.float64)
    if len(set(pairs)) == 1:
        slope, intercept = pairs[0]
        if slope != 1:
            values *= slope
        if intercept != 0:
            values += intercept
        if (slope, intercept) != (1, 0):
            history.append(f"rescale: {slope:g} * x + {intercept:g}")
        return values
    shape = (-1, 1, 1)
    values *= np.array([slope for slope, _ in pairs], values.dtype).reshape(shape)
    values += np.array([intercept for _, intercept in pairs], values.dtype).reshape(shape)
    history.append("rescale: slope and intercept of each frame")
    return values


def modality_table(header: Header) -> Table | None:
    """Return the modality LUT of the header, or None."""
    for item in header.items("ModalityLUTSequence")[:1]:
        return _table(item, header, source="modality")
    return None


def _table(item: Header, header: Header, *, source: str, signed: bool = False) -> Table:
    descriptor, data = item.values("LUTDescriptor"), item.raw("LUTData")
    if len(descriptor) != 3 or data is None:
        raise CorruptFile(
            f"{header.label}: the {source} LUT has no data or no valid descriptor. Export it again."
        )
    first = header.signed(descriptor[1])
    if signed and first > 0x7FFF:
        first -= 0x10000
    return parse_descriptor(descriptor, data, first=first, source=source)


def _slope_intercept(header: Header, frame: int) -> tuple[float, float]:
    source = functional_group(header, "PixelValueTransformationSequence", frame) or header
    slope, intercept = source.get("RescaleSlope"), source.get("RescaleIntercept")
    return (1.0 if slope is None else slope), (0.0 if intercept is None else intercept)


def _units(header: Header) -> str:
    """Return what the numbers are: "HU", a coded unit of PET/NM, the rescale type, or "unspecified"."""
    units = header.get("Units")
    if units in _CODED_UNITS:
        return units
    transform = functional_group(header, "PixelValueTransformationSequence", 0) or header
    kind = transform.get("RescaleType")
    if kind and kind.isalnum() and kind != "US" and len(kind) <= 16:
        return kind
    return "HU" if header.get("Modality") == "CT" else "unspecified"


def is_inverted(header: Header) -> bool:
    """Return True when the smallest value is to be shown white; both signs together count once."""
    return (
        header.get("PhotometricInterpretation") == "MONOCHROME1"
        or header.get("PresentationLUTShape") == "INVERSE"
    )


def resolve_windows(
    choice: Any, header: Header, info: PixelInfo, frames: Sequence[int],
    values: tuple[np.ndarray, np.ndarray | None], *, prefer_lut: bool = True,
) -> list[list[ValueMap]]:  # fmt: skip
    """Return the value maps of a window choice: one list for all frames, or one list per frame.

    Args:
        choice: see :class:`~.records.ImageOptions`; not None.
        values: modality values [T, H, W] and the padding mask, read by data-driven rules.

    Raises:
        WindowError: unknown name, or "header" without a window in the header.
    """
    data, mask = values
    for rule in default_rules(header.get("Modality")) if choice == "default" else [choice]:
        if rule == "full":
            return [[_full_range(header, info, frames, data)]]
        if isinstance(rule, str) and (rule == "header" or rule.startswith("header:")):
            found = _header_windows(rule, header, frames, prefer_lut)
            if found is not None:
                return found
            continue
        if choice == "default" and rule in windows():
            # warnings, not logging: the standard filter shows it once per process
            warnings.warn(
                f"No window in the header of a CT: preset {rule!r} is used. Pass window= to choose.",
                stacklevel=2,
            )
        return [explicit_maps(rule, data, None if mask is None else ~mask)]
    raise WindowError(
        f"{header.label}: the header has no such window. Pass a preset, (center, width) or None."
    )


def _header_windows(
    rule: str, header: Header, frames: Sequence[int], prefer_lut: bool
) -> list[list[ValueMap]] | None:
    text = rule.partition(":")[2] or "0"
    if not text.isdigit():
        raise WindowError(f"Window {rule!r}: give a number from 0, as in 'header:1'.")
    own = [functional_group(header, "FrameVOILUTSequence", frame) for frame in frames]
    if any(item is not None for item in own):
        found = [_one_header_window(item or header, header, int(text), prefer_lut) for item in own]
        return [[item] for item in found if item is not None] if all(found) else None
    single = _one_header_window(header, header, int(text), prefer_lut)
    return None if single is None else [[single]]


def _one_header_window(source: Header, header: Header, index: int, prefer_lut: bool) -> ValueMap | None:
    tables = source.items("VOILUTSequence")
    centers, widths = source.values("WindowCenter"), source.values("WindowWidth")
    has_window = index < min(len(centers), len(widths))
    if index < len(tables) and (prefer_lut or not has_window):
        intercept = _slope_intercept(header, 0)[1]
        return _table(tables[index], header, source=f"header VOI LUT {index}", signed=intercept < 0)
    if not has_window:
        return None
    function = source.get("VOILUTFunction") or "LINEAR"
    if function not in FUNCTIONS:
        # Only a slip is quoted: a damaged header may hold anything here, a name included.
        hint = nearest(function, FUNCTIONS)
        shown = f" {function!r}" if hint else ""
        raise WindowError(
            f"{header.label}: VOILUTFunction{shown} of the header is none of {', '.join(FUNCTIONS)}.{hint} "
            "Repair the header, or pass window=(center, width)."
        )
    try:
        return Window(centers[index], widths[index], function, source=f"header {index}")
    except WindowError as error:
        raise WindowError(
            f"{header.label}: the window of the header cannot be used. {error} "
            "Pass window=minmax or another window, or repair the header."
        ) from error


def _full_range(header: Header, info: PixelInfo, frames: Sequence[int], values: np.ndarray) -> Range:
    if info.bits_stored > 24 or values.size == 0:
        return range_of("minmax", values, None)
    table = modality_table(header)
    if table is not None:
        return Range(0.0, float((1 << table.bits) - 1), "full")
    slope, intercept = _slope_intercept(header, frames[0])
    low, high = sorted(slope * bound + intercept for bound in info.stored_range)
    return Range(low, high, "full")


def xrv_values(
    stored: np.ndarray, header: Header, info: PixelInfo, options: ImageOptions, history: list[str]
) -> np.ndarray:
    """Return float32 [T, H, W] in [-1024, 1024] as torchxrayvision's models expect.

    (2 x / (2^BitsStored - 1) - 1) * 1024; MONOCHROME1 is mirrored first; the rescale is ignored. A
    header window or VOI table is used only with ``window="header"``.

    Raises:
        CorruptFile: a stored value exceeds 2^BitsStored - 1.

    Reference: mlmed/torchxrayvision, ``utils.read_xray_dcm`` and ``utils.normalize``.
    """
    largest = float((1 << info.bits_stored) - 1)
    values = stored.astype(np.float64)
    if info.photometric == "MONOCHROME1" and "invert" not in options.skip:
        values = largest - values
        history.append("invert: maximum - x")
    if isinstance(options.window, str) and options.window.startswith("header"):
        found = _header_windows(options.window, header, [0], options.prefer_lut)
        if found is None:
            raise WindowError(f"{header.label}: the header has no such window. Leave window out.")
        voi = found[0][0]
        values = (
            voi.look_up(values).astype(np.float64) if isinstance(voi, Table) else voi.apply(values) * largest
        )
        history.append(f"window: {voi}")
    elif options.window not in ("default", None):
        raise WindowError(f"{header.label}: normalize='xrv' takes window='header' or no window.")
    if values.max() > largest:
        raise CorruptFile(f"{header.label}: pixel values exceed BitsStored. Repair the header.")
    history.append("unit: torchxrayvision range -1024 to 1024")
    return ((2 * values / largest - 1) * 1024).astype(np.float32)


def _frame_times(header: Header, frames: Sequence[int]) -> tuple[float, ...] | None:
    """Return the start of each frame in seconds from the first frame of the file, or None."""
    steps = header.values("FrameTimeVector")
    if len(steps) > max(frames):
        starts = list(itertools.accumulate([0.0, *steps[1:]]))
        return tuple(starts[frame] / 1000 for frame in frames)
    step = header.get("FrameTime")
    return None if step is None else tuple(step * frame / 1000 for frame in frames)
