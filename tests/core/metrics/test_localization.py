from __future__ import annotations

import json
import math

import numpy as np
import pytest
from verticlip.core.errors import InputError
from verticlip.core.metrics import localization_report, localize
from verticlip.core.metrics.localization import Localization, peak_of

BOX = (40, 30, 290, 280)


def noisy_box(deviation: float, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(scale=deviation, size=(400, 480))
    values[30:280, 40:290] += 1
    return values


@pytest.mark.parametrize("deviation", [0.1, 0.5, 2.0])
def test_contrast_of_a_box_with_known_noise(deviation):
    found = [localize(noisy_box(deviation, seed), [BOX]).cnr for seed in range(5)]
    assert np.mean(found) == pytest.approx(1 / (deviation * math.sqrt(2)), rel=0.02)


def test_a_perfect_map_and_its_opposite():
    values = np.zeros((20, 20))
    values[5:10, 5:10] = 1
    perfect = localize(values, [(5, 5, 10, 10)])
    assert (perfect.cnr, perfect.miou, perfect.pointing) == (math.inf, 1.0, 1.0)
    dark = localize(-noisy_box(0.1), [BOX])
    assert dark.cnr_signed == pytest.approx(-dark.cnr)
    assert dark.cnr > 5
    assert dark.pointing == 0
    assert localize(np.zeros((5, 5)), [(0, 0, 2, 2)]).cnr == 0


def test_overlap_averages_five_thresholds():
    # 1 in the box, 0.25 in as much again: found twice too much at 0.1 and 0.2, exactly at the rest.
    values = np.full((10, 20), -1.0)
    values[:, :5], values[:, 5:10] = 1.0, 0.25
    assert localize(values, [(0, 0, 5, 10)]).miou == pytest.approx((0.5 + 0.5 + 1 + 1 + 1) / 5)


def test_what_was_not_seen_takes_no_part_in_contrast_and_is_a_miss_for_overlap():
    values = np.full((10, 20), np.nan)
    values[:, :10] = 0.0
    values[:, :5] = 1.0
    inside = localize(values, [(0, 0, 5, 10)])
    assert (inside.cnr, inside.miou) == (math.inf, 1.0)
    half = localize(values, [(0, 0, 5, 10), (15, 0, 20, 10)])
    assert half.cnr == math.inf
    assert half.miou == pytest.approx(0.5)
    unseen = localize(values, [(15, 0, 20, 10)])
    assert math.isnan(unseen.cnr)
    assert (unseen.miou, unseen.pointing) == (0.0, 0.0)


def test_the_two_conventions_for_several_boxes():
    rng = np.random.default_rng(0)
    values = rng.normal(scale=0.1, size=(100, 100))
    values[:20, :20] += 1
    values[80:, 80:] += 3
    boxes = [(0, 0, 20, 20), (80, 80, 100, 100)]
    outside = values[20:80].ravel()
    each = [
        (part.mean() - outside.mean()) / np.sqrt(part.var() + outside.var())
        for part in (values[:20, :20], values[80:, 80:])
    ]
    per_box = localize(values, boxes, convention="per_box")
    assert per_box.cnr == pytest.approx(np.mean(each), rel=0.02)
    assert per_box == localize(values, boxes[::-1], convention="per_box")
    # One region of two levels is noisy in itself.
    assert localize(values, boxes).cnr < per_box.cnr / 3


def test_the_peak_of_a_level_is_its_middle():
    values = np.full((20, 20), np.nan)
    values[:, 4:] = 0.1
    values[3:8, 10:15] = 0.7 - 1e-9 * np.arange(5)  # level but for rounding
    assert peak_of(values) == (5, 12)
    with pytest.raises(InputError, match="no finite value"):
        peak_of(values * np.nan)


def sample(cnr: float, miou: float = 0.2) -> Localization:
    return Localization(abs(cnr), cnr, miou, float(cnr > 0))


def test_findings_count_alike_and_undefined_contrasts_are_left_out():
    samples = [sample(1.0), sample(1.0), sample(1.0), sample(-3.0, 0.6), sample(math.nan)]
    report = localization_report(samples, ["a", "a", "a", "b", "b"], resamples=200)
    assert report.findings["a"]["cnr"].value == pytest.approx(1)
    assert report.findings["b"]["cnr"].value == pytest.approx(3)
    assert report.mean["cnr"].value == pytest.approx(2)
    assert report.mean["cnr_signed"].value == pytest.approx(-1)
    assert report.mean["miou"].value == pytest.approx((0.2 + 0.4) / 2)
    assert report.undefined == 1
    assert report.findings["a"]["cnr"].n == 3
    plain = report.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert (plain["box_convention"], plain["thresholds"]) == ("union", [0.1, 0.2, 0.3, 0.4, 0.5])


def test_intervals_resample_groups():
    rng = np.random.default_rng(0)
    samples = [sample(value) for value in rng.normal(1, 0.5, 60).clip(0.01)]
    rows = localization_report(samples, ["a"] * 60)
    groups = localization_report(samples, ["a"] * 60, groups=[index // 6 for index in range(60)])
    assert (rows.mean["cnr"].n, groups.mean["cnr"].n) == (60, 10)
    assert rows.mean["cnr"].value == groups.mean["cnr"].value
    assert rows.mean["cnr"].low < rows.mean["cnr"].value < rows.mean["cnr"].high
    assert rows == localization_report(samples, ["a"] * 60)


def test_a_single_sample_has_no_interval():
    report = localization_report([sample(1.0)], ["a"])
    assert math.isnan(report.mean["cnr"].low)
    assert report.to_dict()["mean"]["cnr"]["low"] is None


def test_messages():
    values = np.zeros((4, 6))
    with pytest.raises(InputError, match=r"A map is float \[H, W\] .* got shape \(6,\)"):
        localize(values[0], [BOX])
    with pytest.raises(InputError, match="at least one finite value"):
        localize(values * np.nan, [BOX])
    with pytest.raises(InputError, match="at least one box"):
        localize(values, [])
    with pytest.raises(
        InputError, match=r"box \(40, 30, 290, 280\) holds no pixel of an image 4 high and 6 wide"
    ):
        localize(values, [BOX])
    with pytest.raises(InputError, match="four numbers"):
        localize(values, [(1, 2, math.nan, 4)])
    with pytest.raises(InputError, match="convention 'perbox' is not known.*Did you mean 'per_box'"):
        localize(values, [(0, 0, 1, 1)], convention="perbox")
    with pytest.raises(InputError, match="2 samples and 1 findings"):
        localization_report([sample(1), sample(1)], ["a"])
    with pytest.raises(InputError, match="no rows to evaluate"):
        localization_report([], [])
