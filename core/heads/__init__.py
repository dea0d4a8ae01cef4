"""Heads: what turns embeddings into answers."""

from __future__ import annotations

from ..lazy import lazy_names

_HOMES = {
    "Head": "base",
    "load_head": "base",
    "save_head": "base",
    "ClassEmbeddingCache": "zero_shot",
    "ZeroShotHead": "zero_shot",
    "class_embeddings": "zero_shot",
    "KNN": "classifiers",
    "LinearProbe": "classifiers",
    "RegressionHead": "regression",
}

__all__ = [
    "ClassEmbeddingCache",
    "Head",
    "KNN",
    "LinearProbe",
    "RegressionHead",
    "ZeroShotHead",
    "class_embeddings",
    "load_head",
    "save_head",
]

__getattr__ = lazy_names(__name__, _HOMES)
