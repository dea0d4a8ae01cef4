"""Fabricated DICOM files with planted identity, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

SERIES_UID = "1.2.3.444.555.1"
SECRETS = (
    "Zaphodius",
    "MRN-424242",
    "19710203",
    "SecretHospital",
    "private-note-777",
    "1.2.3.444",
)
"""Values planted in every file; none may reach a message, log, repr, meta or pickle."""


def dataset(pixels: np.ndarray, **elements: Any) -> Dataset:
    """Return a CT data set around ``pixels`` ([H, W], [F, H, W] or with a last axis of 3)."""
    item = Dataset()
    color = pixels.ndim > 2 and pixels.shape[-1] == 3
    size = pixels.shape[-3:-1] if color else pixels.shape[-2:]
    item.SOPClassUID, item.SOPInstanceUID = CTImageStorage, "1.2.3.444.555.9"
    item.PatientName, item.PatientID, item.PatientBirthDate = "Zaphodius^Test", "MRN-424242", "19710203"
    item.StudyDate, item.InstitutionName = "19710203", "SecretHospital"
    item.StudyInstanceUID, item.SeriesInstanceUID = "1.2.3.444.555.2", SERIES_UID
    item.private_block(0x0011, "ACME", create=True).add_new(0x01, "LO", "private-note-777")
    item.Modality = "CT"
    item.Rows, item.Columns = size
    item.SamplesPerPixel = 3 if color else 1
    item.PhotometricInterpretation = "RGB" if color else "MONOCHROME2"
    if color:
        item.PlanarConfiguration = 0
    frames = pixels.size // (size[0] * size[1] * item.SamplesPerPixel)
    if frames > 1:
        item.NumberOfFrames = frames
    bits = pixels.dtype.itemsize * 8
    item.BitsAllocated, item.BitsStored, item.HighBit = bits, bits, bits - 1
    item.PixelRepresentation = int(pixels.dtype.kind == "i")
    if pixels.dtype.kind == "f":
        del item.BitsStored, item.HighBit, item.PixelRepresentation
        item.FloatPixelData = pixels.tobytes()
    else:
        data = pixels.tobytes()
        item.PixelData = data + b"\0" * (len(data) % 2)
        item["PixelData"].VR = "OW" if bits > 8 else "OB"
    for name, value in elements.items():
        if value is None:
            delattr(item, name)
        else:
            setattr(item, name, value)
    return item


def write(path: Path, item: Dataset, *, syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write a data set as a DICOM file in a native or already encapsulated transfer syntax."""
    item.file_meta = FileMetaDataset()
    item.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian and item.BitsAllocated == 16:
        item.PixelData = np.frombuffer(item.PixelData, "<u2").astype(">u2").tobytes()
    item.save_as(path, enforce_file_format=True)
    return path


def image(path: Path, pixels: np.ndarray, *, syntax: str = ExplicitVRLittleEndian, **elements: Any) -> Path:
    """Write one image and return its path."""
    return write(path, dataset(pixels, **elements), syntax=syntax)


def encapsulated(
    path: Path, frames: list[bytes], shape: tuple[int, int], syntax: str, **elements: Any
) -> Path:
    """Write compressed frames; ``elements`` describe them."""
    bits = elements.pop("bits", 8)
    item = dataset(np.zeros(shape, np.uint8 if bits == 8 else np.uint16), **elements)
    item.PixelData = encapsulate(frames)
    item["PixelData"].VR = "OB"
    item["PixelData"].is_undefined_length = True
    return write(path, item, syntax=syntax)


def lut(entries: list[int], first: int, bits: int) -> Sequence:
    """Return a one-item look-up table sequence."""
    item = Dataset()
    item.LUTDescriptor = [len(entries) % 65_536, first, bits]
    item.LUTData = np.array(entries, "<u2").tobytes()
    item["LUTData"].VR = "OW"
    return Sequence([item])


def series(
    folder: Path,
    positions: list[tuple[float, float, float]],
    *,
    orientation: tuple[float, ...] = (1, 0, 0, 0, 1, 0),
    **elements: Any,
) -> list[Path]:
    """Write one 4 x 6 slice per position; the slice's stored values are its number + 10."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, position in enumerate(positions):
        own = {name: value[number] if isinstance(value, list) else value for name, value in elements.items()}
        pixels = own.pop("pixels", np.full((4, 6), number + 10, np.uint16))
        own.setdefault("SOPInstanceUID", f"1.2.3.444.555.9.{number}")
        item = dataset(pixels, **own)
        item.ImagePositionPatient = [f"{value:.10g}" for value in position]
        item.ImageOrientationPatient = [f"{value:.10g}" for value in orientation]
        item.PixelSpacing = ["0.8", "0.5"]
        # names run against the order of the slices
        paths.append(write(folder / f"Zaphodius_{len(positions) - number:03d}.dcm", item))
    return paths


def enhanced(path: Path, heights: list[float], slopes: list[float]) -> Path:
    """Write an enhanced multi-frame object with a place and a rescale per frame."""
    item = dataset(np.stack([np.full((4, 6), 10, np.uint16)] * len(heights)))
    shared, per_frame = Dataset(), []
    measures, orientation = Dataset(), Dataset()
    measures.PixelSpacing, orientation.ImageOrientationPatient = ["0.8", "0.5"], [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([orientation])
    for height, slope in zip(heights, slopes, strict=True):
        frame, position, transform, window = Dataset(), Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [0, 0, height]
        transform.RescaleSlope, transform.RescaleIntercept, transform.RescaleType = slope, -100, "HU"
        window.WindowCenter, window.WindowWidth = 0, 100 * slope
        frame.PlanePositionSequence = Sequence([position])
        frame.PixelValueTransformationSequence = Sequence([transform])
        frame.FrameVOILUTSequence = Sequence([window])
        per_frame.append(frame)
    item.SharedFunctionalGroupsSequence = Sequence([shared])
    item.PerFrameFunctionalGroupsSequence = Sequence(per_frame)
    return write(path, item)


IMPLICIT, BIG = ImplicitVRLittleEndian, ExplicitVRBigEndian
