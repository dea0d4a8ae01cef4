"""The measures of liveness/tiny on drawn pictures: what is counted, and that every figure comes out."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from verticlip.benchmarks import liveness_tiny as bench
from verticlip.domains.liveness.simulate.dataset import Plan

pytest.importorskip("cv2", reason="the liveness extra is not installed")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "domains"))

from liveness.models import make_models
from liveness.simulate import make_pictures


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    home = tmp_path_factory.mktemp("photos")
    make_pictures.save(home / "train", 30)
    make_pictures.save(home / "validation", 5, seed=100)
    return home


def test_every_figure_comes_out_and_the_summary_is_of_rates(photos):
    model = make_models.handle()
    found = bench.measure(
        model, photos, seed=1, bona_fide=2, attacks=9, others={bench.FACE_MODEL: make_models.handle()}
    )
    assert found["test"] == {"presentations": 50, "subjects": 5}
    assert found["dev"]["presentations"] == 10 * found["dev"]["subjects"]
    assert set(found["changed"]) == set(bench.CHANGES)
    assert len(found["model"]["apcer_by_family"]) == 8
    assert sum(rate["n"] for rate in found["model"]["apcer_by_family"].values()) == 40
    assert sum(rate["n"] for rate in found["model"]["apcer_by_severity"].values()) == 40
    assert found["unprocessed"]["n"] == found["dim"]["n"] == 5
    assert found["untrained"]["composite"]["n"] == 5
    # The same network under another name has the same errors.
    assert found[bench.FACE_MODEL]["test"] == found["model"]["test"]
    plain = [value["value"] if isinstance(value, dict) else value for value in found["summary"].values()]
    assert all(0 <= value <= 1 for value in plain)
    assert "no biometric data" in found["notes"].replace("\n", " ")


def test_the_baseline_tells_dark_from_bright(photos):
    plan = Plan(seed=3, bona_fide=2, attacks=2, families=("low_light",))
    part = bench.make_part(photos / "train", plan)
    margins = np.array(bench.fit_baseline(part)(part.pictures))
    live = np.array([entry.label == "live" for entry in part.entries])
    assert margins[live].min() > margins[~live].mean()
    assert ((margins > 0) == live).mean() > 0.9


def test_changes_change_size_and_pixels_as_they_say():
    picture = make_pictures.drawn(5)
    assert bench.half(picture).shape == (80, 60, 3)
    assert np.array_equal(bench.CHANGES["mirrored"](picture)[:, ::-1], picture)
    coarse, fine = (abs(bench.jpeg(q)(picture).astype(int) - picture).mean() for q in (20, 95))
    assert coarse > fine > 0
