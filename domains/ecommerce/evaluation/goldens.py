"""Replays of the reference cases of composed queries and of retrieval metrics."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ....core.composition import direction, pdv
from ....core.errors import VerticlipError
from ....core.metrics.graded import GradedRankings, graded_report, rank_documents

_METRIC_TOLERANCE = 1e-9
_ROUNDED = 5
"""Decimals to which the reference rounds its MRR."""


def replay_pdv(config: Mapping[str, Any], inputs: Mapping[str, Tensor], case_dir: Path) -> dict[str, Tensor]:
    """Return the change of the words and the query of every setting."""
    found = {"pdv": direction(inputs["text"], inputs["text_composed"])}
    for setting in config["settings"]:
        found[setting["output"]] = pdv(
            inputs["image"],
            inputs["text"],
            inputs["text_composed"],
            alpha_image=setting["alpha_image"],
            alpha_text=setting["alpha_text"],
            beta=setting["beta"],
        )
    return found


def replay_metrics(
    config: Mapping[str, Any], inputs: Mapping[str, Tensor], case_dir: Path
) -> dict[str, Tensor]:
    """Return fused documents and cosines, after checking every metric that the case expects.

    Raises:
        VerticlipError: a metric differs by more than 1e-9.
    """
    weights = config["field_weights"]
    parts = [weight * F.normalize(inputs[field].double(), dim=-1) for field, weight in weights.items()]
    fused = F.normalize(torch.stack(parts).sum(dim=0), dim=-1)
    similarity = F.normalize(inputs["query"].double(), dim=-1) @ fused.T
    measured = case_metrics(config)
    allowed = float(config.get("tolerance", {}).get("metric_atol", _METRIC_TOLERANCE))
    for name, expected in config.get("expected", {}).items():
        got = measured.get(name)
        if got is None or not abs(got - float(expected)) <= allowed:
            raise VerticlipError(f"{config['case']}: {name} is {got!r}, expected {expected!r}.")
    return {"fused": fused, "similarity": similarity}


def case_metrics(config: Mapping[str, Any]) -> dict[str, float]:
    """Return every metric of a case under its name there, from its ranked lists and judgements."""
    ranked = {query: rank_documents(scores) for query, scores in config["retrieved"].items()}
    rankings = GradedRankings.from_lists(ranked, config["qrels"])
    report = graded_report(rankings, ks=config["ks"])
    cut = {
        "NDCG": report.ndcg,
        "MAP": report.mean_average_precision,
        "Recall": report.recall,
        "P": report.precision,
    }
    return {
        **{f"{name}@{k}": value.value for name, values in cut.items() for k, value in values.items()},
        "MRR_rounded5": round(report.mrr.value, _ROUNDED),
        "AvgRecall": report.average_recall.value,
        "AvgP": report.average_precision.value,
        "ERR": report.err.value,
        **{name: float(rankings.rank_biased_precision(p).mean()) for name, p in _persistences(config)},
    }


def _persistences(config: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Return (name, p) of each rank-biased precision that a case expects: ``RBP_p0.9``."""
    names = [name for name in config.get("expected", {}) if name.startswith("RBP_p")]
    return [(name, float(name.removeprefix("RBP_p"))) for name in names]


CASES = {"pdv": replay_pdv, "retrieval_metrics": replay_metrics}


def tolerance(case: str, name: str, expected: Tensor) -> float:
    """Return the largest error of an output: that of float32 vectors of unit length."""
    return 1e-6
