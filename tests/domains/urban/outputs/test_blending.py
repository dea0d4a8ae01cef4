"""Overlapping predictions: means are right, and rows leave memory as soon as they are finished."""

from __future__ import annotations

import numpy as np
import pytest
from verticlip.core.errors import ConfigError
from verticlip.domains.urban.outputs.blending import RowBlender, blend_window


class Rows:
    def __init__(self) -> None:
        self.parts: list[np.ndarray] = []
        self.starts: list[int] = []

    def __call__(self, row: int, values: np.ndarray) -> None:
        assert row == sum(part.shape[1] for part in self.parts)
        self.starts.append(row)
        self.parts.append(values)

    @property
    def image(self) -> np.ndarray:
        return np.concatenate(self.parts, axis=1)


@pytest.mark.parametrize("kind", ["hann", "linear", "flat"])
def test_windows(kind: str) -> None:
    window = blend_window(8, 6, kind)
    assert window.shape == (8, 6)
    assert window.min() > 0
    assert np.allclose(window, window[::-1, ::-1])
    assert window[4, 3] == window.max() <= 1
    with pytest.raises(ConfigError, match=r"'hamn' is none of hann, linear, flat\. Did you mean 'hann'"):
        blend_window(2, 2, "hamn")


def test_equals_the_sum_over_the_whole_raster() -> None:
    rng = np.random.default_rng(0)
    height, width, size, stride = 150, 70, 20, 7
    rows = Rows()
    blender = RowBlender(rows, width=width, height=height, bands=2, block_rows=16)
    total, weight = np.zeros((2, height, width)), np.zeros((height, width))
    window = blend_window(size, size)
    most = 0
    for row in range(-5, height, stride):
        for column in range(-5, width, stride):
            values = rng.random((2, size, size)).astype(np.float32)
            blender.add(values, row, column, weights=window)
            most = max(most, blender.rows_in_memory)
            y0, y1, x0, x1 = max(row, 0), min(row + size, height), max(column, 0), min(column + size, width)
            part = (slice(y0 - row, y1 - row), slice(x0 - column, x1 - column))
            total[:, y0:y1, x0:x1] += values[(slice(None), *part)] * window[part]
            weight[y0:y1, x0:x1] += window[part]
    blender.close()
    assert rows.image.shape == (2, height, width)
    assert np.abs(rows.image - total / weight).max() < 1e-5
    assert all(start % 16 == 0 for start in rows.starts)
    assert most <= size + 16, "memory is bound by a tile and a block, not by the raster"


def test_a_constant_stays_constant_and_gaps_stay_empty() -> None:
    rows = Rows()
    blender = RowBlender(rows, width=30, height=40, block_rows=8)
    for row in (0, 5, 10):
        blender.add(np.full((1, 10, 10), 0.3), row, 3, weights=blend_window(10, 10))
    values = np.full((1, 4, 4), 2.0)
    values[0, 1, 1] = np.nan
    blender.add(values, 30, 20)
    blender.close()
    image = rows.image[0]
    assert np.allclose(image[:20, 3:13], 0.3, atol=1e-6)
    assert np.isnan(image[:, :3]).all()
    assert np.isnan(image[20:30]).all()
    assert np.isnan(image[31, 21])
    assert image[30, 20] == 2.0
    assert image.dtype == np.float32


def test_rows_that_are_finished_cannot_be_reached() -> None:
    blender = RowBlender(Rows(), width=10, height=100, block_rows=8)
    blender.add(np.ones((1, 4, 4)), 50, 0)
    with pytest.raises(ConfigError, match="begins in row 40, and the rows above 48 are finished"):
        blender.add(np.ones((1, 4, 4)), 40, 0)
    with pytest.raises(ConfigError, match="has 2 bands; the raster has 1"):
        blender.add(np.ones((2, 4, 4)), 60, 0)
    blender.add(np.ones((1, 4, 4)), 60, 20)
    with pytest.raises(ConfigError, match="no room for anything"):
        RowBlender(Rows(), width=0, height=1)
