"""A raster's own pixels cut into windows."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ....core.errors import ConfigError, InputError, LimitError, nearest
from .tiles import MAX_TILES, Tiles

Edge = Literal["shift", "pad", "drop"]
Transform = tuple[float, float, float, float, float, float]


def raster_grid(
    width: int,
    height: int,
    transform: Transform,
    crs: str,
    *,
    size: int | tuple[int, int],
    stride: int | tuple[int, int] | None = None,
    edge: Edge = "shift",
    name: str = "",
) -> Tiles:
    """Return the windows that cover a raster, row by row from its upper left corner.

    Args:
        width: columns of the raster.
        height: rows of the raster.
        transform: (a, b, c, d, e, f) as in :class:`TileImage`; no rotation.
        crs: system of the transform, "" for a picture without georeference.
        size: pixels of a tile's side, or (rows, columns).
        stride: pixels from one tile to the next, or (rows, columns); default: ``size``.
        edge: what happens where tiles do not fit. ``shift``: the last tile moves inside and overlaps more;
            ``pad``: it sticks out, and what is outside is read as invalid; ``drop``: it is left out. A
            raster smaller than a tile gives one that sticks out, or none with ``drop``.
        name: first part of the ids, "name_row_column" with the pixel of the tile's upper left corner.

    Returns:
        Tiles with ``windows``.

    Raises:
        ConfigError: size, stride or edge that make no grid.
        InputError: a rotated transform, or a raster on which no tile fits.
        LimitError: more than 5 million tiles.

    Example:
        >>> tiles = raster_grid(130, 64, (10, 0, 500000, 0, -10, 4500000), "EPSG:32650", size=64)
        >>> tiles.ids, tiles.bounds[1].tolist()
        (('0_0', '0_64', '0_66'), [500640.0, 4499360.0, 501280.0, 4500000.0])
    """
    rows, columns = _two(size, "size")
    row_stride, column_stride = _two(size if stride is None else stride, "stride")
    if edge not in get_args(Edge):
        raise ConfigError(f"edge {edge!r} is none of shift, pad, drop.{nearest(edge, get_args(Edge))}")
    if width < 1 or height < 1:
        raise InputError(f"A raster of {width} x {height} pixels has no tiles.")
    check_upright(transform)
    count = _per_axis(height, rows, row_stride, edge) * _per_axis(width, columns, column_stride, edge)
    check_count(count, "Take a larger size or stride, or name regions.")
    tops = _offsets(height, rows, row_stride, edge)
    lefts = _offsets(width, columns, column_stride, edge)
    if not count:
        raise InputError(
            f"No tile of {columns} x {rows} pixels fits on a raster of {width} x {height}. Take a smaller "
            "size, or edge='pad'."
        )
    top, left = (axis.ravel() for axis in np.meshgrid(tops, lefts, indexing="ij"))
    windows = np.stack([left, top, np.full(count, columns), np.full(count, rows)], 1).astype(np.int64)
    prefix = f"{name}_" if name else ""
    return Tiles(
        ids=tuple(f"{prefix}{row}_{column}" for row, column in zip(top.tolist(), left.tolist(), strict=True)),
        bounds=window_bounds(windows, transform),
        crs=crs,
        windows=windows,
        scheme="raster",
    )


def window_bounds(windows: NDArray[np.int64], transform: Transform) -> NDArray[np.float64]:
    """Return (west, south, east, north) float64 [N, 4] of windows int64 [N, 4] of an upright raster."""
    a, _, c, _, e, f = map(float, transform)
    first_x, first_y = c + a * windows[:, 0], f + e * windows[:, 1]
    last_x, last_y = c + a * (windows[:, 0] + windows[:, 2]), f + e * (windows[:, 1] + windows[:, 3])
    return np.stack(
        [
            np.minimum(first_x, last_x),
            np.minimum(first_y, last_y),
            np.maximum(first_x, last_x),
            np.maximum(first_y, last_y),
        ],
        axis=1,
    )


def check_upright(transform: Transform) -> None:
    """Raise ``InputError`` for a geotransform that is rotated, sheared or flat."""
    a, b, _, d, e, _ = transform
    if b or d or not a or not e:
        raise InputError(
            f"A geotransform of {tuple(transform)} is rotated or sheared, so tiles are no rectangles. Warp "
            "the raster to a north-up grid first (gdalwarp does it)."
        )


def check_count(count: int, advice: str) -> None:
    """Raise ``LimitError`` where a table of tiles would be unreasonably long."""
    if count > MAX_TILES:
        raise LimitError(f"{count:,} tiles are over the limit of {MAX_TILES:,} for one table. {advice}")


def _two(value: int | tuple[int, int], name: str) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, (int, np.integer)) else tuple(value)
    if len(pair) != 2 or any(int(side) != side or side < 1 for side in pair):
        raise ConfigError(f"{name} {value} is not a number of pixels of at least 1, nor (rows, columns).")
    return int(pair[0]), int(pair[1])


def _per_axis(length: int, size: int, stride: int, edge: Edge) -> int:
    """Return tiles along one axis: ceil((length - size) / stride) + 1, whole ones only with ``drop``."""
    if edge == "drop":
        return (length - size) // stride + 1 if length >= size else 0
    return max(0, -(-(length - size) // stride)) + 1


def _offsets(length: int, size: int, stride: int, edge: Edge) -> NDArray[np.int64]:
    """Return the first pixel of each tile along one axis."""
    offsets = np.arange(_per_axis(length, size, stride, edge), dtype=np.int64) * stride
    if edge == "shift" and len(offsets) > 1:
        offsets[-1] = min(offsets[-1], length - size)
    return offsets
