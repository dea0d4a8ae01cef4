"""Some bands of a file as a virtual file of their own, which declares what GDAL cannot know."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

from .reading import Channels

_TYPES = {
    "uint8": "Byte",
    "int8": "Int8",
    "uint16": "UInt16",
    "int16": "Int16",
    "uint32": "UInt32",
    "int32": "Int32",
    "uint64": "UInt64",
    "int64": "Int64",
    "float32": "Float32",
    "float64": "Float64",
}


def needs_view(channels: Channels) -> bool:
    """Return whether GDAL, left to itself, would mix missing pixels into resampled ones.

    It knows neither the number a user named, nor that a band marked as alpha is near infrared.
    """
    header, rule = channels.header, channels.rule
    declared = tuple(header.nodata[index - 1] for index in channels.indexes)
    named = [tuple(float(number) for number in numbers) for numbers in rule.missing]  # pyright: ignore[reportArgumentType]
    hidden = any(number != own for numbers, own in zip(named, declared, strict=True) for number in numbers)
    return hidden or bool(header.alpha and not rule.alpha)


def band_view(channels: Channels) -> Channels:
    """Return the same bands as a virtual file that holds no others and declares what is missing.

    Warping it does no work for bands that nobody asked for.
    """
    header, rule = channels.header, channels.rule
    root = ElementTree.Element(
        "VRTDataset", {"rasterXSize": str(header.width), "rasterYSize": str(header.height)}
    )
    a, b, c, d, e, f = header.transform
    if header.crs:
        ElementTree.SubElement(root, "SRS").text = header.crs
    ElementTree.SubElement(root, "GeoTransform").text = ", ".join(map(repr, (c, a, b, f, d, e)))
    for place, index in enumerate(channels.indexes):
        missing = rule.missing[place]
        _add_band(root, channels, place + 1, str(index), float(missing[-1]) if missing else None)  # pyright: ignore[reportArgumentType]
    if rule.alpha:
        _add_band(root, channels, len(channels.indexes) + 1, str(rule.alpha), None, color="Alpha")
    if rule.dataset_mask:
        mask = ElementTree.SubElement(root, "MaskBand")
        _add_band(mask, channels, 0, "mask,1", None, kind="Byte")
    text = ElementTree.tostring(root, encoding="unicode")
    facts = replace(header.facts, driver="VRT")
    return replace(
        channels,
        header=replace(header, facts=facts, open_name=text),
        indexes=tuple(range(1, len(channels.indexes) + 1)),
        rule=replace(rule, alpha=len(channels.indexes) + 1 if rule.alpha else 0),
    )


def _add_band(
    parent: ElementTree.Element,
    channels: Channels,
    number: int,
    source: str,
    missing: float | None,
    *,
    color: str = "Undefined",
    kind: str = "",
) -> None:
    header = channels.header
    settings = {"dataType": kind or _TYPES[header.dtype], **({"band": str(number)} if number else {})}
    band = ElementTree.SubElement(parent, "VRTRasterBand", settings)
    if missing is not None:
        ElementTree.SubElement(band, "NoDataValue").text = repr(missing)
    if number:
        ElementTree.SubElement(band, "ColorInterp").text = color
    found = ElementTree.SubElement(band, "SimpleSource")
    name = ElementTree.SubElement(found, "SourceFilename", {"relativeToVRT": "0", "shared": "0"})
    name.text = header.open_name
    ElementTree.SubElement(found, "SourceBand").text = source
