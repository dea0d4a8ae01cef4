"""Heads: what turns embeddings into answers."""

from __future__ import annotations

from ..lazy import lazy_names

_HOMES = {
    "AttentionMIL": "mil",
    "MILOptions": "mil",
    "Head": "base",
    "load_head": "base",
    "save_head": "base",
    "ClassEmbeddingCache": "zero_shot",
    "ZeroShotHead": "zero_shot",
    "class_embeddings": "zero_shot",
    "BottleneckTraining": "bottleneck",
    "ConceptBottleneck": "bottleneck",
    "KNN": "classifiers",
    "LinearProbe": "classifiers",
    "RegressionHead": "regression",
}

__all__ = [
    "AttentionMIL",
    "BottleneckTraining",
    "ClassEmbeddingCache",
    "ConceptBottleneck",
    "Head",
    "KNN",
    "LinearProbe",
    "MILOptions",
    "RegressionHead",
    "ZeroShotHead",
    "class_embeddings",
    "load_head",
    "save_head",
]

__getattr__ = lazy_names(__name__, _HOMES)
