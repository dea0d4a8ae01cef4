"""Vectors on disk: stored in versions, filtered, searched exactly or by a graph."""

from __future__ import annotations

from ..lazy import lazy_names

_HOMES = {
    "Change": "base",
    "ExactEngine": "engines",
    "GraphEngine": "engines",
    "Hits": "base",
    "Identity": "base",
    "IndexOptions": "settings",
    "IndexStats": "base",
    "Rows": "base",
    "Tuning": "base",
    "VectorIndex": "base",
    "F": "filters",
    "Where": "filters",
    "parse_where": "filters",
    "LanceIndex": "lance",
    "LocalIndex": "local",
    "QdrantIndex": "qdrant",
    "copy_index": "copying",
    "create_index": "opening",
    "index_embeddings": "embeddings",
    "open_index": "opening",
}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]

__getattr__ = lazy_names(__name__, _HOMES)
