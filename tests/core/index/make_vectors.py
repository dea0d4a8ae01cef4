"""Fabricated unit vectors: in groups, as embeddings of products lie, and in all directions."""

from __future__ import annotations

import numpy as np


def unit(values: np.ndarray) -> np.ndarray:
    """Rows of length 1, float32."""
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)


def grouped(rows: int, dim: int = 32, *, groups: int = 100, seed: int = 0, spread: float = 0.5) -> np.ndarray:
    """Rows around centers, float32 [rows, dim]."""
    draw = np.random.default_rng(seed)
    centers = unit(draw.standard_normal((groups, dim)))
    noise = draw.standard_normal((rows, dim)) / np.sqrt(dim)
    return unit(centers[draw.integers(0, groups, rows)] + spread * noise)


def isotropic(rows: int, dim: int = 32, *, seed: int = 0) -> np.ndarray:
    """Rows in random directions, float32 [rows, dim]."""
    return unit(np.random.default_rng(seed).standard_normal((rows, dim)))


def oracle(
    rows: np.ndarray, queries: np.ndarray, k: int, allowed: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Positions and scores of the k best, from float64 sums: what every engine has to give."""
    scores = np.stack([(rows.astype(np.float64) * query).sum(axis=1) for query in queries]).astype(np.float32)
    if allowed is not None:
        scores[:, ~allowed] = -np.inf
    place = np.broadcast_to(np.arange(len(rows)), scores.shape)
    best = np.lexsort((place, -scores))[:, :k]
    values = np.take_along_axis(scores, best, axis=1)
    return np.where(np.isneginf(values), -1, best), values
