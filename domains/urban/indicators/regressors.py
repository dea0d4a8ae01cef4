"""What maps embeddings to standardized targets: ridge, neighbors, the mean (and a network in ``mlp.py``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from ....core.errors import InputError
from ....core.heads.regression import ALPHA_GRID, ridge_path

HeadName = Literal["ridge", "knn", "mlp", "mean"]
HEADS: tuple[HeadName, ...] = get_args(HeadName)

NEIGHBOR_GRID = (3, 5, 10, 20, 50)
"""Numbers of neighbors that are tried."""

Features = NDArray[np.float32]
Scores = NDArray[np.float64]
Part = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Rows that fit and rows that judge."""


class Regressor(Protocol):
    """A fitted map from features float32 [N, D] to standardized targets float64 [N]."""

    name: ClassVar[HeadName]

    def predict(self, features: Features) -> Scores:
        """Return standardized predictions [N]."""
        ...

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """Return what was fitted, by name."""
        ...

    @property
    def chosen(self) -> dict[str, float]:
        """Settings that were chosen inside the training part, such as ``alpha``."""
        ...


class MeanRegressor:
    """The mean of the training targets for every tile: what any model must beat."""

    name: ClassVar[HeadName] = "mean"

    def __init__(self, score: float, width: int) -> None:
        self.score = score
        self.width = width

    @classmethod
    def fit(cls, features: Features, scores: Scores) -> MeanRegressor:
        """Return the mean of scores float64 [N]."""
        return cls(float(scores.mean()), features.shape[1])

    def predict(self, features: Features) -> Scores:
        """Return the mean [N]."""
        return np.full(len(features), self.score)

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """Return ``mean`` [1] and an empty ``width`` [D, 0], which keeps the dimension."""
        return {
            "mean": np.asarray([self.score], dtype=np.float32),
            "width": np.zeros((self.width, 0), dtype=np.float32),
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[np.float32]]) -> MeanRegressor:
        """Return the regressor of :meth:`tensors`."""
        return cls(float(tensors["mean"][0]), tensors["width"].shape[0])

    @property
    def chosen(self) -> dict[str, float]:
        """Nothing."""
        return {}


class RidgeRegressor:
    """Linear regression with a squared penalty, on features standardized over the training rows.

    Args:
        weight: float32 [D]. bias: number; both for features as given.
        alpha: penalty it was fitted with.
    """

    name: ClassVar[HeadName] = "ridge"

    def __init__(self, weight: NDArray[np.float32], bias: float, alpha: float) -> None:
        self.weight = weight
        self.bias = bias
        self.alpha = alpha

    @classmethod
    def fit(
        cls, features: Features, scores: Scores, *, inner: Sequence[Part], alpha: float | None = None
    ) -> RidgeRegressor:
        """Return the regressor with the penalty of least squared error over the inner parts.

        Args:
            features: float32 [N, D]. scores: float64 [N].
            inner: parts of the N rows to choose among ``ALPHA_GRID`` by; the larger penalty wins a tie.
            alpha: penalty, in place of choosing.
        """
        if alpha is None:
            errors = np.zeros(len(ALPHA_GRID))
            for fit, judge in inner:
                weights, biases = ridge_path(features[fit], scores[fit, None], ALPHA_GRID)
                predicted = features[judge].astype(np.float64) @ weights[:, 0].T + biases[:, 0]
                errors += ((predicted - scores[judge, None]) ** 2).sum(axis=0)
            alpha = ALPHA_GRID[len(ALPHA_GRID) - 1 - int(errors[::-1].argmin())]
        weights, biases = ridge_path(features, scores[:, None], (alpha,))
        return cls(weights[0, 0].astype(np.float32), float(biases[0, 0]), alpha)

    def predict(self, features: Features) -> Scores:
        """Return standardized predictions [N]."""
        return features.astype(np.float64) @ self.weight.astype(np.float64) + self.bias

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """Return ``weight`` [D], ``bias`` [1] and ``alpha`` [1]."""
        return {
            "weight": self.weight,
            "bias": np.asarray([self.bias], dtype=np.float32),
            "alpha": np.asarray([self.alpha], dtype=np.float32),
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[np.float32]]) -> RidgeRegressor:
        """Return the regressor of :meth:`tensors`."""
        return cls(tensors["weight"], float(tensors["bias"][0]), float(tensors["alpha"][0]))

    @property
    def chosen(self) -> dict[str, float]:
        """``alpha``."""
        return {"alpha": self.alpha}


class NeighborRegressor:
    """Mean of the k training tiles whose embeddings are most similar by cosine.

    Args:
        memory: float32 [M, D], unit rows. scores: float32 [M].
        neighbors: k.
    """

    name: ClassVar[HeadName] = "knn"

    def __init__(self, memory: Features, scores: NDArray[np.float32], neighbors: int) -> None:
        self.memory = memory
        self.scores = scores
        self.neighbors = neighbors

    @classmethod
    def fit(
        cls, features: Features, scores: Scores, *, inner: Sequence[Part], neighbors: int | None = None
    ) -> NeighborRegressor:
        """Return the regressor with the k of least error over the inner parts; the larger k wins a tie."""
        features = unit_rows(features)
        tried = [k for k in NEIGHBOR_GRID if k <= min((len(fit) for fit, _ in inner), default=len(features))]
        if neighbors is None and not tried:
            neighbors = len(features)
        if neighbors is None:
            errors = np.zeros(len(tried))
            for fit, judge in inner:
                means = neighbor_means(features[judge], features[fit], scores[fit], tried)
                errors += ((means - scores[judge, None]) ** 2).sum(axis=0)
            neighbors = tried[len(tried) - 1 - int(errors[::-1].argmin())]
        if not 1 <= neighbors <= len(features):
            raise InputError(f"k = {neighbors} neighbors need as many training tiles, got {len(features)}.")
        return cls(features, scores.astype(np.float32), neighbors)

    def predict(self, features: Features) -> Scores:
        """Return standardized predictions [N]."""
        return neighbor_means(unit_rows(features), self.memory, self.scores, [self.neighbors])[:, 0]

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """Return ``memory`` [M, D], ``scores`` [M] and ``neighbors`` [1]."""
        count = np.asarray([self.neighbors], dtype=np.float32)
        return {"memory": self.memory, "scores": self.scores, "neighbors": count}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[np.float32]]) -> NeighborRegressor:
        """Return the regressor of :meth:`tensors`."""
        return cls(tensors["memory"], tensors["scores"], int(tensors["neighbors"][0]))

    @property
    def chosen(self) -> dict[str, float]:
        """``neighbors``."""
        return {"neighbors": self.neighbors}


def unit_rows(features: Features) -> Features:
    """Return rows of length 1; rows of zeros stay."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return (features / np.where(length > 0, length, 1.0)).astype(np.float32)


def neighbor_means(
    queries: Features, memory: Features, scores: NDArray[np.floating], neighbors: Sequence[int]
) -> Scores:
    """Return float64 [N, len(neighbors)]: mean score of that many most similar rows of memory.

    Args:
        queries: float32 [N, D], unit rows. memory: float32 [M, D], unit rows.
        scores: float [M].
    """
    largest = max(neighbors)
    means = np.empty((len(queries), len(neighbors)))
    # Blocks keep the table of similarities below 64 MiB.
    step = max(1, 16_000_000 // max(1, len(memory)))
    for start in range(0, len(queries), step):
        rows = slice(start, start + step)
        similarity = queries[rows] @ memory.T
        if largest < len(memory):
            found = np.argpartition(-similarity, largest - 1, axis=1)[:, :largest]
        else:
            found = np.broadcast_to(np.arange(len(memory)), similarity.shape)
        order = np.argsort(-np.take_along_axis(similarity, found, axis=1), axis=1, kind="stable")
        ranked = np.asarray(scores, dtype=np.float64)[np.take_along_axis(found, order, axis=1)]
        sums = np.cumsum(ranked, axis=1)
        means[rows] = np.stack([sums[:, count - 1] / count for count in neighbors], axis=1)
    return means


FITTED: dict[str, Callable[[Mapping[str, NDArray[np.float32]]], Regressor]] = {
    "mean": MeanRegressor.from_tensors,
    "ridge": RidgeRegressor.from_tensors,
    "knn": NeighborRegressor.from_tensors,
}
"""{head: function from its tensors}; the MLP's is in ``mlp.py``, which needs torch."""
