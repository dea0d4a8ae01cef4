"""Maps point to where the evidence is: on attacks pasted at known places, by detectors of known evidence."""

from __future__ import annotations

import numpy as np
import pytest
from verticlip.core.errors import ConfigError
from verticlip.domains.liveness.explain.occlusion import occlusion_grid
from verticlip.domains.liveness.explain.relevance import Relevance

SIDE = 96


def scene(seed: int = 0) -> np.ndarray:
    """A smooth picture, uint8 [96, 96, 3]."""
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    waves = 110 + 50 * np.sin(3 * rows + seed) + 40 * np.cos(4 * columns)
    return np.stack([waves, waves * 0.8, waves * 0.7], axis=2).astype(np.uint8)


def with_moire(picture: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Paste the interference of a display into a box."""
    x1, y1, x2, y2 = box
    rows, columns = np.mgrid[y1:y2, x1:x2]
    grating = np.sin(2.1 * columns + 0.6 * rows)[..., None]
    result = picture.astype(float)
    result[y1:y2, x1:x2] *= 0.75 + 0.25 * grating
    return result.astype(np.uint8)


def fine_detail(pictures) -> list[float]:
    """A detector of moiré: energy of differences between neighbours, as log-odds of an attack."""
    found = []
    for picture in pictures:
        grey = picture.astype(float).mean(axis=2)
        found.append(float((np.diff(grey, axis=1) ** 2).mean()) / 10 - 2)
    return found


@pytest.mark.parametrize("box", [(4, 4, 30, 30), (56, 10, 92, 40), (30, 60, 60, 90)])
def test_relevance_lies_on_a_pasted_moire(box):
    picture = with_moire(scene(), box)
    grid, plain = occlusion_grid(picture, (0, 0, SIDE, SIDE), fine_detail)
    assert plain == fine_detail([picture])[0]
    found = Relevance(grid, "screen_replay", plain, (0, 0, SIDE, SIDE), (SIDE, SIDE))
    x, y = found.peak
    assert box[0] <= x < box[2]
    assert box[1] <= y < box[3]
    values = found.heat_map().values.numpy()
    inside = np.zeros((SIDE, SIDE), bool)
    inside[box[1] : box[3], box[0] : box[2]] = True
    positive = np.clip(values, 0, None)
    # A patch of two cells smears by a cell around: most of the relevance still lies within the box.
    assert positive[inside].mean() > 5 * positive[~inside].mean()


def test_covering_what_the_map_says_takes_the_evidence_away():
    box = (56, 10, 92, 40)
    picture = with_moire(scene(), box)
    grid, plain = occlusion_grid(picture, (0, 0, SIDE, SIDE), fine_detail)
    order = np.argsort(-np.asarray(grid).ravel())
    scores = []
    for cells in (order[:10], order[-10:]):
        covered = picture.copy()
        for cell in cells:
            row, column = divmod(int(cell), 8)
            part = (slice(row * 12, row * 12 + 12), slice(column * 12, column * 12 + 12))
            covered[part] = picture.reshape(-1, 3).mean(axis=0)
        scores.append(fine_detail([covered])[0])
    assert scores[0] < plain - 0.5 * (plain + 2)
    assert scores[0] < scores[1]


def test_a_score_that_does_not_change_gives_a_flat_map():
    grid, plain = occlusion_grid(scene(), (0, 0, SIDE, SIDE), lambda pictures: [1.5] * len(pictures))
    assert plain == 1.5
    assert np.asarray(grid).tolist() == np.zeros((8, 8)).tolist()


def test_only_the_box_is_covered_and_batches_do_not_matter():
    seen = []

    def remember(pictures):
        seen.extend(picture.copy() for picture in pictures)
        return fine_detail(pictures)

    picture = with_moire(scene(), (40, 40, 60, 60))
    box = (32, 24, 80, 72)
    grid, _ = occlusion_grid(picture, box, remember, cells=4, batch_size=7)
    assert len(seen) == 5 * 5 + 1
    outside = np.ones((SIDE, SIDE), bool)
    outside[box[1] : box[3], box[0] : box[2]] = False
    assert all((one[outside] == picture[outside]).all() for one in seen)
    assert all((one == picture).all() == (number == 0) for number, one in enumerate(seen))
    assert grid == occlusion_grid(picture, box, fine_detail, cells=4, batch_size=100)[0]


@pytest.mark.parametrize(("box", "cells"), [((0, 0, 5, 90), 8), ((0, 0, 90, 90), 1)])
def test_too_small_for_a_map(box, cells):
    with pytest.raises(ConfigError, match="needs at least 2 cells"):
        occlusion_grid(scene(), box, fine_detail, cells=cells)
