"""Covered shares of pixels against polygons cut one by one."""

from __future__ import annotations

import numpy as np
import pytest
from verticlip.domains.urban.indicators.coverage import Rings, covered_shares, pixel_windows

shapely = pytest.importorskip("shapely")

WIDTH, HEIGHT = 30, 28


def polygons(seed: int = 0):
    """Polygons of all sizes in and around a raster, a star, and rectangles on and between pixel borders."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(150):
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 9)))
        circle = rng.uniform(0.05, 9) * np.stack([np.cos(angles), np.sin(angles)], 1)
        found.append(shapely.Polygon(rng.uniform(-3, 33, 2) + circle))
    turns = np.arange(14) * np.pi / 7
    star = np.where(np.arange(14) % 2, 3.0, 11.0)[:, None] * np.stack([np.cos(turns), np.sin(turns)], 1)
    found.append(shapely.Polygon(star + np.array([14.3, 12.8])))
    boxes = [(3, 4, 7, 9), (3.5, 4.25, 3.75, 4.5), (-5, -5, 40, 40), (50, 50, 60, 60), (0.3, 0, 0.3001, 30)]
    return np.array([*found, *(shapely.box(*box) for box in boxes), shapely.Polygon()])


def rings_of(shapes) -> Rings:
    points, owner = shapely.get_coordinates(shapes, return_index=True)
    return Rings(points, owner.astype(np.int64))


def test_shares_are_areas_of_intersections():
    shapes = polygons()
    rings = rings_of(shapes)
    windows = pixel_windows(rings, len(shapes), WIDTH, HEIGHT)
    shares = covered_shares(rings, np.arange(len(shapes)), windows)
    at = 0
    for shape, (column, row, width, height) in zip(shapes, windows.tolist(), strict=True):
        rows, columns = np.mgrid[row : row + height, column : column + width]
        pixels = shapely.box(columns, rows, columns + 1, rows + 1)
        wanted = shapely.area(shapely.intersection(pixels, shape))
        assert np.allclose(shares[at : at + width * height], wanted.ravel(), atol=1e-12)
        at += width * height
        # Nothing of the polygon on the raster lies outside of its window.
        assert wanted.sum() == pytest.approx(shape.intersection(shapely.box(0, 0, WIDTH, HEIGHT)).area)
    assert at == len(shares)


def test_a_window_may_be_cut_into_strips_and_named_in_any_order():
    shapes = polygons(1)
    rings = rings_of(shapes)
    windows = pixel_windows(rings, len(shapes), WIDTH, HEIGHT)
    whole = covered_shares(rings, np.arange(len(shapes)), windows)
    halves = np.repeat(windows, 2, axis=0)
    halves[0::2, 3] //= 2
    halves[1::2, 1] += halves[0::2, 3]
    halves[1::2, 3] -= halves[0::2, 3]
    assert np.allclose(covered_shares(rings, np.repeat(np.arange(len(shapes)), 2), halves), whole, atol=1e-12)
    back = covered_shares(rings, np.arange(len(shapes))[::-1], windows[::-1])
    ends = np.cumsum((windows[:, 2] * windows[:, 3])[::-1])
    parts = np.split(back, ends[:-1])[::-1]
    assert np.allclose(np.concatenate(parts), whole, atol=1e-12)


def test_both_directions_count_alike_and_nothing_is_nothing():
    ring = np.array([[1.5, 1.5], [4, 1.5], [4, 3.25], [1.5, 3.25], [1.5, 1.5]])
    for points in (ring, ring[::-1]):
        rings = Rings(points, np.zeros(5, dtype=np.int64))
        windows = pixel_windows(rings, 1, 10, 10)
        assert windows.tolist() == [[1, 1, 3, 3]]
        shares = covered_shares(rings, np.zeros(1, dtype=np.int64), windows).reshape(3, 3)
        assert shares.tolist() == [[0.25, 0.5, 0.5], [0.5, 1, 1], [0.125, 0.25, 0.25]]
    empty = Rings(np.empty((0, 2)), np.empty(0, dtype=np.int64))
    assert pixel_windows(empty, 2, 10, 10).tolist() == [[0, 0, 0, 0]] * 2
    none = np.empty(0, dtype=np.int64)
    assert covered_shares(empty, none, np.empty((0, 4), dtype=np.int64)).shape == (0,)
