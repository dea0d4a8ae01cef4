"""Coordinates of Chinese map services: GCJ-02 and BD-09 to and from WGS-84.

Maps published in China are shifted: GCJ-02 moves WGS-84 by up to some hundred metres, BD-09 moves GCJ-02
once more. Every function takes and gives degrees as float64 arrays of any one shape, longitude first.

Reference: ``urbanclip.md`` section 10.3; the formulas are public and agree with independent packages.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

Datum = Literal["EPSG:4326", "GCJ-02", "BD-09"]
"""Systems in which longitudes and latitudes of a tile scheme can be counted."""

DATUMS: tuple[str, ...] = get_args(Datum)
Degrees = NDArray[np.float64]

_BD_K = np.pi * 3000.0 / 180.0
_SEMI_MAJOR_M, _ECCENTRICITY_SQUARED = 6378245.0, 0.00669342162296594323
_WEST, _SOUTH, _EAST, _NORTH = 72.004, 0.8293, 137.8347, 55.8271
"""The rectangle within which map services shift coordinates."""


def in_china(lon: ArrayLike, lat: ArrayLike) -> NDArray[np.bool_]:
    """Return where the shift between WGS-84 and GCJ-02 applies: the rectangle that map services use.

    It is wider than the border and covers parts of the neighbouring countries.
    """
    lon, lat = _pair(lon, lat)
    return (lon >= _WEST) & (lon <= _EAST) & (lat >= _SOUTH) & (lat <= _NORTH)


def wgs84_to_gcj02(lon: ArrayLike, lat: ArrayLike) -> tuple[Degrees, Degrees]:
    """Return GCJ-02 degrees of WGS-84 degrees; unchanged outside of :func:`in_china`.

    Example:
        >>> lon, lat = wgs84_to_gcj02(116.404, 39.915)
        >>> round(float(lon), 6), round(float(lat), 6)
        (116.410244, 39.916404)
    """
    lon, lat = _pair(lon, lat)
    east, north = _shift(lon, lat)
    inside = in_china(lon, lat)
    return np.where(inside, lon + east, lon), np.where(inside, lat + north, lat)


def gcj02_to_wgs84(lon: ArrayLike, lat: ArrayLike) -> tuple[Degrees, Degrees]:
    """Return WGS-84 degrees of GCJ-02 degrees, by fixed-point iteration to 1e-13 degrees."""
    lon, lat = _pair(lon, lat)
    true_lon, true_lat = lon.copy(), lat.copy()
    for _ in range(8):
        east, north = _shift(true_lon, true_lat)
        true_lon, true_lat = lon - east, lat - north
    inside = in_china(true_lon, true_lat)
    return np.where(inside, true_lon, lon), np.where(inside, true_lat, lat)


def gcj02_to_bd09(lon: ArrayLike, lat: ArrayLike) -> tuple[Degrees, Degrees]:
    """Return BD-09 degrees of GCJ-02 degrees."""
    lon, lat = _pair(lon, lat)
    radius = np.hypot(lon, lat) + 2e-5 * np.sin(lat * _BD_K)
    angle = np.arctan2(lat, lon) + 3e-6 * np.cos(lon * _BD_K)
    return radius * np.cos(angle) + 0.0065, radius * np.sin(angle) + 0.006


def bd09_to_gcj02(lon: ArrayLike, lat: ArrayLike, *, exact: bool = True) -> tuple[Degrees, Degrees]:
    """Return GCJ-02 degrees of BD-09 degrees.

    Args:
        lon: degrees east.
        lat: degrees north.
        exact: iterate until :func:`gcj02_to_bd09` gives the input back to 1e-13 degrees. The published
            one-step formula (``exact=False``) is off by about 1e-6 degrees.
    """
    lon, lat = _pair(lon, lat)
    x, y = lon - 0.0065, lat - 0.006
    radius = np.hypot(x, y) - 2e-5 * np.sin(y * _BD_K)
    angle = np.arctan2(y, x) - 3e-6 * np.cos(x * _BD_K)
    gcj_lon, gcj_lat = radius * np.cos(angle), radius * np.sin(angle)
    for _ in range(4 if exact else 0):
        again_lon, again_lat = gcj02_to_bd09(gcj_lon, gcj_lat)
        gcj_lon, gcj_lat = gcj_lon + (lon - again_lon), gcj_lat + (lat - again_lat)
    return gcj_lon, gcj_lat


def wgs84_to_bd09(lon: ArrayLike, lat: ArrayLike) -> tuple[Degrees, Degrees]:
    """Return BD-09 degrees of WGS-84 degrees; outside of :func:`in_china` only BD-09's own shift applies."""
    return gcj02_to_bd09(*wgs84_to_gcj02(lon, lat))


def bd09_to_wgs84(lon: ArrayLike, lat: ArrayLike) -> tuple[Degrees, Degrees]:
    """Return WGS-84 degrees of BD-09 degrees; see :func:`wgs84_to_bd09`."""
    return gcj02_to_wgs84(*bd09_to_gcj02(lon, lat))


def to_wgs84(lon: ArrayLike, lat: ArrayLike, datum: Datum) -> tuple[Degrees, Degrees]:
    """Return WGS-84 degrees of degrees in ``datum``."""
    if datum == "GCJ-02":
        return gcj02_to_wgs84(lon, lat)
    return bd09_to_wgs84(lon, lat) if datum == "BD-09" else _pair(lon, lat)


def from_wgs84(lon: ArrayLike, lat: ArrayLike, datum: Datum) -> tuple[Degrees, Degrees]:
    """Return degrees in ``datum`` of WGS-84 degrees."""
    if datum == "GCJ-02":
        return wgs84_to_gcj02(lon, lat)
    return wgs84_to_bd09(lon, lat) if datum == "BD-09" else _pair(lon, lat)


def _pair(lon: ArrayLike, lat: ArrayLike) -> tuple[Degrees, Degrees]:
    return np.asarray(lon, dtype=np.float64), np.asarray(lat, dtype=np.float64)


def _shift(lon: Degrees, lat: Degrees) -> tuple[Degrees, Degrees]:
    """Return degrees east and north by which GCJ-02 moves a WGS-84 point."""
    u, w = lon - 105.0, lat - 35.0
    waves = (20.0 * np.sin(6.0 * np.pi * u) + 20.0 * np.sin(2.0 * np.pi * u)) * 2.0 / 3.0
    root = np.sqrt(np.abs(u))
    north = -100.0 + 2.0 * u + 3.0 * w + 0.2 * w * w + 0.1 * u * w + 0.2 * root + waves
    north += (20.0 * np.sin(np.pi * w) + 40.0 * np.sin(np.pi * w / 3.0)) * 2.0 / 3.0
    north += (160.0 * np.sin(np.pi * w / 12.0) + 320.0 * np.sin(np.pi * w / 30.0)) * 2.0 / 3.0
    east = 300.0 + u + 2.0 * w + 0.1 * u * u + 0.1 * u * w + 0.1 * root + waves
    east += (20.0 * np.sin(np.pi * u) + 40.0 * np.sin(np.pi * u / 3.0)) * 2.0 / 3.0
    east += (150.0 * np.sin(np.pi * u / 12.0) + 300.0 * np.sin(np.pi * u / 30.0)) * 2.0 / 3.0
    phi = np.radians(lat)
    magic = 1.0 - _ECCENTRICITY_SQUARED * np.sin(phi) ** 2
    meridian = _SEMI_MAJOR_M * (1.0 - _ECCENTRICITY_SQUARED) * np.pi / (180.0 * magic**1.5)
    parallel = _SEMI_MAJOR_M * np.cos(phi) * np.pi / (180.0 * np.sqrt(magic))
    return east / parallel, north / meridian
