"""``inspect``: what a file is, without saying whose it is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ....core.limits import DEFAULT, Limits
from .arrays import array_shapes
from .dicom_file import describe, open_dicom
from .errors import check_input_file, label_of
from .geometry import spacing_2d
from .header import Header, allowed_meta
from .image import identify
from .volume import load_volume_header

_TEXT_PRONE = ("US", "SC", "XC", "XA", "RF", "OT")


@dataclass(frozen=True)
class Inspection:
    """A summary that may be shown: allow-listed facts and warnings, no identity, no private tags.

    ``print(inspect(path))`` writes one fact per line.
    """

    kind: str
    size_bytes: int
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"kind: {self.kind}", f"size_bytes: {self.size_bytes}"]
        lines += [f"{name}: {value}" for name, value in self.facts.items()]
        lines += [f"warning: {text}" for text in self.warnings]
        return "\n".join(lines)


def inspect(
    path: str | os.PathLike[str], *, force: bool = False, limits: Limits = DEFAULT, show_paths: bool = False
) -> Inspection:
    """Return a safe summary of a file; pixels are not decoded.

    Example::

        print(inspect("scan.dcm"))

    Raises:
        MedicalImageError: missing, damaged or over a ceiling; see :mod:`.errors`.
    """
    label = label_of(path, show_paths=show_paths)
    size = check_input_file(path, limits=limits, label=label)
    kind = identify(path, limits=limits, show_paths=show_paths)
    if kind == "dicom" or (kind == "unknown" and force):
        with open_dicom(path, limits=limits, force=force, show_paths=show_paths, need_pixels=False) as file:
            facts = allowed_meta(file.header, file.syntax)
            facts["has_pixels"] = file.pixel_keyword is not None
            facts["spacing_mm"], facts["spacing_source"] = spacing_2d(file.header)
            return Inspection("dicom", size, facts, tuple(burned_in_risks(file.header)))
    if kind == "nifti":
        facts = load_volume_header(path, limits=limits, show_paths=show_paths)
        risk = "a head scan allows face reconstruction; deface it before sharing"
        return Inspection("nifti", size, facts, (risk,))
    if kind == "raster":
        return _inspect_raster(path, size)
    if kind == "npz":
        return Inspection("npz", size, {"arrays": array_shapes(path, limits=limits, label=label)})
    with Path(path).open("rb") as stream:
        return Inspection(f"unknown ({describe(stream.read(512))})", size)


def burned_in_risks(header: Header) -> list[str]:
    """Return why text with identity may stand in the pixels. An empty list is no claim of cleanliness."""
    risks = []
    if header.get("BurnedInAnnotation") == "YES":
        risks.append("BurnedInAnnotation is YES: text stands in the pixels")
    modality = header.get("Modality")
    if modality in _TEXT_PRONE:
        risks.append(f"modality {modality} often has text in the pixels")
    kinds = [value.upper() for value in header.values("ImageType")[:2]]
    if kinds == ["DERIVED", "SECONDARY"]:
        risks.append("a derived secondary image may have text in the pixels")
    if modality in ("CT", "MR") and (header.get("BodyPartExamined") or "").upper() in (
        "HEAD",
        "BRAIN",
        "FACE",
        "SKULL",
    ):
        risks.append("a head scan allows face reconstruction; deface it before sharing")
    return risks


def _inspect_raster(path: str | os.PathLike[str], size: int) -> Inspection:
    from PIL import Image, UnidentifiedImageError

    from .raster import FORMATS

    try:
        with Image.open(path, formats=FORMATS) as image:
            facts = {
                "format": image.format,
                "width": image.size[0],
                "height": image.size[1],
                "mode": image.mode,
                "frames": getattr(image, "n_frames", 1),
            }
            has_text = bool(image.getexif()) or any(isinstance(value, str) for value in image.info.values())
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        return Inspection("raster (damaged)", size)
    return Inspection(
        "raster", size, facts, ("EXIF or text fields present; they may name a person",) if has_text else ()
    )
