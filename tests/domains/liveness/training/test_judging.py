from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from verticlip.core.data import Record
from verticlip.core.errors import DataError
from verticlip.domains.liveness.metrics.iso import group_presentations
from verticlip.domains.liveness.protocols.entry import Entry
from verticlip.domains.liveness.taxonomy import load_taxonomy
from verticlip.domains.liveness.training.judging import judge, lowest_acer

BINARY = load_taxonomy("binary")


def error(scores: list[float], species: list[str]) -> tuple[float, str]:
    return lowest_acer(group_presentations(scores, species))


def test_the_worst_species_decides():
    species = ["bona_fide"] * 4 + ["print"] * 4 + ["mask"] * 2
    # All prints are refused easily; one of two masks scores above half of the live ones.
    scores = [0.9, 0.8, 0.7, 0.6, 0.1, 0.1, 0.2, 0.2, 0.75, 0.3]
    found, worst = error(scores, species)
    # At 0.8: no attack accepted, two of four live refused. At 0.6: half of the masks accepted, all live too.
    assert (found, worst) == (0.25, "mask")
    assert error(scores, ["bona_fide"] * 4 + ["any"] * 6)[0] == pytest.approx(1 / 12)


def test_ends_and_chance():
    species = ["bona_fide"] * 3 + ["print"] * 3
    assert error([3, 2, 1, -1, -2, -3], species) == (0.0, "print")
    # Whatever the data, refusing everything is as good as a half.
    assert error([-3, -2, -1, 1, 2, 3], species)[0] == 0.5
    assert error([0.0] * 6, species)[0] == 0.5
    assert error([1.0, 0.5, 2.0], ["bona_fide", "bona_fide", "mask"])[0] == 0.5
    rng = np.random.default_rng(0)
    random = error(rng.normal(size=4000).tolist(), ["bona_fide"] * 1000 + ["print", "mask", "display"] * 1000)
    assert random[0] == pytest.approx(0.5, abs=0.02)


class Model:
    """Answers with the mean of a frame as the log-odds of live."""

    taxonomy = BINARY
    device = torch.device("cpu")

    def liveness_scores(self, inputs):
        margin = inputs[0]["pixels"].mean(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(margin), margin], dim=1)


class Store:
    def __init__(self, frames: dict[str, list[float]]) -> None:
        self._frames = frames

    def parts(self, record):
        return torch.tensor(self._frames[record.id]).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)

    def finish(self, views, processor):
        return {"pixels": views}


def judged(frames: dict[str, list[float]], species: dict[str, str]):
    entries = {
        name: Entry(path=name, video_id=name, label="live" if one == "bona_fide" else "attack", species=one)
        for name, one in species.items()
    }
    categories = {name: 1 if one == "bona_fide" else 0 for name, one in species.items()}
    records = [Record(name) for name in species]
    return judge(Model(), Store(frames), records, entries, None, categories=categories, details=True)


def test_a_video_counts_by_the_mean_probability_of_its_frames():
    species = {"a": "bona_fide", "b": "bona_fide", "c": "print"}
    # By mean log-odds c (-31) would be refused with ease; by mean probability it is at one half.
    found = judged({"a": [3.0, 3.0], "b": [0.5], "c": [38.0, -100.0]}, species)
    assert found["frames"] == 5
    assert found["presentations"] == 3
    assert found["auc"] == 1.0
    assert judged({"a": [3.0, 3.0], "b": [-0.5], "c": [38.0, -100.0]}, species)["auc"] == 0.5
    # Probabilities that round to 1 are still told apart.
    sure = judged({"a": [60.0], "b": [70.0], "c": [50.0, 55.0]}, species)
    assert sure["auc"] == 1.0
    assert math.isfinite(sure["iso"]["threshold"])
    assert sure["category_accuracy"] == 0.5


def test_a_part_without_attacks_cannot_choose_a_model():
    with pytest.raises(DataError, match="2 bona fide presentations and 0 attacks"):
        judged({"a": [1.0], "b": [2.0]}, {"a": "bona_fide", "b": "bona_fide"})
