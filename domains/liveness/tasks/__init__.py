"""What users do with liveness models beyond asking them: judge, compare, simulate; see each module."""

from __future__ import annotations

from ....core.lazy import lazy_names

_HOMES = {
    "EvaluationSettings": ".evaluation.report",
    "ExampleReport": "example",
    "FoldSummary": ".evaluation.folds",
    "LivenessReport": ".evaluation.report",
    "Plan": ".simulate.dataset",
    "Simulated": ".simulate.presentation",
    "check_disjoint": ".protocols.subjects",
    "evaluate": ".evaluation.report",
    "over_folds": ".evaluation.folds",
    "read_report": ".evaluation.folds",
    "run_example": "example",
    "score_entries": ".evaluation.scoring",
    "simulate": ".simulate.presentation",
    "simulated": ".simulate.presentation",
    "write_dataset": ".simulate.dataset",
}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]

__getattr__ = lazy_names(__name__, _HOMES)
