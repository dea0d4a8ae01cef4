"""A raster's pixels cut into windows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from verticlip.core.errors import ConfigError, InputError, LimitError
from verticlip.domains.urban.geometry.grids import raster_grid

UTM = (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_500_000.0)
SIDE = st.integers(1, 40)


def grid(width, height, **options):
    return raster_grid(width, height, UTM, "EPSG:32650", **options)


@given(width=SIDE, height=SIDE, size=SIDE, stride=SIDE, edge=st.sampled_from(["shift", "pad"]))
def test_every_axis_has_the_stated_number_and_nothing_is_left_uncovered(width, height, size, stride, edge):
    tiles = grid(width, height, size=size, stride=stride, edge=edge)
    per_axis = [max(0, math.ceil((length - size) / stride)) + 1 for length in (width, height)]
    assert len(tiles) == per_axis[0] * per_axis[1]
    column, row, w, h = tiles.windows.T
    assert (w == size).all()
    assert (h == size).all()
    if edge == "shift":
        assert (column + size <= max(width, size)).all()
        assert (row + size <= max(height, size)).all()
    assert (column >= 0).all()
    assert (row >= 0).all()
    if stride <= size:
        seen = np.zeros((height, width), bool)
        for left, top in zip(column, row, strict=True):
            seen[top : top + size, left : left + size] = True
        assert seen.all()


@given(width=SIDE, height=SIDE, size=SIDE, stride=SIDE)
def test_drop_keeps_what_fits_whole(width, height, size, stride):
    if min(width, height) < size:
        with pytest.raises(InputError, match="Take a smaller size, or edge='pad'"):
            grid(width, height, size=size, stride=stride, edge="drop")
        return
    column, row, *_ = grid(width, height, size=size, stride=stride, edge="drop").windows.T
    assert column.max() + size <= width < column.max() + size + stride
    assert row.max() + size <= height < row.max() + size + stride


def test_windows_bounds_and_names():
    tiles = grid(130, 64, size=64, name="scene")
    assert tiles.ids == ("scene_0_0", "scene_0_64", "scene_0_66")
    assert tiles.bounds.dtype == np.float64
    assert tiles.bounds[2].tolist() == [500_660.0, 4_499_360.0, 501_300.0, 4_500_000.0]
    assert tiles[1].window == (64, 0, 64, 64)
    assert tiles[1].crs == "EPSG:32650"


def test_sides_may_differ():
    tiles = grid(100, 50, size=(20, 50), stride=(10, 50))
    assert tiles.windows[0].tolist() == [0, 0, 50, 20]
    assert len(tiles) == 2 * 4


def test_rasters_that_begin_in_the_south_have_bounds_the_right_way_round():
    tiles = raster_grid(64, 128, (10.0, 0.0, 0.0, 0.0, 10.0, 100.0), "EPSG:32650", size=64)
    assert tiles.bounds.tolist() == [[0.0, 100.0, 640.0, 740.0], [0.0, 740.0, 640.0, 1380.0]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size 0 is not a number of pixels of at least 1"),
        ({"size": 8, "stride": -1}, "stride -1 is not"),
        ({"size": (8, 8, 8)}, "nor \\(rows, columns\\)"),
        ({"size": 8, "edge": "shfit"}, "edge 'shfit' is none of shift, pad, drop. Did you mean 'shift'"),
    ],
)
def test_settings_that_make_no_grid_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        grid(64, 64, **options)


def test_rotated_rasters_are_refused_with_what_to_do():
    with pytest.raises(InputError, match="rotated or sheared.*Warp the raster to a north-up grid"):
        raster_grid(64, 64, (10.0, 1.0, 0.0, 1.0, -10.0, 0.0), "EPSG:32650", size=8)


def test_a_table_of_millions_is_refused_before_it_is_made():
    with pytest.raises(LimitError, match="10,000,000,000 tiles are over the limit of 5,000,000"):
        grid(100_000, 100_000, size=1)


def test_an_empty_raster_has_no_tiles():
    with pytest.raises(InputError, match="0 x 5 pixels has no tiles"):
        grid(0, 5, size=1)
