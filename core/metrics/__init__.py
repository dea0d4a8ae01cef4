"""Evaluation: classification, regression, retrieval and localization, each with a bootstrap interval."""

from __future__ import annotations

from ..lazy import lazy_names

_HOMES = {
    "Bootstrap": "bootstrap",
    "Estimate": "bootstrap",
    "ClassificationReport": "classification",
    "accuracy": "classification",
    "auc": "classification",
    "balanced_accuracy": "classification",
    "calibration_error": "classification",
    "classification_report": "classification",
    "confusion_matrix": "classification",
    "macro_f1": "classification",
    "Localization": "localization",
    "LocalizationReport": "localization",
    "localization_report": "localization",
    "localize": "localization",
    "RegressionReport": "regression",
    "regression_report": "regression",
    "Positives": "ranking",
    "image_text_ranks": "ranking",
    "positive_ranks": "ranking",
    "top_k": "ranking",
    "ImageTextReport": "retrieval",
    "QueryMetrics": "retrieval",
    "RetrievalReport": "retrieval",
    "image_text_report": "retrieval",
    "retrieval_report": "retrieval",
}

__all__ = [
    "Bootstrap",
    "ClassificationReport",
    "Estimate",
    "ImageTextReport",
    "Localization",
    "LocalizationReport",
    "Positives",
    "QueryMetrics",
    "RegressionReport",
    "RetrievalReport",
    "accuracy",
    "auc",
    "balanced_accuracy",
    "calibration_error",
    "classification_report",
    "confusion_matrix",
    "image_text_ranks",
    "image_text_report",
    "localization_report",
    "localize",
    "macro_f1",
    "positive_ranks",
    "regression_report",
    "retrieval_report",
    "top_k",
]

__getattr__ = lazy_names(__name__, _HOMES)
