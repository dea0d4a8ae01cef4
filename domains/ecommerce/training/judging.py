"""How well held-out products find their match, by what is known of the query and of the candidates.

A direction says both: ``i-t`` looks with the picture of the left products among the texts of the right ones;
``m`` is picture and text together.

Reference: arXiv 2302.05093, result table of its repository; ``hit_recall@k`` is the share of queries with at
least one right answer among the first k.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....core.errors import DataError
from ....core.inputs import on_device
from ....core.metrics.bootstrap import Bootstrap
from ....core.metrics.ranking import Positives, positive_ranks
from ....core.metrics.retrieval import QueryMetrics
from ....core.processing import Processor
from ....core.validation import judged
from ..encoders.views import VIEWS, ProductModel
from .stock import Stock, TrainingPair

DIRECTIONS = ("i-i", "i-t", "i-m", "t-t", "t-m", "m-m")
DEPTHS = (1, 5, 10, 20)
_VIEW = {"i": "image", "t": "text", "m": "product"}
_AT_ONCE = 64
"""Products per call of the network."""


def judge_pairs(
    model: ProductModel,
    stock: Stock,
    pairs: Sequence[TrainingPair],
    processor: Processor,
    *,
    details: bool = False,
) -> dict[str, Any]:
    """Return MRR and hit recalls in every direction in which some pair can be judged.

    The left products ask; all right products of ``pairs`` are candidates, but never the query itself. Right
    answers are the candidates of the query's group.

    Args:
        model: any mode; put back as it was.
        details: with 95 % intervals of MRR and hit_recall@1.

    Returns:
        ``score``: mean MRR over directions; ``chance``: that of a random order, exact; ``queries``,
        ``candidates``; ``directions``: {direction: {"mrr", "hit_recall@1", ..., "queries"}}.

    Raises:
        DataError: fewer than two candidates.
    """
    groups = {name: pair.group for pair in pairs for name in (pair.left, pair.right)}
    queries = list(dict.fromkeys(pair.left for pair in pairs))
    candidates = list(dict.fromkeys(pair.right for pair in pairs))
    if len(candidates) < 2:
        raise DataError(
            f"The validation part has {len(candidates)} right products; telling them apart needs at least "
            "two. Raise data.validation.fraction or give more pairs."
        )
    names = list(dict.fromkeys([*queries, *candidates]))
    with judged(model):
        views, present = _encode(model, stock, names, processor)
    place = {name: row for row, name in enumerate(names)}
    products = _Products(views, present, torch.tensor([groups[name] for name in names]))
    asking = torch.tensor([place[name] for name in queries])
    offered = torch.tensor([place[name] for name in candidates])
    judgements = {direction: _judge(direction, products, asking, offered) for direction in DIRECTIONS}
    found = {direction: one for direction, one in judgements.items() if one is not None}
    directions = {name: _summary(metrics, details=details) for name, (metrics, _) in found.items()}
    return {
        "score": float(np.mean([_value(one["mrr"]) for one in directions.values()])),
        "chance": float(np.mean([chance for _, chance in found.values()])),
        "queries": len(queries),
        "candidates": len(candidates),
        "directions": directions,
    }


@dataclass(frozen=True, eq=False)
class _Products:
    """N products: unit embeddings [N, D] and bool [N], who has them, by view; group numbers int64 [N]."""

    views: Mapping[str, Tensor]
    present: Mapping[str, Tensor]
    groups: Tensor


def _judge(
    direction: str, products: _Products, asking: Tensor, offered: Tensor
) -> tuple[QueryMetrics, float] | None:
    """Return (metrics of the queries that have an answer, expected MRR by chance), or None without queries.

    Args:
        asking, offered: rows of the left and of the right products.
    """
    left, right = (_VIEW[letter] for letter in direction.split("-"))
    rows, columns = asking[products.present[left][asking]], offered[products.present[right][offered]]
    groups = products.groups
    lists = [
        ((groups[columns] == groups[row]) & (columns != row)).nonzero().flatten().tolist()
        for row in rows.tolist()
    ]
    keep = [number for number, own in enumerate(lists) if own]
    if not keep:
        return None
    rows = rows[keep]
    positives = Positives.from_lists([lists[number] for number in keep])
    itself = torch.tensor([_place_in(columns, row) for row in rows.tolist()])
    ranks = positive_ranks(
        products.views[left][rows], products.views[right][columns], positives, exclude=itself
    )
    others = (len(columns) - (itself >= 0).long()).tolist()
    chances = [
        chance_mrr(count, right) for count, right in zip(others, positives.counts.tolist(), strict=True)
    ]
    return QueryMetrics.from_ranks(ranks, positives), float(np.mean(chances))


def chance_mrr(candidates: int, positives: int) -> float:
    """Return the expected reciprocal rank of the first of some positives in a random order, exact."""
    total, here = 0.0, positives / candidates
    for rank in range(1, candidates - positives + 2):
        total += here / rank
        left = candidates - rank
        here = here * (left - positives + 1) / left if left else 0.0
    return total


def _summary(metrics: QueryMetrics, *, details: bool) -> dict[str, Any]:
    values = {"mrr": metrics.reciprocal_rank()}
    values |= {f"hit_recall@{depth}": metrics.hit_recall_at(depth) for depth in DEPTHS}
    count = len(values["mrr"])
    found: dict[str, Any] = {name: float(each.mean()) for name, each in values.items()}
    if details:
        bootstrap = Bootstrap(count)
        found |= {name: bootstrap.mean(values[name]).to_dict() for name in ("mrr", "hit_recall@1")}
    return {**found, "queries": count}


def _encode(
    model: ProductModel, stock: Stock, names: Sequence[str], processor: Processor
) -> tuple[dict[str, Tensor], Mapping[str, Tensor]]:
    """Return unit embeddings [N, D] by view on the CPU, and which products have the view, bool [N]."""
    parts: dict[str, list[Tensor]] = {view: [] for view in VIEWS}
    flags: dict[str, list[Tensor]] = {"image": [], "text": []}
    for start in range(0, len(names), _AT_ONCE):
        chunk = names[start : start + _AT_ONCE]
        images, has_image = stock.images(chunk)
        texts, has_text = stock.texts(chunk)
        inputs = {
            "image": on_device(model, processor.finish_images(images)),
            "text": on_device(model, processor("text", texts)),
        }
        made = model.encode_views(inputs, {"image": has_image, "text": has_text})
        for view in VIEWS:
            parts[view].append(made[view].float().cpu())
        flags["image"].append(has_image)
        flags["text"].append(has_text)
    present = {name: torch.cat(each) for name, each in flags.items()}
    present["product"] = torch.ones(len(names), dtype=torch.bool)
    return {view: torch.cat(each) for view, each in parts.items()}, present


def _place_in(columns: Tensor, row: int) -> int:
    """Return where a product is among the candidates, or -1."""
    found = (columns == row).nonzero().flatten().tolist()
    return found[0] if found else -1


def _value(number: float | dict[str, Any]) -> float:
    return float(number["value"]) if isinstance(number, dict) else number
