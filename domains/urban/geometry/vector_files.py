"""Opening files of polygons: local files of four formats, recognized by content as well as by name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ....core.errors import InputError, nearest, require
from ....core.limits import DEFAULT, Limits

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

_FORMATS = {
    ".geojson": "GeoJSON",
    ".json": "GeoJSON",
    ".gpkg": "GeoPackage",
    ".shp": "Shapefile",
    ".parquet": "GeoParquet",
    ".geoparquet": "GeoParquet",
}
_BEGINNINGS = {"GeoPackage": b"SQLite format 3\0", "Shapefile": b"\0\0\x27\x0a", "GeoParquet": b"PAR1"}


def format_of(path: str | os.PathLike[str], *, show_paths: bool = False) -> str:
    """Return the name of a file's format after its suffix.

    Raises:
        InputError: no suffix of a format that is read here.
    """
    path = Path(path)
    found = _FORMATS.get(path.suffix.lower())
    if found is None:
        label = str(path) if show_paths else path.name
        unpack = " Unpack the archive first." if path.suffix.lower() in {".zip", ".gz", ".tar", ".7z"} else ""
        raise InputError(
            f"{label}: {path.suffix or 'a name without suffix'} is no format of polygons that is read here; "
            f"use {', '.join(dict.fromkeys(_FORMATS))}.{unpack}"
        )
    return found


def read_layer(
    path: str | os.PathLike[str],
    *,
    layer: str | None = None,
    show_paths: bool = False,
    limits: Limits = DEFAULT,
) -> GeoDataFrame:
    """Return the features of a local GeoJSON, GeoPackage, Shapefile or GeoParquet file.

    The reader below opens archives, web addresses and files that name other files; none of these gets there.

    Raises:
        InputError: missing, of another format than its name says, damaged, or several layers and no
            ``layer``.
        LimitError: over ``limits.file_bytes``.
    """
    path = Path(path)
    label = str(path) if show_paths else path.name
    kind = format_of(path, show_paths=show_paths)
    if not path.is_file():
        raise InputError(
            f"{label}: {'is a folder' if path.is_dir() else 'no such file'}. Give one local {kind} file."
        )
    limits.check("file_bytes", path.stat().st_size, what=f"{label}: bytes")
    _check_beginning(path, kind, label)
    geopandas = require("geopandas", extra="urban")
    try:
        if kind == "GeoParquet":
            return geopandas.read_parquet(path.resolve())
        options = {"layer": _layer(path, layer, label)} if kind == "GeoPackage" else {}
        return geopandas.read_file(path.resolve(), engine="pyogrio", **options)
    except InputError:
        raise
    except Exception as error:
        # Readers below raise types of their own, of several libraries, for what is wrong with a file.
        words = str(error).replace(str(path.resolve()), label).replace(f"{path.resolve().parent}{os.sep}", "")
        words = " ".join(words.split())
        raise InputError(
            f"{label}: cannot be read as {kind} ({words[:200]}). Open it in a GIS and export it anew."
        ) from error


def _check_beginning(path: Path, kind: str, label: str) -> None:
    """Raise where the first bytes are not those of the format: names can lie, and readers follow content."""
    with path.open("rb") as handle:
        first = handle.read(4096)
    if kind == "GeoJSON":
        fits = first.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{"
    else:
        fits = first.startswith(_BEGINNINGS[kind])
    if not first:
        raise InputError(f"{label}: the file is empty.")
    if not fits:
        raise InputError(f"{label}: its content is not {kind}, though its name says so.")


def _layer(path: Path, layer: str | None, label: str) -> str:
    """Return the layer to read: the one that is named, or the only one."""
    pyogrio = require("pyogrio", extra="urban")
    spatial = [str(name) for name, kind in pyogrio.list_layers(path.resolve()) if kind]
    if layer is None and len(spatial) == 1:
        return spatial[0]
    if layer in spatial:
        return str(layer)
    listed = ", ".join(map(repr, spatial)) or "none"
    if layer is None:
        raise InputError(f"{label}: which layer? It has {listed}. Say layer=... (--regions-layer).")
    raise InputError(f"{label}: there is no layer {layer!r}; it has {listed}.{nearest(layer, spatial)}")
