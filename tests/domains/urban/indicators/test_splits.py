"""Folds: every tile is tested once, blocks stay whole, buffers are empty."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from verticlip.core.errors import ConfigError, InputError
from verticlip.domains.urban.indicators.splits import SCHEMES, block_ids, make_folds, pairs_among


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_tile_is_tested_once_and_equal_seeds_give_equal_folds(scheme, grid_m):
    names = [f"district {row // 90}" for row in range(900)]
    options = {"centers_m": grid_m, "block_m": 2500.0, "groups": names}
    plan = make_folds(900, scheme, folds=4, seed=3, **options)
    tested = np.concatenate([plan.test_rows(fold) for fold in range(plan.count)])
    assert sorted(tested.tolist()) == list(range(900))
    for fold in range(4):
        assert set(plan.train_rows(fold)) | set(plan.test_rows(fold)) == set(range(900))
        assert 150 < len(plan.test_rows(fold)) < 300
        if scheme != "random":
            assert not set(plan.units[plan.test_rows(fold)]) & set(plan.units[plan.train_rows(fold)])
    assert np.array_equal(plan.fold, make_folds(900, scheme, folds=4, seed=3, **options).fold)
    assert not np.array_equal(plan.fold, make_folds(900, scheme, folds=4, seed=4, **options).fold)


def test_blocks_are_squares_of_whole_tiles(grid_m):
    ids = block_ids(grid_m, 2500.0)
    assert ids.max() + 1 == 36
    assert np.bincount(ids).tolist() == [25] * 36
    for block in range(36):
        assert np.ptp(grid_m[ids == block], axis=0).tolist() == [2000, 2000]
    # A grid whose numbers are not round falls into the same blocks.
    assert np.array_equal(ids, block_ids(grid_m / 3 + 1e6 / 7, 2500.0 / 3))


def test_nothing_trains_inside_the_buffer(grid_m):
    plan = make_folds(900, "block", folds=5, centers_m=grid_m, block_m=2500.0)
    for buffer_m in (0.0, 900.0, 2000.0):
        wide = replace(plan, buffer_m=buffer_m)
        train, test = wide.train_rows(0), wide.test_rows(0)
        distance = np.linalg.norm(grid_m[train][:, None] - grid_m[test][None], axis=-1).min()
        assert distance >= max(buffer_m, 500)
    assert len(replace(plan, buffer_m=2000.0).train_rows(0)) < len(plan.train_rows(0))


def test_nothing_trains_that_overlaps_what_is_tested(grid_m):
    plan = make_folds(900, "block", folds=5, centers_m=grid_m, block_m=2500.0)
    one, other = np.triu_indices(900, 1)
    near = np.abs(grid_m[one] - grid_m[other]).max(axis=1) < 1000
    pairs = np.stack([one[near], other[near]], axis=1)
    apart = replace(plan, overlaps=pairs)
    train, test = apart.train_rows(0), apart.test_rows(0)
    assert np.abs(grid_m[train][:, None] - grid_m[test][None]).max(axis=-1).min() == 1000
    kept = set(plan.train_rows(0)) - set(train)
    assert all(np.abs(grid_m[row] - grid_m[test]).max(axis=1).min() == 500 for row in kept)
    rows = np.array([3, 4, 8])
    assert pairs_among(np.array([[3, 4], [4, 5], [3, 8]]), rows).tolist() == [[0, 1], [0, 2]]
    assert pairs_among(None, rows) is None


@pytest.mark.parametrize(
    ("rows", "scheme", "folds", "options", "error", "message"),
    [
        (900, "blocks", 5, {}, ConfigError, "Unknown split 'blocks'.*Did you mean 'block'"),
        (900, "random", 1, {}, ConfigError, "folds must be 2 or more, got 1"),
        (7, "random", 5, {}, InputError, "7 labelled tiles are too few for 5 folds"),
        (900, "block", 5, {"block_m": 9.0}, ConfigError, "needs the centers"),
        (900, "block", 5, {"centers": True}, ConfigError, "and block_m"),
        (900, "block", 5, {"centers": True, "block_m": -1.0}, ConfigError, "block_m must be above 0"),
        (900, "block", 5, {"centers": True, "block_m": 1e5}, InputError, "in 1 block.*5 folds need 5"),
        (900, "region", 5, {}, ConfigError, "one region id per tile: 900, got 0"),
        (900, "region", 5, {"groups": ["a", "b"] * 450}, InputError, "2 region.*split by block"),
    ],
)
def test_splits_that_cannot_be(rows, scheme, folds, options, error, message, grid_m):
    if options.pop("centers", False):
        options = {**options, "centers_m": grid_m}
    with pytest.raises(error, match=message):
        make_folds(rows, scheme, folds=folds, **options)
