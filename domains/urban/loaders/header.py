"""Header of one raster file: everything about it but its pixels."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ....core.errors import InputError, require
from ..geometry.projection import crs_name, is_shifted
from .errors import (
    GeoreferenceError,
    MissingCRSError,
    RasterOpenError,
    UnknownCRSError,
    UnsafeRasterError,
    reason_of,
)
from .files import FileFacts, check_sidecars, identify, verify_complete
from .options import RasterOptions

Transform = tuple[float, float, float, float, float, float]
IDENTITY: Transform = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True)
class Header:
    """What a file says of itself; holds no open file and can be pickled.

    Attributes:
        facts: the file on disk.
        open_name: what GDAL opens: the path, or the text of a checked VRT.
        width: columns.
        height: rows.
        crs: authority code or WKT, "" for none.
        transform: (a, b, c, d, e, f), see :class:`.records.TileImage`.
        georeferenced: the file says where it lies.
        dtype: number type of its bands.
        block: (rows, columns) that are decoded at once.
        pixel_interleaved: all bands of a block are decoded together.
        nodata: number of missing pixels per band, or None.
        descriptions: names of the bands in the file, "" where it has none.
        colors: color interpretation per band ("red", "gray", "alpha", "palette", "undefined" ...).
        alpha: number of the alpha band from 1, or 0.
        has_mask: a mask stands beside or inside of the file.
        palette: rows (red, green, blue, alpha) when band 1 holds numbers of colors, else ().
        overviews: factors of smaller copies.
        scales: scale tag per band.
        offsets: offset tag per band.
        baseline: Sentinel-2 processing baseline from its metadata, or "".
    """

    facts: FileFacts
    open_name: str
    width: int
    height: int
    crs: str
    transform: Transform
    georeferenced: bool
    dtype: str
    block: tuple[int, int]
    pixel_interleaved: bool
    nodata: tuple[float | None, ...]
    descriptions: tuple[str, ...]
    colors: tuple[str, ...]
    alpha: int
    has_mask: bool
    palette: tuple[tuple[int, int, int, int], ...]
    overviews: tuple[int, ...]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    baseline: str

    @property
    def label(self) -> str:
        """How messages call the file."""
        return self.facts.label

    @property
    def count(self) -> int:
        """Number of bands, an alpha band included."""
        return len(self.nodata)

    @property
    def identity(self) -> list[object]:
        """What changes when the file does, without its folder."""
        return [
            Path(self.facts.path).name,
            self.facts.size,
            self.facts.mtime_ns,
            self.facts.beside,
            *(self.width, self.height, self.crs, self.transform, self.dtype, self.nodata, self.descriptions),
        ]


@contextmanager
def quiet_georeference() -> Iterator[None]:
    """Silence rasterio's warning about files without georeference: the header says it."""
    # Not safe between threads, and harmless there: at worst this one filter stays.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", _not_georeferenced())
        yield


def _not_georeferenced() -> type[Warning]:
    return require("rasterio.errors", extra="urban").NotGeoreferencedWarning


def crs_of(crs: str) -> str:
    """Return a coordinate system by the name that this package uses, see :func:`.projection.crs_name`.

    Raises:
        UnknownCRSError: neither a known code nor well-formed WKT, or one that no raster is stored in.
    """
    try:
        if not is_shifted(crs):
            return crs_name(crs)
        cause = None
    except InputError as error:
        cause = error
    raise UnknownCRSError(
        f"The coordinate system {crs[:80]!r} is not known. Write its code, for example 'EPSG:4326' for "
        "longitude and latitude, or its WKT."
    ) from cause


def open_dataset(open_name: str, facts: FileFacts, *, options: RasterOptions) -> Any:
    """Return a rasterio dataset opened for reading, by the one driver that fits.

    Raises:
        RasterOpenError: GDAL cannot open it.
    """
    rasterio = require("rasterio", extra="urban")
    from .memory import open_settings

    try:
        with quiet_georeference(), open_settings(options, remote=not facts.size):
            return rasterio.open(open_name, driver=facts.driver, sharing=False)
    except rasterio.errors.RasterioError as error:
        raise RasterOpenError(
            f"{facts.label}: cannot be opened: {reason_of(error, open_name, facts.label)} "
            "The file may be damaged or cut off; fetch it again."
        ) from error


def read_header(path: str, options: RasterOptions) -> Header:
    """Return the header of one file.

    Raises:
        RasterOpenError: not a raster, or damaged at its beginning.
        UnsafeRasterError: it would make GDAL open other files or the network.
        MissingCRSError: it lies somewhere but does not say in which coordinate system.
        GeoreferenceError: rotated, sheared, or placed by control points only.
        RasterReadError: with ``verify``, a file that is cut off.
        LimitError: more pixels or bytes than a limit allows.
    """
    facts = identify(
        path, limits=options.limits, show_paths=options.show_paths, allow_remote=options.allow_remote
    )
    if options.verify:
        verify_complete(facts)
    open_name, beside = facts.path, ()
    if facts.driver == "VRT":
        from .virtual import checked_vrt

        open_name, beside = checked_vrt(facts, options)
    elif facts.size and options.sidecars:
        beside = check_sidecars(facts)
    with open_dataset(open_name, facts, options=options) as dataset:
        return _header_of(dataset, replace(facts, beside=beside), open_name, options)


def _header_of(dataset: Any, facts: FileFacts, open_name: str, options: RasterOptions) -> Header:
    if "OVERVIEW_FILE" in dataset.tags(ns="OVERVIEWS"):
        raise UnsafeRasterError(f"{facts.label}: names another file as its overviews. Remove that tag first.")
    if not dataset.count:
        raise RasterOpenError(
            f"{facts.label}: holds several datasets and no band of its own. "
            "Extract the one you need: gdal_translate SUBDATASET OUT.tif"
        )
    if len(set(dataset.dtypes)) > 1 or dataset.dtypes[0].startswith("complex"):
        raise RasterOpenError(
            f"{facts.label}: bands of the types {', '.join(dict.fromkeys(dataset.dtypes))} cannot be one "
            "picture. Bring them to one real type: gdal_translate -ot Float32 IN OUT.tif"
        )
    with quiet_georeference():
        transform: Transform = tuple(float(value) for value in dataset.transform)[:6]  # pyright: ignore[reportAssignmentType]
    colors = tuple(color.name.lower() for color in dataset.colorinterp)
    flags = {flag.name for flags in dataset.mask_flag_enums for flag in flags}
    crs = _where(dataset, transform, facts.label, options)
    return Header(
        facts=facts,
        open_name=open_name,
        width=dataset.width,
        height=dataset.height,
        crs=crs,
        transform=transform,
        georeferenced=transform != IDENTITY,
        dtype=dataset.dtypes[0],
        block=tuple(dataset.block_shapes[0]),  # pyright: ignore[reportArgumentType]
        pixel_interleaved=str(dataset.tags(ns="IMAGE_STRUCTURE").get("INTERLEAVE", "")).upper() == "PIXEL",
        nodata=tuple(dataset.nodatavals),
        descriptions=tuple((name or "").strip() for name in dataset.descriptions),
        colors=colors,
        alpha=colors.index("alpha") + 1 if "alpha" in colors else 0,
        has_mask="per_dataset" in flags and "alpha" not in flags,
        palette=_palette(dataset) if colors[0] == "palette" else (),
        overviews=tuple(dataset.overviews(1)),
        scales=tuple(dataset.scales),
        offsets=tuple(dataset.offsets),
        baseline=_baseline(dataset, facts),
    )


def _where(dataset: Any, transform: Transform, label: str, options: RasterOptions) -> str:
    """Return the coordinate system, or refuse what has no plain place on the ground."""
    if options.crs == "":
        return ""
    if not all(math.isfinite(value) for value in transform) or transform[0] == 0 or transform[4] == 0:
        raise GeoreferenceError(
            f"{label}: its geotransform {transform} is not usable. Pass crs='' to read pixels only."
        )
    if transform[1] or transform[3]:
        raise GeoreferenceError(
            f"{label}: its pixels are rotated or sheared against the coordinate axes ({transform}). "
            "Warp it first: gdalwarp IN OUT.tif. Or pass crs='' to read pixels only."
        )
    if transform[0] < 0:
        raise GeoreferenceError(
            f"{label}: its columns run from east to west. Warp it first: gdalwarp IN OUT.tif"
        )
    # A local system (of a building site, say) counts from a point that only its maker knows.
    local = bool(dataset.crs) and not (dataset.crs.is_geographic or dataset.crs.is_projected)
    crs = crs_of(dataset.crs.to_wkt()) if dataset.crs and not local else ""
    crs = crs or (crs_of(options.crs) if options.crs else "")
    if transform != IDENTITY:
        if crs:
            return crs
        lacks = "only a local coordinate system" if local else "a place but no coordinate system (CRS)"
        raise MissingCRSError(
            f"{label}: has {lacks}. Pass crs='EPSG:...' (--crs) if you know it "
            "(longitude and latitude are EPSG:4326), or crs='' to read pixels only."
        )
    if dataset.gcps[0] or dataset.rpcs:
        kind = "ground control points" if dataset.gcps[0] else "rational polynomials (RPC)"
        raise GeoreferenceError(
            f"{label}: its place is given by {kind} only. Warp it first: gdalwarp -t_srs EPSG:4326 IN "
            "OUT.tif. Or pass crs='' to read pixels only."
        )
    if crs:
        raise GeoreferenceError(
            f"{label}: has a coordinate system but no geotransform, so nothing says where it lies. "
            "Write one: gdal_edit.py -a_ullr WEST NORTH EAST SOUTH FILE. Or pass crs='' to read pixels only."
        )
    return ""


def _palette(dataset: Any) -> tuple[tuple[int, int, int, int], ...]:
    colors = dataset.colormap(1)
    return tuple(tuple(colors.get(index, (0, 0, 0, 0))) for index in range(max(colors) + 1))  # pyright: ignore[reportReturnType]


def _baseline(dataset: Any, facts: FileFacts) -> str:
    """Return "05.10" from the tags of a Sentinel-2 file or from the name of its product folder."""
    import re

    tags = {key.upper(): value for key, value in dataset.tags().items()}
    for key in ("PROCESSING_BASELINE", "S2:PROCESSING_BASELINE"):
        if re.fullmatch(r"\d\d\.\d\d", str(tags.get(key, "")).strip()):
            return str(tags[key]).strip()
    for part in reversed(Path(facts.path).parts):
        found = re.search(r"_N(\d\d)(\d\d)_", part)
        if found:
            return f"{found[1]}.{found[2]}"
    return ""
