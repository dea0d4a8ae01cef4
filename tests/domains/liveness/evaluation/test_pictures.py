"""The picture of the scores."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from liveness.evaluation import make_scores
from PIL import Image
from verticlip.domains.liveness.evaluation.pictures import _edges, save_scores
from verticlip.domains.liveness.evaluation.report import EvaluationSettings, evaluate

QUICK = EvaluationSettings(resamples=0)


@pytest.mark.parametrize("threshold", [0.5, -3.0, 9.0, 0.0])
@pytest.mark.parametrize("scores", [[0.0, 1.0], [0.5], [0.2, 0.2 + 1e-12], [0.0, 0.999, 1.0]])
def test_no_bar_holds_both_sides_of_the_threshold(threshold, scores):
    edges = _edges(np.asarray(scores), threshold)
    assert threshold in edges
    assert edges[0] < min(*scores, threshold)
    assert edges[-1] > max(*scores, threshold)
    assert len(edges) < 70
    assert (np.diff(edges) > 0).all()


@pytest.mark.parametrize("rule", ["fixed=0.5", "fixed=Infinity", "fixed=-Infinity", "test_eer"])
def test_pictures_at_any_threshold(tmp_path, rule):
    save_scores(evaluate(make_scores.population("test", 2), rule, settings=QUICK), tmp_path / "a.png")
    assert np.asarray(Image.open(tmp_path / "a.png").convert("L")).std() > 10


def test_many_species_and_one_silent_one(tmp_path):
    rows = make_scores.population("test", 2)
    many = [
        replace(row, species=f"kind $ {index % 20}", score=None if index % 20 == 3 else 0.4, margin=None)
        for index, row in enumerate(row for row in rows if not row.is_live)
    ]
    report = evaluate([row for row in rows if row.is_live] + many, "fixed=0.5", settings=QUICK)
    save_scores(report, tmp_path / "a.png")
    height = Image.open(tmp_path / "a.png").height
    save_scores(evaluate(rows, "fixed=0.5", settings=QUICK), tmp_path / "b.png")
    # Twelve rows at most; four in the other.
    assert height < 3.5 * Image.open(tmp_path / "b.png").height
    assert math.isclose(
        Image.open(tmp_path / "b.png").width, Image.open(tmp_path / "a.png").width, rel_tol=0.1
    )
