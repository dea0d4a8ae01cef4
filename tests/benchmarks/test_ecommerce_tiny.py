"""The measures of ecommerce/tiny on made-up photos: what is counted, and that every figure comes out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import verticlip
from PIL import Image
from verticlip.benchmarks import ecommerce_tiny as bench
from verticlip.core.metrics.ranking import Positives
from verticlip.domains.ecommerce.readers import CLASSES


def photo(color: tuple[float, float, float], height: int = 96, width: int = 72) -> torch.Tensor:
    image = torch.full((3, height, width), 0.85)
    image[:, height // 5 : -height // 5, width // 5 : -width // 5] = torch.tensor(color).view(3, 1, 1)
    return image


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three photos of each kind in each split."""
    home = tmp_path_factory.mktemp("clothes")
    draw = np.random.default_rng(0)
    for split in ("train", "validation"):
        for label in CLASSES:
            for number in range(3):
                path = home / split / label / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = photo(tuple(draw.random(3).tolist())).permute(1, 2, 0) * 255
                Image.fromarray(pixels.byte().numpy()).save(path)
    return home


def test_every_figure_comes_out_and_the_summary_is_of_numbers(model_folder, folder):
    model = verticlip.from_pretrained(model_folder)
    found = bench.measure(model, folder / "validation", folder / "train")
    assert found["photos"] == 30
    assert set(found["recall"]) == set(CLASSES)
    assert set(found["changed"]) == set(bench.CHANGES)
    assert sum(found["confusions"].values()) <= 30
    for key in ("map_at_10", "map_at_10_among_training_photos"):
        one, other = (found["similar"][name][key]["value"] for name in ("model", "color_histogram"))
        assert found["similar"][f"{key}_over_color_histogram"] == pytest.approx(one / other)
    plain = [value["value"] if isinstance(value, dict) else value for value in found["summary"].values()]
    assert all(0 <= value <= 1 for value in plain)


def test_histograms_tell_colors_and_nothing_else():
    red, other_red, blue = photo((0.8, 0.1, 0.1)), photo((0.8, 0.1, 0.1)).flip(1), photo((0.1, 0.1, 0.8))
    rows = bench.color_histograms([red, other_red, blue])
    assert rows.shape == (3, 512)
    assert torch.allclose(rows.norm(dim=1), torch.ones(3))
    similar = rows @ rows.T
    assert float(similar[0, 1]) == pytest.approx(1.0, abs=1e-6)
    assert float(similar[0, 2]) < 0.7


def test_a_query_is_not_its_own_answer():
    vectors = torch.eye(4)[[0, 0, 1, 1]]
    answers = Positives.from_groups([0, 0, 1, 1], [0, 0, 1, 1], same=True)
    found = bench.mean_average_precision(vectors, vectors, answers, depth=10, own=True)
    assert found["value"] == 1.0


@pytest.mark.parametrize("name", bench.CHANGES)
def test_changes_keep_a_photo_a_photo(name):
    made = bench.CHANGES[name](photo((0.8, 0.1, 0.1), 121, 90))
    assert made.shape[0] == 3
    assert min(made.shape[1:]) >= 40
    assert 0 <= float(made.min()) <= float(made.max()) <= 1


def test_texts_are_asked_for_only_when_true_of_enough_photos():
    held = [(frozenset({"dress", "red", "dark"}), frozenset({"dress", "red", "dark"}))] * bench.FEWEST
    asked = bench.asked_texts(held)
    assert asked["kind with color"] == {"a red dress": {"dress", "red"}}
    assert asked["kind with shade and color"] == {"a dark red dress": {"dress", "dark", "red"}}
    assert asked["families"] == {}
    assert bench.asked_texts(held[1:])["kind with color"] == {}
