"""What parts of the room ask of a raster, so that folders of tiles and tile servers serve as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .geometry.grids import Transform
    from .geometry.tiles import Tile
    from .loaders.records import TileImage


class TileReader(Protocol):
    """Whatever gives pictures of tiles: a raster, a folder of tiles, a tile server."""

    @property
    def name(self) -> str:
        """File name, without folder."""
        ...

    @property
    def fingerprint(self) -> str:
        """Text that changes when the files change, or what is read of them."""
        ...

    def read_tile(self, tile: Tile, *, size: tuple[int, int] | None = None) -> TileImage:
        """Return the pixels of a tile, resampled to ``size`` (rows, columns) where it is given."""
        ...


class RasterShape(Protocol):
    """What a grid needs to know of a raster."""

    @property
    def name(self) -> str:
        """File name."""
        ...

    @property
    def width(self) -> int:
        """Columns."""
        ...

    @property
    def height(self) -> int:
        """Rows."""
        ...

    @property
    def transform(self) -> Transform:
        """As in TileImage."""
        ...

    @property
    def crs(self) -> str:
        """Coordinate system."""
        ...

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(west, south, east, north)."""
        ...


class BlockedRaster(RasterShape, Protocol):
    """A raster that says which pixels are decoded together."""

    @property
    def block(self) -> tuple[int, int]:
        """(rows, columns) of a block."""
        ...


class Background(Protocol):
    """What a map is drawn over: a raster."""

    @property
    def name(self) -> str:
        """File name, without folder."""
        ...

    def read_bounds(
        self, bounds: tuple[float, float, float, float], crs: str, *, size: tuple[int, int]
    ) -> TileImage:
        """Return the pixels of a rectangle of ``crs``, made smaller to ``size`` (rows, columns)."""
        ...
