"""Cross-validation: nothing leaks, everything repeats."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import r2_score
from verticlip.core.errors import ConfigError, InputError
from verticlip.domains.urban.indicators.regression import IndicatorRegressor
from verticlip.domains.urban.indicators.validation import (
    ValidationSettings,
    cross_validate,
    inner_parts,
    plan_folds,
    run_position_baseline,
)

QUICK = ValidationSettings(block_m=2500.0, resamples=50)


@pytest.fixture
def city(grid_m, smooth):
    vectors = np.random.default_rng(1).normal(size=(900, 8)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors, np.exp(3 * unit[:, 0] + 5), grid_m


def test_numbers_are_those_of_the_held_back_predictions(city):
    vectors, people, centers = city
    found = cross_validate(vectors, people, centers, settings=QUICK)
    assert found.actual == pytest.approx(np.log1p(people))
    assert found.r2.value == pytest.approx(r2_score(found.actual, found.predicted))
    assert found.reports.original.rmse.value == pytest.approx(
        np.sqrt(((np.expm1(found.predicted) - people) ** 2).mean())
    )
    assert found.r2.n == 36
    assert len(found.fold_r2) == len(found.chosen) == found.folds.count == 5
    test = found.folds.test_rows(2)
    assert found.fold_r2[2] == pytest.approx(r2_score(found.actual[test], found.predicted[test]))
    stored = found.to_dict()
    assert stored["scheme"] == "block"
    assert stored["units"] == 36
    assert stored["metrics"]["z"]["r2"]["value"] == pytest.approx(found.r2.value)
    assert np.array_equal(found.predicted, cross_validate(vectors, people, centers, settings=QUICK).predicted)


def test_a_fold_knows_nothing_of_its_own_values(city):
    vectors, people, centers = city
    found = cross_validate(vectors, people, centers, settings=QUICK)
    test = found.folds.test_rows(0)
    changed = people.copy()
    changed[test] *= 1000
    again = cross_validate(vectors, changed, centers, settings=QUICK)
    assert np.array_equal(found.predicted[test], again.predicted[test])
    assert found.chosen[0] == again.chosen[0]
    rest = found.folds.test_rows(1)
    assert not np.array_equal(found.predicted[rest], again.predicted[rest])


def test_what_is_chosen_inside_is_split_by_place_too(city):
    _, people, centers = city
    plan = plan_folds(
        np.log1p(people),
        centers,
        scheme="block",
        folds=5,
        settings=ValidationSettings(block_m=2500.0, buffer_m=600.0),
    )
    train = plan.train_rows(0)
    for fit, judge in inner_parts(plan, train, seed=0):
        assert not set(plan.units[train[fit]]) & set(plan.units[train[judge]])
        near = np.linalg.norm(centers[train[fit]][:, None] - centers[train[judge]][None], axis=-1).min()
        assert near >= 600
    at_random = plan_folds(np.log1p(people), centers, scheme="random", folds=5, settings=QUICK)
    train = at_random.train_rows(0)
    fit, judge = inner_parts(at_random, train, seed=0)[0]
    assert set(plan.units[train[fit]]) & set(plan.units[train[judge]])


def test_regions_are_left_out_as_a_whole(city):
    vectors, people, centers = city
    regions = (centers[:, 0] // 3000).astype(int)
    settings = ValidationSettings(groups=regions, resamples=50)
    found = cross_validate(vectors, people, centers, scheme="region", head="knn", settings=settings)
    for fold in range(found.folds.count):
        assert not set(regions[found.folds.test_rows(fold)]) & set(regions[found.folds.train_rows(fold)])
    assert found.r2.n == 5
    assert cross_validate(vectors, people, scheme="random", settings=QUICK).r2.n == 900


def test_the_position_baseline_is_the_mean_of_the_nearest(grid_m):
    height = grid_m[:, 0] / 1000
    plan = plan_folds(height, grid_m, scheme="random", folds=5, settings=QUICK)
    found = run_position_baseline(height, plan=plan, settings=ValidationSettings(target="none", resamples=0))
    assert found.r2.value > 0.98
    row = int(plan.test_rows(0)[7])
    train = plan.train_rows(0)
    distance = np.linalg.norm(grid_m[train] - grid_m[row], axis=1)
    fifth = np.sort(distance)[4]
    assert height[train][distance < fifth].min() - 1 < found.predicted[row] < height[train].max()
    assert found.head == "position"


def test_the_mean_is_no_better_than_nothing(city):
    vectors, people, centers = city
    found = cross_validate(vectors, people, centers, head="mean", settings=QUICK)
    assert -0.2 < found.r2.value <= 0


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"buffer_m": -1.0}, ConfigError, "buffer_m must be 0 or more meters, got -1"),
        ({"buffer_m": 1e5}, InputError, "0 tiles to train on.*in the buffer of 100000 m.*smaller buffer"),
        ({"target": "log"}, InputError, "needs values above 0"),
    ],
)
def test_settings_that_leave_nothing(change, error, message, city):
    vectors, people, centers = city
    people = np.where(np.arange(900) == 4, 0, people)
    settings = ValidationSettings(**{"block_m": 2500.0, "resamples": 10, **change})
    with pytest.raises(error, match=message):
        cross_validate(vectors, people, centers, settings=settings)


def test_centers_are_needed_where_places_count(city):
    vectors, people, _ = city
    with pytest.raises(ConfigError, match="block split needs the centers"):
        cross_validate(vectors, people)
    with pytest.raises(ConfigError, match="A buffer needs the centers"):
        cross_validate(vectors, people, scheme="random", settings=ValidationSettings(buffer_m=5.0))
    with pytest.raises(InputError, match=r"vectors must be \[900, D\]"):
        cross_validate(vectors[:9], people, scheme="random")


def test_a_regressor_alone_gives_what_a_fold_gives(city):
    vectors, people, centers = city
    found = cross_validate(vectors, people, centers, settings=QUICK)
    train, test = found.folds.train_rows(1), found.folds.test_rows(1)
    parts = inner_parts(found.folds, train, QUICK.seed)
    alone = IndicatorRegressor("log1p", "ridge").fit(vectors[train], people[train], inner=parts)
    assert np.allclose(np.log1p(alone.predict(vectors[test])), found.predicted[test])
