"""One indicator for every tile: intervals hold, zeros and unlabelled tiles are treated as said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from verticlip.core.errors import ConfigError, InputError
from verticlip.domains.urban.geometry.grids import raster_grid
from verticlip.domains.urban.indicators.mlp import URBANCLIP_MLP, MLPSettings
from verticlip.domains.urban.indicators.places import local_meters, overlapping
from verticlip.domains.urban.indicators.prediction import (
    Labels,
    PredictionSettings,
    drop_zeros,
    interval_half_width,
    predict_indicator,
)

UTM = "EPSG:32650"
TRANSFORM = (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_400_000.0)
QUICK = PredictionSettings(block_m=2500.0, resamples=20)


@pytest.fixture
def city(grid_m):
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(900, 6)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors, np.exp(2 * unit[:, 0] + 5 + 0.3 * rng.normal(size=900)), grid_m


def test_unlabelled_tiles_are_predicted_with_intervals_that_hold(city):
    vectors, people, centers = city
    known = np.where(np.arange(900) % 2 == 0, people, np.nan)
    vectors[9] = np.nan
    found = predict_indicator(vectors, centers, Labels("population", "persons", known), QUICK)
    assert found.labelled == 450
    assert np.flatnonzero(np.isnan(found.values)).tolist() == [9]
    rest = np.flatnonzero(np.isnan(known) & np.isfinite(found.values))
    held = (found.low[rest] <= people[rest]) & (people[rest] <= found.high[rest])
    assert 0.85 < held.mean() < 0.95
    assert (found.low[rest] < found.values[rest]).all()
    wide = predict_indicator(
        vectors, centers, Labels("p", "", known), PredictionSettings(block_m=2500.0, resamples=0, level=0.99)
    )
    assert (wide.high[rest] > found.high[rest]).all()
    assert 0.5 < found.total_ratio < 1.1
    stored = found.to_dict()
    assert stored["unit"] == "persons"
    assert stored["predicted_tiles"] == 899
    assert stored["reference_split"] is None
    assert stored["validation"]["spatial"]["block_m"] == 2500.0


def test_the_split_that_counts_makes_the_intervals(city):
    vectors, people, centers = city
    for split in ("random", "block"):
        settings = PredictionSettings(block_m=2500.0, resamples=0, split=split)
        found = predict_indicator(vectors, centers, Labels("p", "", people), settings)
        counted = found.report.random if split == "random" else found.report.spatial
        reach = np.log1p(found.high) - np.log1p(found.values)
        assert np.allclose(reach, interval_half_width(counted, 0.9))
    with pytest.raises(ConfigError, match="A split by region needs regions"):
        predict_indicator(vectors, centers, Labels("p", "", people), PredictionSettings(split="region"))
    groups = (centers[:, 0] // 2500).astype(int)
    settings = PredictionSettings(split="region", resamples=0)
    found = predict_indicator(vectors, centers, Labels("p", "", people, groups), settings)
    assert found.report.spatial.folds.scheme == "region"


@pytest.mark.parametrize("head", ["ridge", "knn"])
def test_tiles_that_overlap_do_not_tell_of_each_other(head):
    # Noise per cell, tiles of 2 x 2 cells at every cell: labels and embeddings of neighbours share cells, and
    # embeddings that know of nothing but places would pass for knowledge.
    side = 31
    rng = np.random.default_rng(1)
    tiles = raster_grid((side + 1) * 16, (side + 1) * 16, TRANSFORM, UTM, size=32, stride=16, name="s")

    def over_tiles(cells):
        return sum(cells[a : a + side, b : b + side] for a in (0, 1) for b in (0, 1)).reshape(side * side, -1)

    noise = over_tiles(rng.normal(size=(side + 1, side + 1, 1)))[:, 0]
    places = over_tiles(rng.normal(size=(side + 1, side + 1, 200))).astype(np.float32)
    settings = PredictionSettings(head=head, target="none", block_m=160.0, resamples=0)
    labels = Labels("noise", "", noise)
    leaking = predict_indicator(places, local_meters(tiles), labels, settings)
    labels = Labels("noise", "", noise, overlaps=overlapping(tiles))
    found = predict_indicator(places, local_meters(tiles), labels, settings)
    assert leaking.report.spatial.r2.value > 0.05
    assert found.report.spatial.r2.value < 0.01
    assert any("Tiles overlap: no tile trained where" in one for one in found.report.warnings)
    stored = found.to_dict()["validation"]
    assert stored["spatial"]["overlapping_pairs_kept_apart"] == len(overlapping(tiles))
    assert stored["random"]["overlapping_pairs_kept_apart"] == 0


def test_tiles_outside_of_every_region_have_no_fold(city):
    vectors, people, centers = city
    groups = (centers[:, 0] // 2500).astype(int) - 1
    settings = PredictionSettings(split="region", resamples=0)
    found = predict_indicator(vectors, centers, Labels("p", "", people, groups), settings)
    assert found.labelled == 750
    assert found.to_dict()["validation"]["spatial"]["units"] == 5
    assert np.isfinite(found.values).all()
    few = Labels("p", "", people, np.where(np.arange(900) < 20, 1, -1))
    with pytest.raises(
        InputError, match="p: 20 tiles have both an embedding and a value and lie in a region"
    ):
        predict_indicator(vectors, centers, few, settings)


def test_intervals_that_so_few_tiles_cannot_tell(city):
    vectors, people, centers = city
    few = Labels("p", "", np.where(np.arange(900) % 9 == 0, people, np.nan))
    settings = PredictionSettings(block_m=2500.0, resamples=0, level=0.995)
    with pytest.raises(
        InputError, match="100 labelled tiles are too few for intervals of 0.995; 0.99 is the"
    ):
        predict_indicator(vectors, centers, few, settings)
    predict_indicator(vectors, centers, few, replace(settings, level=0.99))


def test_the_recipe_of_the_paper():
    settings = PredictionSettings(recipe="urbanclip")
    assert (settings.head, settings.target, settings.mlp) == ("mlp", "log", URBANCLIP_MLP)
    columns = {"a": np.array([1.0, 0, 3, np.nan]), "b": np.array([0.0, 2, 3, 4])}
    kept, dropped = drop_zeros(columns)
    assert dropped == 2
    assert np.isnan(kept["a"]).tolist() == [True, True, False, True]
    assert np.isnan(kept["b"]).tolist() == [True, True, False, False]


def test_the_reference_split_is_reported_beside(city):
    vectors, people, centers = city
    quick = MLPSettings(hidden=8, epochs=3, lr=1e-2)
    settings = PredictionSettings(recipe="urbanclip", block_m=2500.0, folds=2, resamples=0, mlp=quick)
    found = predict_indicator(vectors, centers, Labels("p", "", people), settings)
    assert found.reference is not None
    assert found.reference.z.rows == 900 - int(0.8 * 900)
    assert found.to_dict()["reference_split"]["log"]["rows"] == 180


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": "blocks"}, "Unknown split 'blocks'.*Did you mean 'block'"),
        ({"recipe": "urban"}, "Unknown recipe 'urban'"),
        ({"level": 90}, "level must lie between 0 and 1, got 90"),
    ],
)
def test_settings_that_cannot_be(change, message):
    with pytest.raises(ConfigError, match=message):
        PredictionSettings(**change)


def test_labels_that_cannot_be_learned_from(city):
    vectors, people, centers = city
    few = np.where(np.arange(900) < 29, people, np.nan)
    with pytest.raises(InputError, match="population: 29 tiles have both.*at least 30"):
        predict_indicator(vectors, centers, Labels("population", "", few), QUICK)
    with pytest.raises(InputError, match="height: a log1p target needs values of 0 or more, got -3"):
        predict_indicator(vectors, centers, Labels("height", "", np.where(people > 400, -3, people)), QUICK)
    with pytest.raises(InputError, match="flat: all 900 training values equal 2"):
        predict_indicator(vectors, centers, Labels("flat", "", np.full(900, 2.0)), QUICK)
