"""Cities made for tests: tiles on a grid, and fields that are as smooth as wanted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

Field = Callable[..., NDArray[np.float64]]


@pytest.fixture
def grid_m() -> NDArray[np.float64]:
    """Centers of 30 x 30 tiles of 500 m, in meters."""
    steps = np.arange(30) * 500.0
    return np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)


@pytest.fixture
def smooth() -> Field:
    """``smooth(centers, length_m, count, seed)``: independent Gaussian random fields [N, count] of variance 1."""

    def make(centers, length_m, count=1, seed=0, waves=300):
        rng = np.random.default_rng(seed)
        directions = rng.normal(size=(waves, 2)) / length_m
        phases = rng.uniform(0, 2 * np.pi, waves)
        return np.sqrt(2 / waves) * np.cos(centers @ directions.T + phases) @ rng.normal(size=(waves, count))

    return make
