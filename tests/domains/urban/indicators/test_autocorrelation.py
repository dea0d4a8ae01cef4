"""The range of fields whose range is known."""

from __future__ import annotations

import numpy as np
import pytest
from verticlip.core.errors import InputError
from verticlip.domains.urban.indicators.autocorrelation import autocorrelation, spacing_of


def exponential_field(centers, reach_m, seed):
    """A field with covariance exp(-3 h / reach)."""
    distance = np.linalg.norm(centers[:, None] - centers[None], axis=-1)
    factor = np.linalg.cholesky(np.exp(-3 * distance / reach_m) + 1e-9 * np.eye(len(centers)))
    return factor @ np.random.default_rng(seed).normal(size=len(centers))


def test_the_range_of_an_exponential_field_is_found(grid_m):
    found = [autocorrelation(exponential_field(grid_m, 4000, seed), grid_m) for seed in range(5)]
    assert 2000 < np.median([one.range_m for one in found]) < 8000
    assert all(one.moran_i > 0.5 and one.structure > 0.5 for one in found)
    assert found[0].spacing_m == 500
    assert found[0].to_dict()["moran_i"] == found[0].moran_i


def test_noise_has_no_range_and_a_trend_has_none_that_ends(grid_m):
    noise = autocorrelation(np.random.default_rng(0).normal(size=900), grid_m)
    assert noise.range_m == 0
    assert abs(noise.moran_i) < 0.1
    trend = autocorrelation(grid_m[:, 0], grid_m)
    assert trend.beyond
    assert trend.range_m > 8000


def test_morans_i_of_a_chessboard(grid_m):
    # Eight neighbours: four of the other color, four (of the corners) of the same.
    board = (grid_m / 500).sum(axis=1) % 2
    assert autocorrelation(board, grid_m).moran_i == pytest.approx(0, abs=0.05)


def test_many_tiles_are_sampled(grid_m, smooth):
    many = np.concatenate([grid_m + np.array(shift) for shift in ((0, 0), (15_000, 0), (0, 15_000))])
    values = smooth(many, 2000)[:, 0]
    assert autocorrelation(values, many, seed=1) == autocorrelation(values, many, seed=1)


def test_what_has_no_answer(grid_m):
    with pytest.raises(InputError, match="10 or more labelled tiles, got 9"):
        autocorrelation(np.arange(9), grid_m[:9])
    with pytest.raises(InputError, match="All 900 values equal 1"):
        autocorrelation(np.ones(900), grid_m)
    with pytest.raises(InputError, match="must be \\[5, 2\\] meters"):
        autocorrelation(np.arange(5), grid_m)
    with pytest.raises(InputError, match="center of tile 3 is not finite"):
        autocorrelation(np.arange(900), np.where(np.arange(900)[:, None] == 3, np.nan, grid_m))
    with pytest.raises(InputError, match="one center"):
        spacing_of(np.zeros((5, 2)))
