"""What users do with product models beyond embedding and classifying; see each module."""

from __future__ import annotations

from ....core.lazy import lazy_names

_HOMES = {
    "DuplicateReport": ".duplicates.report",
    "DuplicateSettings": ".duplicates.settings",
    "ExampleReport": "example",
    "LabelledPair": ".duplicates.fitting",
    "Merge": ".duplicates.merging",
    "MiningConfig": ".training.clicks",
    "Thresholds": ".duplicates.settings",
    "candidates": ".duplicates.labels",
    "compose": ".composed.query",
    "encoder_relevance": ".training.clicks",
    "evaluate_queries": ".evaluation.own",
    "evaluate_retrieval": ".evaluation.retrieval",
    "evaluate_same": ".evaluation.own",
    "evaluate_set": ".evaluation.sets",
    "find_duplicates": ".duplicates.grouping",
    "fit_composition": ".evaluation.own_fitting",
    "fit_share": ".evaluation.own_fitting",
    "fit_thresholds": ".duplicates.fitting",
    "index_recall": ".evaluation.own",
    "judge_groups": ".duplicates.judging",
    "load_thresholds": ".duplicates.settings",
    "measured": ".duplicates.labels",
    "merge": ".duplicates.merging",
    "mine_pairs": ".training.clicks",
    "mixed_anew": ".catalog.mixing",
    "run_example": "example",
    "save_thresholds": ".duplicates.settings",
    "unmerge": ".duplicates.merging",
}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]

__getattr__ = lazy_names(__name__, _HOMES)
