"""A catalogue on disk: what is in it, taking in rows, and search."""

from __future__ import annotations

from ....core.lazy import lazy_names

_HOMES = {
    "Catalog": "catalog",
    "CatalogConfig": "config",
    "CatalogStats": "stats",
    "Found": "search",
    "IngestOptions": "report",
    "IngestReport": "report",
    "SearchOptions": "search",
    "mixed_anew": "mixing",
}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]

__getattr__ = lazy_names(__name__, _HOMES)
