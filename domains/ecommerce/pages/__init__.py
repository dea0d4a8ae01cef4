"""Pages of pictures in one file: results of a search, duplicates, pairs to label."""

from __future__ import annotations

from ....core.lazy import lazy_names

_HOMES = {
    "Asked": "results",
    "ProductCard": "shell",
    "ResultCard": "results",
    "duplicates_page": "duplicates",
    "pairs_page": "pairs",
    "product_cards": "cards",
    "result_cards": "cards",
    "results_page": "results",
    "shown_ids": "duplicates",
    "thumbnail": "thumbnails",
    "write_page": "shell",
}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]

__getattr__ = lazy_names(__name__, _HOMES)
