"""Ridge, neighbours and the mean against straightforward computations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor
from verticlip.core.errors import InputError
from verticlip.core.heads.regression import ALPHA_GRID, RegressionHead
from verticlip.domains.urban.indicators.regressors import (
    FITTED,
    NEIGHBOR_GRID,
    MeanRegressor,
    NeighborRegressor,
    RidgeRegressor,
    neighbor_means,
    unit_rows,
)


def data(rows=60, width=8, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.normal(2, 1, (rows, width)).astype(np.float32)
    return features, features[:, 0] - 0.5 * features[:, 1] + 0.3 * rng.normal(size=rows)


@pytest.mark.parametrize("shape", [(60, 8), (20, 50)])
@pytest.mark.parametrize("alpha", [0.01, 100.0])
def test_ridge_is_that_of_the_core_head(shape, alpha):
    features, scores = data(*shape)
    found = RidgeRegressor.fit(features, scores, inner=(), alpha=alpha)
    head = RegressionHead.fit(torch.from_numpy(features), scores, ["y"], transform="none", alpha=alpha)
    assert np.allclose(found.weight, head.weight[0].numpy(), atol=1e-5)
    assert np.allclose(
        found.predict(features), head.scores(torch.from_numpy(features))[:, 0].numpy(), atol=1e-4
    )


def test_ridge_chooses_the_penalty_of_least_error():
    features, scores = data()
    parts = [(np.arange(40), np.arange(40, 60)), (np.arange(20, 60), np.arange(20))]
    chosen = RidgeRegressor.fit(features, scores, inner=parts).chosen["alpha"]
    errors = []
    for alpha in ALPHA_GRID:
        total = 0.0
        for fit, judge in parts:
            mean, spread = features[fit].mean(0), features[fit].std(0)
            model = Ridge(alpha=alpha).fit((features[fit] - mean) / spread, scores[fit])
            total += ((model.predict((features[judge] - mean) / spread) - scores[judge]) ** 2).sum()
        errors.append(total)
    assert chosen == ALPHA_GRID[int(np.argmin(errors))]


def test_neighbours_are_those_of_scikit_learn():
    features, scores = unit_rows(data()[0]), data()[1]
    queries = unit_rows(data(30, seed=1)[0])
    found = neighbor_means(queries, features, scores, [1, 3, 60])
    for column, count in enumerate([1, 3, 60]):
        model = KNeighborsRegressor(count, metric="cosine").fit(features, scores)
        assert np.allclose(found[:, column], model.predict(queries), atol=1e-6)


def test_the_number_of_neighbours_is_chosen_and_bounded():
    features, scores = data()
    parts = [(np.arange(40), np.arange(40, 60))]
    assert NeighborRegressor.fit(features, scores, inner=parts).chosen["neighbors"] in NEIGHBOR_GRID
    # Noise: the more neighbours, the better.
    noise = np.random.default_rng(5).normal(size=60)
    assert NeighborRegressor.fit(features, noise, inner=parts).chosen["neighbors"] >= 10
    assert NeighborRegressor.fit(features[:2], scores[:2], inner=()).neighbors == 2
    with pytest.raises(InputError, match="k = 61 neighbors need as many training tiles, got 60"):
        NeighborRegressor.fit(features, scores, inner=(), neighbors=61)


def test_the_mean():
    features, scores = data()
    assert np.allclose(MeanRegressor.fit(features, scores).predict(features[:5]), scores.mean())


@pytest.mark.parametrize("kind", [MeanRegressor, RidgeRegressor, NeighborRegressor])
def test_tensors_make_the_same_regressor(kind):
    features, scores = data()
    parts = [(np.arange(40), np.arange(40, 60))]
    fitted = kind.fit(features, scores) if kind is MeanRegressor else kind.fit(features, scores, inner=parts)
    again = FITTED[kind.name](fitted.tensors())
    assert np.allclose(again.predict(features), fitted.predict(features), atol=1e-6)
    assert again.chosen == pytest.approx(fitted.chosen)


def test_a_row_of_zeros_has_no_direction():
    assert unit_rows(np.zeros((1, 3), np.float32)).tolist() == [[0, 0, 0]]
