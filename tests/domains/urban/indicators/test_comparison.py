"""The proof: on autocorrelated ground a random split flatters, a split by place does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from verticlip.domains.urban.indicators.comparison import validate
from verticlip.domains.urban.indicators.mlp import MLPSettings
from verticlip.domains.urban.indicators.validation import ValidationSettings

SETTINGS = ValidationSettings(target="log", block_m=3000.0, resamples=200)


@pytest.mark.parametrize("head", ["knn", "ridge"])
def test_features_that_only_know_the_place(head, grid_m, smooth):
    """Features and target are independent of each other; both are smooth over 700 m."""
    random, spatial = [], []
    for seed in range(3):
        features = smooth(grid_m, 700, 150, seed=seed)
        people = np.exp(smooth(grid_m, 700, 1, seed=100 + seed)[:, 0] + 5)
        found = validate(features, people, grid_m, head=head, settings=SETTINGS)
        random.append(found.random.r2.value)
        spatial.append(found.spatial.r2.value)
        assert found.gap.value == pytest.approx(found.random.r2.value - found.spatial.r2.value)
        assert found.gap.low > 0
        assert any("owed to labelled neighbors" in warning for warning in found.warnings)
    assert min(random) > 0.35
    assert max(spatial) < 0.1
    assert np.mean(random) - np.mean(spatial) > 0.4


@pytest.mark.parametrize("head", ["ridge", "mlp"])
def test_features_that_know_the_target(head, grid_m, smooth):
    """The target is as smooth as before, but now it is in the features."""
    features = smooth(grid_m, 700, 8, seed=1) + 0.1 * np.random.default_rng(0).normal(size=(900, 8))
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    people = np.exp(2 * unit[:, 0] + 5)
    quick = MLPSettings(hidden=32, epochs=10, lr=1e-2)
    settings = replace(SETTINGS, mlp=quick)
    found = validate(features, people, grid_m, head=head, settings=settings)
    assert found.random.r2.value > 0.9
    assert found.spatial.r2.value > 0.9
    assert abs(found.gap.value) < 0.05
    assert found.spatial.r2.value > found.baselines["position"][1].r2.value + 0.5
    assert not any("no better" in warning for warning in found.warnings)


def test_the_report(grid_m, smooth):
    features = smooth(grid_m, 3000, 16, seed=2)
    people = np.exp(smooth(grid_m, 3000, 1, seed=3)[:, 0])
    found = validate(
        features,
        people,
        grid_m,
        head="knn",
        settings=ValidationSettings(target="log", block_m=1500.0, resamples=50),
        colors=features[:, :3],
    )
    assert set(found.baselines) == {"mean", "position", "mean_color"}
    assert found.autocorrelation is not None
    assert found.autocorrelation.range_m > 1500
    assert any("smaller than the range" in warning for warning in found.warnings)
    assert found.random.r2.n == found.spatial.r2.n == 100
    stored = found.to_dict()
    assert stored["spatial"]["scheme"] == "block"
    assert stored["baselines"]["mean_color"]["random"]["head"] == "ridge"
    again = validate(
        features, people, grid_m, head="knn", settings=ValidationSettings("log", 1500.0, resamples=50)
    )
    assert again.spatial.to_dict() == stored["spatial"]


def test_blocks_are_as_large_as_the_autocorrelation_if_they_fit(grid_m, smooth):
    rough = np.exp(smooth(grid_m, 500, 1, seed=0)[:, 0])
    found = validate(smooth(grid_m, 500, 4), rough, grid_m, settings=ValidationSettings("log", resamples=0))
    assert found.autocorrelation is not None
    assert found.spatial.folds.block_m == pytest.approx(max(found.autocorrelation.range_m, 1500))
    trend = validate(
        smooth(grid_m, 500, 4), grid_m[:, 0] + 1, grid_m, settings=ValidationSettings("none", resamples=0)
    )
    # Ten blocks for five folds are all that a trend over the whole city leaves.
    assert int(trend.spatial.folds.units.max()) + 1 >= 10
    assert any("still too kind" in warning for warning in trend.warnings)


def test_noise_is_not_to_be_mapped(grid_m):
    rng = np.random.default_rng(0)
    found = validate(rng.normal(size=(900, 8)), np.exp(rng.normal(size=900)), grid_m, settings=SETTINGS)
    assert any("no better than the mean" in warning for warning in found.warnings) == (
        found.spatial.r2.value <= found.baselines["mean"][1].r2.value
    )
    assert found.spatial.r2.value < 0.05
    assert abs(found.gap.value) < 0.1


def test_regions_in_place_of_blocks(grid_m):
    rng = np.random.default_rng(0)
    regions = (grid_m[:, 0] // 2500).astype(int)
    settings = ValidationSettings("log", groups=regions, resamples=20)
    found = validate(rng.normal(size=(900, 8)), np.exp(rng.normal(size=900)), grid_m, settings=settings)
    assert found.spatial.folds.scheme == "region"
    assert any("Only 6 regions" in warning for warning in found.warnings)


def test_colors_that_do_as_well_as_the_model_are_said(grid_m):
    rng = np.random.default_rng(0)
    colors = rng.random((900, 3))
    blurred = colors @ rng.normal(size=(3, 8)) + rng.normal(size=(900, 8))
    people = np.exp(5 * colors[:, 0] + 3)
    settings = ValidationSettings("log", 3000.0, resamples=0)
    found = validate(blurred, people, grid_m, settings=settings, colors=colors)
    assert found.baselines["mean_color"][1].r2.value > 0.99
    assert any("mean colors of the tiles do as well" in warning for warning in found.warnings)
