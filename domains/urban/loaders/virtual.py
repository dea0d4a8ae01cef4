"""Virtual datasets (VRT): opened only when every file they name was looked at.

A VRT is a short text that may name any file of the machine or any address of the network, and a picture file
may be one in disguise. Here the text is read by our own rules, each source is checked and given by its
absolute path, and GDAL is handed the rewritten text: it never sees the original.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast
from xml.etree import ElementTree

from .errors import RasterError, RasterOpenError, UnsafeRasterError
from .files import FileFacts, check_sidecars, identify
from .options import RasterOptions

_ELEMENTS = frozenset(
    [
        "Approximate",
        "AveragedSource",
        "BlockXSize",
        "BlockYSize",
        "BucketCount",
        "Category",
        "CategoryNames",
        "Clamp",
        "ColorInterp",
        "ColorTable",
        "ColorTableComponent",
        "ComplexSource",
        "Description",
        "DstMax",
        "DstMin",
        "DstRect",
        "Entry",
        "Exponent",
        "GeoTransform",
        "HideNoDataValue",
        "HistCounts",
        "HistItem",
        "HistMax",
        "HistMin",
        "Histograms",
        "IncludeOutOfRange",
        "LUT",
        "MDI",
        "MaskBand",
        "Metadata",
        "NODATA",
        "NoDataValue",
        "Offset",
        "Overview",
        "OverviewList",
        "SRS",
        "Scale",
        "ScaleOffset",
        "ScaleRatio",
        "SimpleSource",
        "SourceBand",
        "SourceFilename",
        "SourceProperties",
        "SrcMax",
        "SrcMin",
        "SrcRect",
        "UnitType",
        "UseMaskBand",
        "VRTDataset",
        "VRTRasterBand",
    ]
)
_DEPTH = 4
"""How many VRTs may name one another."""
_SOURCES = 100_000


Beside = tuple[tuple[str, int, int], ...]
"""See :attr:`.files.FileFacts.beside`."""


def checked_vrt(facts: FileFacts, options: RasterOptions, *, depth: int = 0) -> tuple[str, Beside]:
    """Return the text of a VRT with every source checked and made absolute, and the files it reads.

    Args:
        facts: of the VRT.
        options: as the raster is opened.
        depth: how many VRTs led here.

    Raises:
        UnsafeRasterError: a source outside of the VRT's folder, of the network, or of a kind not read here.
        RasterOpenError: not a well-formed VRT, or a source is missing.
    """
    if depth >= _DEPTH:
        raise UnsafeRasterError(
            f"{facts.label}: VRTs name one another more than {_DEPTH} deep. Pass the files directly."
        )
    text = Path(facts.path).read_bytes()
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        raise UnsafeRasterError(f"{facts.label}: defines entities of its own, which no VRT needs.")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise RasterOpenError(f"{facts.label}: is no well-formed VRT ({error}).") from error
    _check_elements(root, facts.label)
    sources = list(root.iter("SourceFilename"))
    if len(sources) > _SOURCES:
        raise UnsafeRasterError(
            f"{facts.label}: names {len(sources):,} files; at most {_SOURCES:,} are read."
        )
    known: dict[tuple[str, bool], tuple[str, Beside]] = {}
    for element in sources:
        named = ((element.text or "").strip(), element.get("relativeToVRT", "0").strip() == "1")
        if named not in known:
            known[named] = _checked_source(*named, facts, options, depth)
        element.text = known[named][0]
        # Datasets that GDAL shares between its virtual ones would be shared between threads.
        element.attrib.clear()
        element.attrib.update({"relativeToVRT": "0", "shared": "0"})
    beside = tuple(found for _, files in known.values() for found in files)
    return ElementTree.tostring(root, encoding="unicode"), beside


def _check_elements(root: ElementTree.Element, label: str) -> None:
    for element in root.iter():
        kind = element.get("subClass", "VRTSourcedRasterBand")
        if kind != "VRTSourcedRasterBand":
            raise UnsafeRasterError(
                f"{label}: is a {kind}, which computes pixels or reads raw files; only mosaics are opened. "
                "Write it out first, on a machine that may: gdal_translate IN OUT.tif"
            )
        if element.tag not in _ELEMENTS:
            raise UnsafeRasterError(
                f"{label}: holds the element <{str(element.tag)[:40]}>, which is not read here; only mosaics "
                "are opened. Write it out first: gdal_translate IN OUT.tif"
            )


def _checked_source(
    name: str, relative: bool, vrt: FileFacts, options: RasterOptions, depth: int
) -> tuple[str, Beside]:
    """Return the absolute path of one source, or the text of a checked VRT, and the files that are read."""
    shown = name if options.show_paths else f".../{Path(name).name}" if len(Path(name).parts) > 1 else name
    folder = Path(vrt.path).parent.resolve()
    base = folder if relative else Path.cwd()
    path = base / name
    try:
        real = path.resolve()
        inside = real.is_relative_to(folder) and "://" not in name and not name.startswith("/vsi")
        found = inside and real.is_file()
    except (OSError, ValueError, RuntimeError):
        real, inside, found = path, False, False
    if not name or not inside:
        raise UnsafeRasterError(
            f"{vrt.label}: names the file {shown!r} outside of its own folder. Only files inside of the "
            "folder of a VRT are opened; pass them directly as a list of files if you trust them."
        )
    if not found:
        raise RasterOpenError(f"{vrt.label}: names the file {shown!r}, which does not exist.")
    facts = _facts(real, vrt, shown, options)
    own = (real.name, facts.size, facts.mtime_ns)
    if facts.driver == "VRT":
        text, beside = checked_vrt(facts, options, depth=depth + 1)
        return text, (own, *beside)
    return facts.path, (own, *(check_sidecars(facts) if options.sidecars else ()))


def _facts(path: Path, vrt: FileFacts, shown: str, options: RasterOptions) -> FileFacts:
    try:
        return identify(path, limits=options.limits, show_paths=options.show_paths)
    except RasterError as error:
        kind = cast("type[RasterError]", type(error))
        raise kind(f"{vrt.label}: names the file {shown!r}: {error}") from error
