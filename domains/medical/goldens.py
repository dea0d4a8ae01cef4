"""Replay of the stored reference cases of the medical loaders, through the loaders' own code."""

from __future__ import annotations

import fnmatch
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import InputError, require
from .loaders.color import look_up_palette, ybr_to_rgb
from .loaders.series import load_series
from .loaders.windows import Table, Window

TOLERANCES = {
    "*.unit": 1e-6,
    "*_unit": 1e-6,
    "*.window_unit_before_inversion": 1e-6,
    "*.hu": 1e-3,
    "mlut.out": 0.0,
    "voilut.prefer_lut": 0.0,
    "voilut.prefer_window": 1e-3,
    "palette.*": 0.0,
    "ybr.rgb": 1.0,
    "volume_xyz": 1e-3,
    "affine_*": 1e-4,
    "spacing_xyz": 1e-4,
}
"""Largest absolute difference by output name (shell-style patterns, first match wins)."""


def replay_windowing(
    config: Mapping[str, Any], inputs: Mapping[str, Any], case_dir: Path
) -> dict[str, np.ndarray]:
    """Return float32 arrays of the windowing case by output name.

    Args:
        config: the case's config.json; ``items`` says what to do with each input.
        inputs: ``NAME.stored`` and, where the item needs them, ``NAME.table`` or ``NAME.tables_rgb``.
        case_dir: unused; every replay takes it.

    Raises:
        InputError: an item of a kind this replay does not know.
    """
    arrays = {name: np.asarray(value) for name, value in inputs.items()}
    outputs: dict[str, np.ndarray] = {}
    for name, item in config["items"].items():
        outputs.update(_replay_item(name, item, config["items"], arrays))
    return {name: value.astype(np.float32) for name, value in outputs.items()}


def _replay_item(
    name: str, item: Mapping[str, Any], items: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    base = name.partition(".")[0]
    stored = arrays[f"{base}.stored"]
    if f"{name}.tables_rgb" in arrays:
        tables = [_table(item, entries) for entries in arrays[f"{name}.tables_rgb"]]
        entries = look_up_palette(stored, tables)
        return {f"{name}.rgb16": entries, f"{name}.rgb8": entries >> 8 if tables[0].bits > 8 else entries}
    if f"{name}.table" in arrays:
        table = _table(item, arrays[f"{name}.table"])
        if "center" not in item:
            return {f"{name}.out": table.look_up(stored)}
        low, high = _output_range(item, stored)
        unit = _window(item).apply(stored.astype(np.float64))
        return {
            f"{name}.prefer_lut": table.look_up(stored),
            f"{name}.prefer_window": unit * (high - low) + low,
        }
    if str(item.get("photometric", "")).startswith("YBR"):
        return {f"{name}.rgb": ybr_to_rgb(stored)}
    values = _rescaled(stored, items.get(base, {}))
    if item.get("photometric") == "MONOCHROME1":
        unit = _window(item).apply(values)
        return {f"{name}.window_unit_before_inversion": unit, f"{name}.display_unit": 1 - unit}
    if "center" in item:
        return {f"{name}.unit": _window(item).apply(values)}
    if "rescale_slope" in item:
        return {f"{name}.hu": values}
    raise InputError(f"golden item {name!r} is of no known kind; keys: {', '.join(item)}.")


def _rescaled(stored: np.ndarray, item: Mapping[str, Any]) -> np.ndarray:
    return stored.astype(np.float64) * item.get("rescale_slope", 1.0) + item.get("rescale_intercept", 0.0)


def _window(item: Mapping[str, Any]) -> Window:
    center, width = item["center"], item["width"]
    if isinstance(center, list):
        center, width = center[item.get("index", 0)], width[item.get("index", 0)]
    return Window(float(center), float(width), item.get("function", "LINEAR"))


def _table(item: Mapping[str, Any], entries: np.ndarray) -> Table:
    _, first, bits = item["descriptor"]
    return Table(entries, int(first), int(bits))


def _output_range(item: Mapping[str, Any], stored: np.ndarray) -> tuple[float, float]:
    """Return the reference's output range: the whole range of the stored type, in modality units."""
    if "output_range" in item:
        return tuple(item["output_range"])
    bits = item.get("bits_stored") or int(stored.max()).bit_length()
    if item.get("pixel_representation") == 1:
        return -float(1 << (bits - 1)), float((1 << (bits - 1)) - 1)
    return 0.0, float((1 << bits) - 1)


def replay_series_volume(
    config: Mapping[str, Any], inputs: Mapping[str, Any], case_dir: Path
) -> dict[str, np.ndarray]:
    """Return volume_xyz [columns, rows, slices], affines [4, 4] and spacing of the series case.

    The slices are written as DICOM files in the stated file order and read with ``load_series``. The
    reference orders slices by InstanceNumber; where that runs against the normal, ours is flipped
    along the slice axis, affine included, before it is returned.
    """
    arrays = {name: np.asarray(value) for name, value in inputs.items()}
    with tempfile.TemporaryDirectory() as folder:
        _write_series(Path(folder), config, arrays)
        volume = load_series(folder)
    values = volume.pixels[0].permute(2, 1, 0).numpy()
    affine = volume.affine
    if _runs_against_normal(config, arrays):
        values = values[..., ::-1]
        flip = np.diag([1.0, 1.0, -1.0, 1.0])
        flip[2, 3] = values.shape[2] - 1
        affine = affine @ flip
    return {
        "volume_xyz": np.ascontiguousarray(values),
        "affine_lps": affine,
        "affine_ras": np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine,
        "spacing_xyz": np.linalg.norm(affine[:3, :3], axis=0),
    }


def _runs_against_normal(config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bool:
    row, column = np.split(np.asarray(config["image_orientation_patient"], dtype=np.float64), 2)
    positions = arrays["image_position_patient_in_file_order"] @ np.cross(row, column)
    numbers = arrays["instance_number_in_file_order"]
    return bool(positions[numbers.argmin()] > positions[numbers.argmax()])


def _write_series(folder: Path, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    require("pydicom", extra="medical")
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    series, study, frame_of_reference = generate_uid(), generate_uid(), generate_uid()
    stored = arrays["stored_in_file_order"]
    signed = bool(stored.min() < 0)
    for k, pixels in enumerate(stored):
        item = Dataset()
        item.SOPClassUID, item.SOPInstanceUID = CTImageStorage, generate_uid()
        item.SeriesInstanceUID, item.StudyInstanceUID = series, study
        item.FrameOfReferenceUID, item.Modality = frame_of_reference, "CT"
        item.InstanceNumber = int(arrays["instance_number_in_file_order"][k])
        item.ImagePositionPatient = [
            f"{value:.10g}" for value in arrays["image_position_patient_in_file_order"][k]
        ]
        item.ImageOrientationPatient = [f"{value:.10g}" for value in config["image_orientation_patient"]]
        item.PixelSpacing = [f"{value:.10g}" for value in config["pixel_spacing_row_col"]]
        item.RescaleSlope, item.RescaleIntercept = (
            str(config["rescale_slope"]),
            str(config["rescale_intercept"]),
        )
        item.Rows, item.Columns = pixels.shape
        item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
        item.BitsAllocated, item.BitsStored, item.HighBit = 16, 16, 15
        item.PixelRepresentation = int(signed)
        item.PixelData = pixels.astype("<i2" if signed else "<u2").tobytes()
        item.file_meta = FileMetaDataset()
        item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        item.save_as(folder / f"{k:05d}.dcm", enforce_file_format=True)


CASES = {"windowing": replay_windowing, "series_volume": replay_series_volume}
"""Golden cases by name."""


def tolerance(case: str, name: str, expected: Any) -> float:
    """Return the largest absolute difference allowed for an output; 0 when none is stated."""
    return next((value for pattern, value in TOLERANCES.items() if fnmatch.fnmatchcase(name, pattern)), 0.0)
