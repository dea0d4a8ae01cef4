"""Tiles of the Baidu scheme: BD-09 mercator metres, degrees and tile corners.

A tile's lower-left corner lies at x * 256 * 2^(18 - zoom) units; y grows to the north and the origin is at
longitude 0, latitude 0. Between units and BD-09 degrees stands a polynomial per band of latitude.

Reference: ``urbanclip.md`` section 10.2; the coefficients are published constants of the map service.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ....core.errors import InputError

MIN_ZOOM, MAX_ZOOM = 3, 21

Numbers = NDArray[np.float64]

_BANDS = np.array([12890594.86, 8362377.87, 5591021.0, 3481989.83, 1678043.12, 0.0])
"""Lower edges in units, from the pole to the equator."""

# Per band: c0, c1 of longitude; c2 to c8 of latitude as a polynomial of |y| / c9; c9.
_COEFFICIENTS = np.array([
    [1.410526172116255e-8, 8.98305509648872e-6, -1.9939833816331, 200.9824383106796, -187.2403703815547,
     91.6087516669843, -23.38765649603339, 2.57121317296198, -0.03801003308653, 17337981.2],
    [-7.435856389565537e-9, 8.983055097726239e-6, -0.78625201886289, 96.32687599759846, -1.85204757529826,
     -59.36935905485877, 47.40033549296737, -16.50741931063887, 2.28786674699375, 10260144.86],
    [-3.030883460898826e-8, 8.98305509983578e-6, 0.30071316287616, 59.74293618442277, 7.357984074871,
     -25.38371002664745, 13.45380521110908, -3.29883767235584, 0.32710905363475, 6856817.37],
    [-1.981981304930552e-8, 8.983055099779535e-6, 0.03278182852591, 40.31678527705744, 0.65659298677277,
     -4.44255534477492, 0.85341911805263, 0.12923347998204, -0.04625736007561, 4482777.06],
    [3.09191371068437e-9, 8.983055096812155e-6, 6.995724062e-5, 23.10934304144901, -0.00023663490511,
     -0.6321817810242, -0.00663494467273, 0.03430082397953, -0.00466043876332, 2555164.4],
    [2.890871144776878e-9, 8.983055095805407e-6, -3.068298e-8, 7.47137025468032, -3.53937994e-6,
     -0.02145144861037, -1.234426596e-5, 0.00010322952773, -3.23890364e-6, 826088.5],
])  # fmt: skip


def meters_to_degrees(x: ArrayLike, y: ArrayLike) -> tuple[Numbers, Numbers]:
    """Return BD-09 longitude and latitude of BD-09 mercator units ("metres" at the equator)."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    # The first band, from the pole, whose lower edge is not above the point.
    band = np.argmax(np.abs(y)[..., None] >= _BANDS, axis=-1)
    lon = _COEFFICIENTS[band, 0] + _COEFFICIENTS[band, 1] * np.abs(x)
    lat, _ = _latitude(np.abs(y), band)
    # Units of zero belong to the positive side, as the service has it.
    return np.where(x < 0, -lon, lon), np.where(y < 0, -lat, lat)


def degrees_to_meters(lon: ArrayLike, lat: ArrayLike) -> tuple[Numbers, Numbers]:
    """Return BD-09 mercator units of BD-09 degrees, by Newton steps on :func:`meters_to_degrees`.

    Raises:
        InputError: a latitude beyond 85 degrees, where the scheme ends.

    The polynomials of two bands meet within 2e-6 degrees, except at 75 degrees, where the published ones
    leave a step of 0.013.
    """
    lon, lat = np.broadcast_arrays(np.asarray(lon, dtype=np.float64), np.asarray(lat, dtype=np.float64))
    beyond = ~(np.abs(lat) <= 85.0)
    if beyond.any():
        raise InputError(
            f"Latitude {lat[beyond].flat[0]:g} has no place in the Baidu scheme (-85 to 85 degrees)."
        )
    edges, _ = _latitude(_BANDS, np.arange(len(_BANDS)))
    band = np.argmax(np.abs(lat)[..., None] >= np.maximum(edges, 0.0), axis=-1)
    # Spherical mercator is within a percent; each Newton step squares the error.
    y = 6378137.0 * np.arctanh(np.sin(np.radians(np.abs(lat))))
    for _ in range(8):
        value, slope = _latitude(y, band)
        y = y - (value - np.abs(lat)) / slope
    x = (np.abs(lon) - _COEFFICIENTS[band, 0]) / _COEFFICIENTS[band, 1]
    return np.where(lon < 0, -x, x), np.where(lat < 0, -y, y)


def tile_of(lon: ArrayLike, lat: ArrayLike, zoom: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return x and y (to the north) of the tile that holds each point, given in BD-09 degrees."""
    x, y = degrees_to_meters(lon, lat)
    side = tile_side(zoom)
    return np.floor(x / side).astype(np.int64), np.floor(y / side).astype(np.int64)


def tile_corner(x: ArrayLike, y: ArrayLike, zoom: int) -> tuple[Numbers, Numbers]:
    """Return BD-09 longitude and latitude of the lower-left corners of tiles.

    The upper-right corner of a tile is the corner of (x + 1, y + 1).

    Example:
        >>> lon, lat = tile_corner(12659, 4738, 16)
        >>> round(float(lon), 6), round(float(lat), 6)
        (116.44569, 40.093159)
    """
    side = tile_side(zoom)
    return meters_to_degrees(np.asarray(x, np.float64) * side, np.asarray(y, np.float64) * side)


def tile_side(zoom: int) -> float:
    """Return the side of a tile in units: 1024 at zoom 16, 256 at zoom 18."""
    if not MIN_ZOOM <= zoom <= MAX_ZOOM:
        raise InputError(
            f"Zoom {zoom} is not a zoom level of the Baidu scheme; use {MIN_ZOOM} to {MAX_ZOOM}."
        )
    return 256.0 * 2.0 ** (18 - zoom)


def _latitude(y: Numbers, band: NDArray[np.int64]) -> tuple[Numbers, Numbers]:
    """Return degrees of non-negative units, and degrees per unit."""
    c = _COEFFICIENTS[band]
    t = y / c[..., 9]
    value = c[..., 2] + c[..., 3] * t + c[..., 4] * t**2 + c[..., 5] * t**3
    value = value + c[..., 6] * t**4 + c[..., 7] * t**5 + c[..., 8] * t**6
    slope = c[..., 3] + 2 * c[..., 4] * t + 3 * c[..., 5] * t**2
    slope = slope + 4 * c[..., 6] * t**3 + 5 * c[..., 7] * t**4 + 6 * c[..., 8] * t**5
    return value, slope / c[..., 9]
