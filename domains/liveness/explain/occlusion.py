"""Which part of a picture the answer rests on, found by covering one part after another.

It asks nothing of a model but scores, so that it holds for towers of every kind and for small convolutional
networks alike, and it is faithful by construction: a cell counts by what the score loses without it.
Gradients are not used, and none leave the machine.

Reference: Zeiler and Fergus 2014, Visualizing and Understanding Convolutional Networks, section 4.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ....core.errors import ConfigError
from ..faces.crop import crop_face
from ..models.base import liveness_network, score_crops
from .relevance import Relevance

if TYPE_CHECKING:
    from ....core.handle import ModelHandle
    from ..presentation import View

Score = Callable[[Sequence[np.ndarray]], Sequence[float]]
"""From pictures uint8 [H, W, 3] of one size to one number each."""


def explain_view(model: ModelHandle, view: View, category: str, *, cells: int = 8) -> Relevance | None:
    """Return where in a frame the evidence for a category lies.

    Parts of the frame are covered before it is cropped, so that models of several crops are explained by
    one map. What is measured is the log-odds of the category: of an attack its logit against the live
    categories, of live the margin.

    Args:
        model: of this room.
        view: a frame with its pixels.
        category: id of the taxonomy.
        cells: rows and columns of the map; fewer where the picture is smaller.

    Returns:
        None where the frame was not kept or is too small for a map.
    """
    if view.pixels is None:
        return None
    network = liveness_network(model)
    taxonomy, column = network.taxonomy, network.taxonomy.index(category)

    def score(pictures: Sequence[np.ndarray]) -> list[float]:
        crops = [[crop_face(picture, view.face, crop) for picture in pictures] for crop in network.crops]
        found = score_crops(model, crops)
        if column in taxonomy.live:
            return found.margin.tolist()
        logits = found.logits.double()
        return (logits[:, column] - logits[:, list(taxonomy.live)].logsumexp(dim=1)).tolist()

    x1, y1, x2, y2 = view.box
    cells = min(cells, x2 - x1, y2 - y1)
    if cells < 2:
        return None
    grid, plain = occlusion_grid(view.pixels, view.box, score, cells=cells)
    return Relevance(grid, category, round(plain, 6), view.box, view.size)


def occlusion_grid(
    picture: np.ndarray, box: tuple[int, int, int, int], score: Score, *, cells: int = 8, batch_size: int = 16
) -> tuple[tuple[tuple[float, ...], ...], float]:
    """Return the grid of relevance over a box of a picture, and the score with nothing covered.

    A patch of two by two cells moves over the box cell by cell, also half over its edges. It is filled with
    the mean color of the box; its border fades, because a hard edge would itself look like an edge of paper
    or of a screen. The relevance of a cell is the mean loss of score over the patches that cover it.

    Args:
        picture: uint8 [H, W, 3].
        box: half-open (x1, y1, x2, y2) inside the picture, of at least ``cells`` pixels each way.
        score: what is explained; higher speaks for the category.
        cells: rows and columns of the grid; the model is asked (cells + 1) ** 2 + 1 times.
        batch_size: pictures handed to ``score`` at once.

    Returns:
        ``cells`` rows of ``cells`` numbers in units of the score, and the score.

    Raises:
        ConfigError: ``cells`` is below 2, or the box is smaller than the grid.
    """
    x1, y1, x2, y2 = box
    if cells < 2 or min(x2 - x1, y2 - y1) < cells:
        raise ConfigError(
            f"A map of {cells} x {cells} cells needs at least 2 cells and a picture of so many pixels each "
            f"way; the crop has {x2 - x1} x {y2 - y1}."
        )
    rows = _soft_steps(y2 - y1, cells)
    columns = _soft_steps(x2 - x1, cells)
    fill = picture[y1:y2, x1:x2].reshape(-1, 3).mean(axis=0)
    plain = float(score([picture])[0])
    losses = np.empty((cells + 1, cells + 1))
    places = [(row, column) for row in range(cells + 1) for column in range(cells + 1)]
    for start in range(0, len(places), batch_size):
        some = places[start : start + batch_size]
        covered = [_covered(picture, box, np.outer(rows[row], columns[column]), fill) for row, column in some]
        for place, value in zip(some, score(covered), strict=True):
            losses[place] = plain - float(value)
    # Patch (i, j) covers the cells i - 1, i and j - 1, j: each cell is covered by four.
    grid = (losses[:-1, :-1] + losses[1:, :-1] + losses[:-1, 1:] + losses[1:, 1:]) / 4
    return tuple(tuple(round(float(value), 6) for value in row) for row in grid), plain


def _soft_steps(length: int, cells: int) -> np.ndarray:
    """Return float32 [cells + 1, length]: how far each place of the patch covers each pixel along an axis.

    1 over the inner half of two cells, falling linearly to 0 at their ends.
    """
    middles = np.arange(cells + 1)[:, None] * (length / cells)
    distance = np.abs(np.arange(length)[None] + 0.5 - middles) / (length / cells)
    return np.clip((1 - distance) * 2, 0, 1).astype(np.float32)


def _covered(
    picture: np.ndarray, box: tuple[int, int, int, int], cover: np.ndarray, fill: np.ndarray
) -> np.ndarray:
    """Return a copy of the picture with the box faded to ``fill`` by ``cover`` float32 [h, w]."""
    x1, y1, x2, y2 = box
    result = picture.copy()
    part = picture[y1:y2, x1:x2].astype(np.float32)
    part += (fill.astype(np.float32) - part) * cover[:, :, None]
    result[y1:y2, x1:x2] = np.rint(part).astype(np.uint8)
    return result
