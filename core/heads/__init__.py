"""Heads: what turns embeddings into answers."""

from __future__ import annotations

import importlib
from typing import Any

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


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
