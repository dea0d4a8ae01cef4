"""Files put together to one raster: one file, many side by side, or one per band."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....core.errors import ConfigError, LimitError
from .bands import BandSelection, select_bands
from .errors import BandError, MosaicError, RasterError, RasterOpenError, no_such_band
from .header import Header, Transform, read_header
from .masks import mask_rule
from .options import RasterOptions
from .reading import Channels
from .sensors import Sensor, find_sensor, plain_name

Source = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Mapping[str, str | os.PathLike[str]]
"""One file, several that lie side by side, or {band: file}."""
_LISTED = 10
_ALIGNED = 0.05
"""How far, in pixels, a file may lie off the common grid: rounding of coordinates, no more."""


@dataclass(frozen=True)
class Layout:
    """Where the files of a raster lie and what is read of each.

    Attributes:
        name: of the raster, for messages and tile names.
        parts: files side by side, or of one band each when ``stacked``.
        stacked: every part covers the whole raster and gives some of its bands.
        names: of the bands that are read.
        width: columns.
        height: rows.
        transform: of the raster's grid.
        skipped: (file, reason) of files that were left out.
        boxes: int64 [F, 4] (left, top, right, bottom) of the parts in pixels of the raster.
    """

    name: str
    parts: tuple[Channels, ...]
    stacked: bool
    names: tuple[str, ...]
    width: int
    height: int
    transform: Transform
    skipped: tuple[tuple[str, str], ...]
    boxes: NDArray[np.int64]

    @property
    def first(self) -> Header:
        """Header that stands for all where they agree."""
        return self.parts[0].header

    def touching(self, left: float, top: float, right: float, bottom: float) -> list[int]:
        """Return the parts that share pixels with a box, in order."""
        if len(self.parts) == 1 or self.stacked:
            return list(range(len(self.parts)))
        boxes = self.boxes
        inside = (boxes[:, 0] < right) & (boxes[:, 2] > left) & (boxes[:, 1] < bottom) & (boxes[:, 3] > top)
        return np.flatnonzero(inside).tolist()

    def missing(self) -> tuple[tuple[np.generic, ...], ...]:
        """Return per band that is read, the numbers that mean "missing" in any of the files."""
        rules = [part.rule.missing for part in self.parts]
        if self.stacked:
            return tuple(numbers for rule in rules for numbers in rule)
        return tuple(tuple(set().union(*numbers)) for numbers in zip(*rules, strict=True))

    def fingerprint(self) -> str:
        """Return a hash that changes when a file, the choice of bands or what counts as missing does."""
        facts: list[Any] = [
            [*part.header.identity, part.indexes, part.column, part.row, vars(part.rule)]
            for part in self.parts
        ]
        text = json.dumps([self.stacked, self.names, facts], default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def read_layout(source: Source, options: RasterOptions) -> Layout:
    """Return the layout of a source after reading the header of every file.

    Raises:
        RasterError: see :func:`.header.read_header`; a file that cannot be opened.
        MosaicError: files do not fit together; all that differ are listed.
        BandError: bands are not there.
        ConfigError: the source is empty.
    """
    sensor = find_sensor(options.sensor) if options.sensor else None
    if isinstance(source, Mapping):
        return _stack(source, options, sensor)
    if isinstance(source, (str, os.PathLike)):
        header = _checked(os.fspath(source), options)
        chosen = select_bands(header, options.bands, sensor=sensor)
        part = _channels(header, chosen, options, sensor)
        return _layout(header.label, [part], chosen.names, (), stacked=False)
    return _mosaic(list(source), options, sensor)


def _checked(path: str, options: RasterOptions) -> Header:
    """Return the header of a file whose blocks can be decoded in the memory allowed."""
    header = read_header(path, options)
    rows, columns = header.block
    bands = header.count if header.pixel_interleaved else 1
    size = rows * columns * bands * np.dtype(header.dtype).itemsize
    ceiling = options.limits.decoded_bytes
    if size > ceiling:
        raise LimitError(
            f"{header.label}: is stored in blocks of {columns:,} x {rows:,} pixels, {size:,} bytes each, "
            f"over the limit of {ceiling:,}. Store it in tiles: gdal_translate -co TILED=YES IN OUT.tif"
        )
    return header


def _channels(
    header: Header,
    chosen: BandSelection,
    options: RasterOptions,
    sensor: Sensor | None,
    column: int = 0,
    row: int = 0,
) -> Channels:
    rule_options = options
    if options.nodata is None and sensor and sensor.nodata is not None and set(header.nodata) == {None}:
        rule_options = replace(options, nodata=sensor.nodata)
    rule = mask_rule(header, chosen.indexes, alpha=chosen.alpha, options=rule_options)
    return Channels(header, chosen.indexes, rule, column, row)


def _layout(
    name: str,
    parts: list[Channels],
    names: tuple[str, ...],
    skipped: Sequence[tuple[str, str]],
    *,
    stacked: bool,
) -> Layout:
    left, top = min(part.column for part in parts), min(part.row for part in parts)
    parts = [replace(part, column=part.column - left, row=part.row - top) for part in parts]
    boxes = np.array(
        [
            (part.column, part.row, part.column + part.header.width, part.row + part.header.height)
            for part in parts
        ],
        np.int64,
    )
    first = parts[0]
    a, b, c, d, e, f = first.header.transform
    transform = (a, b, c - a * first.column, d, e, f - e * first.row)
    width, height = int(boxes[:, 2].max()), int(boxes[:, 3].max())
    return Layout(name, tuple(parts), stacked, names, width, height, transform, tuple(skipped), boxes)


def _mosaic(paths: list[Any], options: RasterOptions, sensor: Sensor | None) -> Layout:
    if not paths:
        raise ConfigError("No files were given. Pass at least one raster.")
    headers, skipped = _headers([os.fspath(path) for path in paths], options)
    differing: dict[str, str] = {}
    wanted = Counter(map(_kind, headers)).most_common(1)[0][0]
    base = next(header for header in headers if _kind(header) == wanted)
    parts, names = [], ()
    for header in headers:
        reason = _difference(header, base)
        if not reason:
            try:
                chosen = select_bands(header, options.bands, sensor=sensor)
                column, row = _offset(header, base)
                parts.append(_channels(header, chosen, options, sensor, column, row))
                names = names or chosen.names
            except BandError as error:
                reason = str(error).removeprefix(f"{header.label}: ")
        if reason:
            differing[header.label] = reason
    if differing and options.on_error == "raise":
        raise MosaicError(_listing(differing, base, len(headers)))
    if not parts:
        raise MosaicError(_listing(differing, base, len(headers)))
    skipped += differing.items()
    name = base.label if len(headers) == 1 else f"{base.label} and {len(parts) - 1} more"
    return _layout(name, parts, names, skipped, stacked=False)


def _headers(paths: list[str], options: RasterOptions) -> tuple[list[Header], list[tuple[str, str]]]:
    headers, skipped = [], []
    for path in paths:
        try:
            headers.append(_checked(path, options))
        except RasterError as error:
            if options.on_error == "raise":
                raise
            skipped.append((os.path.basename(path), str(error)))
    if not headers:
        raise RasterOpenError(f"None of {len(paths)} files could be opened. The first: {skipped[0][1]}")
    return headers, skipped


def _kind(header: Header) -> tuple[Any, ...]:
    a, _, c, _, e, f = header.transform
    # Where on a pixel the grid begins, so that one shifted file is not taken for the rule.
    phases = tuple(round(10 * (value % 1)) % 10 for value in (c / a, f / e))
    return header.crs, header.dtype, header.count, round(a, 9), round(e, 9), phases


def _difference(header: Header, base: Header) -> str:
    """Return how a file differs from the rest, or an empty string."""
    found = []
    if header.crs != base.crs:
        found.append(f"its CRS is {_short(header.crs)}")
    if header.dtype != base.dtype:
        found.append(f"it holds {header.dtype}")
    if header.count != base.count:
        found.append(f"it has {header.count} bands")
    if not header.georeferenced:
        found.append("it does not say where it lies")
    if found:
        return ", ".join(found)
    extent = max(header.width, header.height, base.width, base.height)
    for position in (0, 4):
        if abs(header.transform[position] - base.transform[position]) * extent > _ALIGNED * abs(
            base.transform[position]
        ):
            return f"its pixels measure {header.transform[0]:.10g} x {abs(header.transform[4]):.10g}"
    shift = max(abs(value - round(value)) for value in _exact_offset(header, base))
    return f"its grid is shifted by {shift:.2f} pixels" if shift > _ALIGNED else ""


def _exact_offset(header: Header, base: Header) -> tuple[float, float]:
    a, _, c, _, e, f = base.transform
    return (header.transform[2] - c) / a, (header.transform[5] - f) / e


def _offset(header: Header, base: Header) -> tuple[int, int]:
    column, row = _exact_offset(header, base)
    return round(column), round(row)


def _short(crs: str) -> str:
    return (crs if len(crs) < 40 else f"{crs[:37]}...") or "unknown"


def _listing(differing: Mapping[str, str], base: Header, count: int, *, skippable: bool = True) -> str:
    lines = [f"  {name}: {reason}" for name, reason in list(differing.items())[:_LISTED]]
    if len(differing) > _LISTED:
        lines.append(f"  and {len(differing) - _LISTED} more")
    return (
        f"{len(differing)} of {count} files do not fit the others ({base.label}: {_short(base.crs)}, "
        f"{base.dtype}, {base.count} bands, "
        f"{abs(base.transform[0]):.10g} x {abs(base.transform[4]):.10g} per pixel):\n"
        + "\n".join(lines)
        + "\nBring them to one grid: gdalwarp -t_srs ... -tr ... -tap"
        + (", or pass on_error='skip' to leave them out." if skippable else " IN OUT.tif")
    )


def _stack(sources: Mapping[str, Any], options: RasterOptions, sensor: Sensor | None) -> Layout:
    """Return the layout of one file per band."""
    if not sources:
        raise ConfigError("No files were given. Pass {band: file}.")
    wanted = _wanted(sources, options, sensor)
    parts: list[Channels] = []
    differing: dict[str, str] = {}
    for name in wanted:
        header = _checked(os.fspath(sources[name]), options)
        chosen = select_bands(header, "all", sensor=None)
        if len(chosen.indexes) != 1:
            raise BandError(
                f"{header.label}: holds {len(chosen.indexes)} bands, and as the file of {name!r} it must "
                "hold one."
            )
        parts.append(_channels(header, chosen, options, sensor))
        base = parts[0].header
        reason = _difference(header, base) if header.georeferenced or base.georeferenced else ""
        if not reason and (header.width, header.height) != (base.width, base.height):
            reason = f"it measures {header.width} x {header.height} pixels"
        if not reason and _offset(header, base) != (0, 0):
            reason = "it starts elsewhere"
        if reason:
            differing[header.label] = reason
    if differing:
        # A band cannot be left out: whoever asked for it would get another one in its place.
        raise MosaicError(_listing(differing, parts[0].header, len(parts), skippable=False))
    return _layout(parts[0].header.label, parts, tuple(wanted), (), stacked=True)


def _wanted(sources: Mapping[str, Any], options: RasterOptions, sensor: Sensor | None) -> list[str]:
    """Return the keys of ``sources`` to read, in order."""
    choice = options.bands
    if isinstance(choice, (Mapping, int)):
        raise ConfigError("With one file per band, bands lists names of these files.")
    if choice is None and sensor:
        choice = sensor.display
    if choice is None or choice == "all":
        return list(sources)
    names = [choice] if isinstance(choice, str) else list(choice)
    return [_key(name, sources, sensor) for name in names]


def _key(asked: int | str, sources: Mapping[str, Any], sensor: Sensor | None) -> str:
    """Return the key that a name stands for: itself, or another name of the same band."""
    if isinstance(asked, str):
        band = sensor.band(asked) if sensor else None
        words = {plain_name(asked), *(plain_name(name) for name in (band.names if band else ()))}
        for key in sources:
            if plain_name(key) in words:
                return key
    raise no_such_band("one file per band", asked, sources)
