"""Tiles that exist as pictures: folders of named files, and servers of web maps."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from ....core.data.files import files_below
from ....core.errors import ConfigError, DataError, InputError, nearest
from ....core.limits import DEFAULT, Limits
from ..loaders.records import TileImage
from .pictures import SUFFIXES, picture_tile
from .schemes import check_scheme, scheme_tiles
from .tiles import Tile, Tiles
from .web_source import TileSource

__all__ = ["FolderTiles", "TileSource"]

_STEM = re.compile(r"(?P<z>\d{1,2})_(?P<x>-?\d{1,9})_(?P<y>-?\d{1,9})(?:_(?P<kind>[A-Za-z]+))?")
"""16_12659_4738_s.jpg: zoom, x, y and what it shows (s satellite, r roads)."""
_PATH = re.compile(r"(?:.*/)?(?P<z>\d{1,2})/(?P<x>-?\d{1,9})/(?P<y>-?\d{1,9})")
"""16/53957/24832.png, as tile servers lay them out."""


class FolderTiles:
    """The pictures of a folder as tiles, placed by their names.

    Names such as ``16_12659_4738_s.jpg`` and paths such as ``16/53957/24832.png`` say zoom, x and y of a tile
    scheme. A folder without any such name gives tiles without a place, named by their paths: they can be
    described, and embedded as files, but not mapped.

    Example::

        folder = FolderTiles("tiles/Beijing", scheme="baidu")
        image = folder.read_tile(folder.tiles[0])

    Attributes:
        name: name of the folder.
        tiles: one per picture, sorted by name.
        files: {tile id: path below the folder}.
        skipped: (file, reason) of pictures left out under ``on_error="skip"``.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        scheme: str = "webmercator",
        crs: str | None = None,
        kind: str | None = None,
        on_error: Literal["raise", "skip"] = "raise",
        limits: Limits = DEFAULT,
        show_paths: bool = False,
    ) -> None:
        """List the pictures; none is opened.

        Args:
            folder: PNG, JPEG or WebP files, also in folders below.
            scheme: what x and y of the names count: ``webmercator``, ``tms`` or ``baidu``.
            crs: "EPSG:4326", "GCJ-02" or "BD-09"; see :class:`.covering.TileGrid`.
            kind: last word of the names to take (``s`` of ``16_1_2_s.jpg``), for tiles of several pictures.
            on_error: ``skip`` leaves out pictures whose names have no place among others that have one.
            limits: ceilings of one picture.
            show_paths: let messages name the whole folder.

        Raises:
            ConfigError: an unknown scheme, or a kind that is not there.
            DataError: no such folder, no pictures, names with and without a place, or a tile twice.
        """
        self._folder, self._limits = Path(folder), limits
        self.name = self._folder.name
        self._label = str(self._folder) if show_paths else self.name
        if not self._folder.is_dir():
            raise DataError(f"{self._label}: no such folder of tiles.")
        names = [name for name in files_below(self._folder) if name.lower().endswith(SUFFIXES)]
        if not names:
            raise DataError(f"{self._label}: no pictures in this folder ({', '.join(SUFFIXES)}).")
        placed = {name: found for name in names if (found := named_place(name))}
        self.skipped: tuple[tuple[str, str], ...] = ()
        if not placed:
            self.tiles, self.files = _without_place(names)
            return
        datum = check_scheme(scheme, crs)
        lost = [name for name in names if name not in placed]
        if lost and on_error == "raise":
            raise DataError(
                f"{self._label}: {len(lost)} of {len(names)} names say no zoom, x and y, first {lost[0]!r}; "
                "others do. Move them away, or pass on_error='skip'."
            )
        self.skipped = tuple((name, "the name says no zoom, x and y") for name in lost)
        chosen = self._of_kind(placed, kind)
        zxy = np.array([place for _, place in chosen], dtype=np.int64)
        self._check_once(chosen)
        self.tiles = scheme_tiles(zxy, scheme, datum)
        self.files = {name: path for name, (path, _) in zip(self.tiles.ids, chosen, strict=True)}

    def __len__(self) -> int:
        return len(self.tiles)

    @property
    def fingerprint(self) -> str:
        """32 hex digits that change when files come, go or change."""
        digest = hashlib.sha256()
        for tile_id, path in self.files.items():
            facts = (self._folder / path).stat()
            digest.update(
                f"{tile_id}\0{path}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode(errors="replace")
            )
        return digest.hexdigest()[:32]

    def read_tile(self, tile: Tile, *, size: tuple[int, int] | None = None) -> TileImage:
        """Return the picture of a tile; see :func:`.pictures.picture_tile`.

        Raises:
            InputError: no tile of this folder.
            RasterReadError: the picture is missing or damaged.
        """
        path = self.files.get(tile.id)
        if path is None:
            raise InputError(
                f"{self._label} has no tile {tile.id!r}.{nearest(tile.id, list(self.files)[:1000])}"
            )
        return picture_tile(
            self._folder / path, tile, label=f"{self._label}/{path}", size=size, limits=self._limits
        )

    def _of_kind(
        self, placed: dict[str, tuple[int, int, int, str]], kind: str | None
    ) -> list[tuple[str, tuple[int, int, int]]]:
        """Return (name, zoom x y) of the pictures of one kind."""
        kinds = sorted({place[3] for place in placed.values()})
        if kind is not None and kind not in kinds:
            raise ConfigError(
                f"{self._label}: no name ends in _{kind}; there are: "
                f"{', '.join(repr(word) for word in kinds)}.{nearest(kind, kinds)}"
            )
        return [(name, (z, x, y)) for name, (z, x, y, word) in placed.items() if kind is None or word == kind]

    def _check_once(self, chosen: Sequence[tuple[str, tuple[int, int, int]]]) -> None:
        first: dict[tuple[int, int, int], str] = {}
        for name, place in chosen:
            other = first.setdefault(place, name)
            if other != name:
                raise DataError(
                    f"{self._label}: {other!r} and {name!r} are the same tile. Where names end in different "
                    "words (_s, _r), pass kind='s'; else move one away."
                )


def named_place(name: str) -> tuple[int, int, int, str] | None:
    """Return (zoom, x, y, kind) of a file's name or path, or None."""
    stem = name.rsplit(".", 1)[0]
    found = _STEM.fullmatch(stem.rsplit("/", 1)[-1]) or _PATH.fullmatch(stem)
    if found is None:
        return None
    parts = found.groupdict()
    return int(parts["z"]), int(parts["x"]), int(parts["y"]), parts.get("kind") or ""


def _without_place(names: Sequence[str]) -> tuple[Tiles, dict[str, str]]:
    """Return tiles that lie nowhere, each the unit square."""
    bounds = np.tile(np.array([0.0, 0.0, 1.0, 1.0]), (len(names), 1))
    return Tiles(tuple(names), bounds, "", scheme="grid"), {name: name for name in names}
