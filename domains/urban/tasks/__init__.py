"""What users do with satellite models beyond embedding and classifying; see each module."""

from __future__ import annotations

from ....core.lazy import lazy_names

_HOMES = {
    "CVReport": ".indicators.validation",
    "cross_validate": ".indicators.validation",
    "ValidationSettings": ".indicators.validation",
    "SpatialReport": ".indicators.comparison",
    "IndicatorRegressor": ".indicators.regression",
    "IndicatorTable": ".indicators.table",
    "PredictionSettings": ".indicators.prediction",
    "PredictionReport": "indicator_prediction",
    "RegionPlan": "indicator_prediction",
    "predict_indicators": "indicator_prediction",
    "embed_tiles": "embedding",
    "tile_settings": ".tile_settings",
    "TileSettings": ".tile_settings",
    "tile_tensor": "tile_inputs",
    "window_size": "scene_tiles",
    "WindowSize": "scene_tiles",
    "search_tiles": "search",
    "TextQuery": "search",
    "Like": "search",
    "Hit": "search",
    "SearchResult": "search",
    "ClassMap": "class_map",
    "classify_tiles": "class_map",
    "caption_tiles": "captioning",
    "caption_pictures": "captioning",
    "describe": ".coca.decoding",
    "Decoding": ".coca.choosing",
    "evaluate_pairs": ".coca.validation",
    "ExampleReport": "example",
    "run_example": "example",
}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]

__getattr__ = lazy_names(__name__, _HOMES)
