"""Replays of the stored reference cases of the losses over product pairs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....core.types import Batch, Outputs
from ..encoders.fusing import FusionWeights, unit
from .contrast import matching_loss
from .esspr import Locality, Margins, SameStyle, TermWeights, loss_terms
from .ranking import WEIGHT_FUNCTIONS, RankingWeighted, score_weights

_VIEWS = {
    "left_image_text": "left",
    "left_text_only": "left_text",
    "left_image_only": "left_image",
    "right_image_text": "right",
    "left_transformed": "changed",
}
"""{name in the cases: view}."""
_EVEN = dict.fromkeys(TermWeights.model_fields, 1.0)
_NO_BATCH = Batch({})


def _total(views: Mapping[str, Tensor], margins: Margins, weights: Mapping[str, float], top_k: int) -> Tensor:
    """Return what the training objective makes of the views."""
    objective = SameStyle(margins, TermWeights(**weights), top_k=top_k)
    return objective(Outputs(views, torch.ones(())), _NO_BATCH)["loss"]


def replay_losses(
    config: Mapping[str, Any], inputs: Mapping[str, Tensor], case_dir: Path
) -> dict[str, Tensor]:
    """Return rows [B] and mean of every term, and their plain sum, in float64.

    Args:
        config: margins and ``locality_top_k``. inputs: the five views, float [B, D]. case_dir: unused.
    """
    views = {view: inputs[name].double() for name, view in _VIEWS.items()}
    margins = Margins(
        ppm=config["margin_ppm"],
        self_distinctiveness=config["margin_self_distinctiveness"],
        locality=config["margin_locality"],
    )
    top_k = int(config["locality_top_k"])
    outputs: dict[str, Tensor] = {}
    for name, term in loss_terms(views, margins=margins, top_k=top_k).items():
        outputs |= {f"{name}_rows": term.rows, name: term.rows.mean()}
    return {**outputs, "total_unit_weights": _total(views, margins, _EVEN, top_k)}


def replay_worked(
    config: Mapping[str, Any], inputs: Mapping[str, Tensor], case_dir: Path
) -> dict[str, Tensor]:
    """Return every matrix of the worked example of the loss unit; arguments as :func:`replay_losses`."""
    given = {name: torch.tensor(rows, dtype=torch.float64) for name, rows in config["embeddings"].items()}
    views = {view: given[name] for name, view in _VIEWS.items()}
    margins, top_k = Margins(**config["margins"]), int(config["top_k"])
    outputs: dict[str, Tensor] = {}
    for name, term in loss_terms(views, margins=margins, top_k=top_k).items():
        outputs |= {
            f"{name}.similarity": term.similarity,
            f"{name}.rows": term.rows,
            f"{name}.mean": term.rows.mean(),
        }
        if isinstance(term, Locality):
            outputs |= {
                f"{name}.similarity_transformed": term.moved,
                f"{name}.top_k_indices": term.neighbors,
                f"{name}.squared_difference": term.squared,
            }
        else:
            outputs[f"{name}.hinge_matrix"] = term.values
    outputs["total_unit_weights"] = _total(views, margins, _EVEN, top_k)
    outputs["total_weighted"] = _total(views, margins, config["term_weights"], top_k)
    return outputs


def replay_ranking(
    config: Mapping[str, Any], inputs: Mapping[str, Tensor], case_dir: Path
) -> dict[str, Tensor]:
    """Return fused documents, logits and losses of the worked example; arguments as :func:`replay_losses`."""
    query, image, title, scores = (
        torch.tensor(config[name], dtype=torch.float64) for name in ("query", "image", "title", "scores")
    )
    scale = torch.tensor(float(config["logit_scale"]), dtype=torch.float64)
    shares = FusionWeights(image=config["field_weights"][0], text=config["field_weights"][1])
    given = Outputs({"left": query, "field_image": image, "field_text": title}, scale)
    batch = Batch({}, extras={"scores": scores})
    documents = RankingWeighted(fields=shares).documents(given, batch)
    logits = scale * unit(query) @ documents.T
    others = ~torch.eye(len(query), dtype=torch.bool)
    by_row, by_column = matching_loss(logits, others, torch.ones(len(query), dtype=torch.bool))
    outputs = {
        "fused_documents": documents,
        "logits": logits,
        "nll_query_to_doc": by_row,
        "nll_doc_to_query": by_column,
    }
    for function in WEIGHT_FUNCTIONS:
        weights = score_weights(scores, function)
        outputs |= {
            f"by_score_to_weight.{function}.{name}": value
            for name, value in {
                "weights": weights,
                "query_to_doc_mean": (weights * by_row).mean(),
                "doc_to_query_mean": (weights * by_column).mean(),
                "loss_mean": RankingWeighted(function, fields=shares)(given, batch)["loss"],
                "loss_weight_normalised": RankingWeighted(function, True, fields=shares)(given, batch)[
                    "loss"
                ],
            }.items()
        }
    return outputs


CASES = {
    "esspr_losses": replay_losses,
    "unified_loss_worked": replay_worked,
    "gcl_weighted_worked": replay_ranking,
}
"""Golden cases by name."""


def tolerance(case: str, name: str, expected: Tensor) -> float:
    """Return the largest difference allowed: the reference ran in float32, worked cases in float64."""
    return 1e-5 if case == "esspr_losses" else 1e-9
