"""The detection error tradeoff as points and picture."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from PIL import Image
from verticlip.core.errors import DataError
from verticlip.domains.liveness.metrics.det import det_curve, save_det
from verticlip.domains.liveness.metrics.iso import iso_report


def example(count=40):
    rng = np.random.default_rng(1)
    scores = [*rng.normal(1, 1, count), *rng.normal(-1, 1, count), *rng.normal(0, 1, count // 4), None]
    return [score if score is None else float(score) for score in scores], [
        *["bona_fide"] * count, *["print"] * count, *["mask"] * (count // 4), "mask",
    ]  # fmt: skip


def test_every_point_is_a_report():
    scores, species = example()
    curve = det_curve(scores, species)
    for index in (0, 17, len(curve.thresholds) - 1):
        report = iso_report(scores, species, curve.thresholds[index])
        assert curve.bpcer[index] == report.bpcer.value
        assert curve.apcer_max[index] == report.apcer_max
        assert curve.apcer_pooled[index] == report.apcer_pooled.value
        assert {name: rates[index] for name, rates in curve.apcer.items()} == {
            name: rate.value for name, rate in report.apcer.items()
        }
    assert curve.thresholds[-1] == math.inf
    assert curve.apcer_max[-1] == 0
    assert curve.bpcer[0] == 0
    assert (curve.bona_fides, curve.counts) == (40, {"mask": 11, "print": 40})


def test_points_of_a_long_curve():
    curve = det_curve(*example(2000))
    kept = curve.to_dict(points=50)
    assert len(kept["bpcer"]) <= 50
    assert kept["points_of"] == len(curve.thresholds)
    assert (kept["bpcer"][0], kept["apcer_max"][-1], kept["threshold"][-1]) == (0, 0, "Infinity")
    json.dumps(kept, allow_nan=False)
    # Between two kept points neither rate jumps far.
    assert max(np.abs(np.diff(kept["bpcer"])).max(), np.abs(np.diff(kept["apcer_max"])).max()) < 0.06


def test_the_picture(tmp_path):
    scores, species = example()
    curve, report = det_curve(scores, species), iso_report(scores, species, 0.3)
    save_det(curve, tmp_path / "a.png", at=report, note="at $5")
    save_det(curve, tmp_path / "b.png", at=report, note="at $5")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    picture = np.asarray(Image.open(tmp_path / "a.png").convert("RGB"))
    assert picture.shape[0] > 600
    # The colors of the first two species are there.
    for color in ((0, 114, 178), (213, 94, 0)):
        assert (np.abs(picture.astype(int) - color).sum(axis=2) < 12).sum() > 200


@pytest.mark.parametrize(
    ("scores", "species"),
    [
        ([0.9, 0.1], ["bona_fide", "print"]),  # perfect
        ([0.1, 0.9], ["bona_fide", "print"]),  # reversed
        ([0.5, 0.5], ["bona_fide", "print"]),  # tied
        ([None, None], ["bona_fide", "print"]),  # silent
        ([0.5] * 20, ["bona_fide", *(f"kind {n}" for n in range(19))]),  # more species than can be told apart
    ],
)
def test_strange_curves_are_drawn(tmp_path, scores, species):
    save_det(det_curve(scores, species), tmp_path / "det.png", at=iso_report(scores, species, 0.5))
    assert (tmp_path / "det.png").stat().st_size > 1000


def test_one_class_has_no_tradeoff():
    with pytest.raises(DataError, match="there are 0 bona fide and 2 attack"):
        det_curve([0.1, 0.2], ["print", "print"])
