"""How well a model tells held-out presentations apart while it is trained: by the worst species.

The score is 1 minus the lowest ACER, (max APCER over species + BPCER) / 2, that a threshold reaches on the
development part. Both rates are what users will read in a report; a model cannot buy the score with species
that are easy or frequent, as with an AUC over all attacks; and accepting or refusing everything gives 0.5
whatever the data and however few they are. It is for comparing models: it is taken where each does best.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....core.data import Record
from ....core.errors import DataError
from ....core.inputs import on_device
from ....core.processing import Processor
from ....core.stores import Store
from ..frames.combine import combine
from ..metrics.iso import BONA_FIDE, Presentations, group_presentations
from ..metrics.literature import auc
from ..metrics.thresholds import choose
from ..models.base import LivenessModel, live_margin
from ..protocols.entry import Entry

CHANCE = 0.5
_AT_ONCE = 64
"""Frames per call of the network."""


def judge(
    model: LivenessModel,
    store: Store,
    records: Sequence[Record],
    entries: Mapping[str, Entry],
    processor: Processor,
    *,
    categories: Mapping[str, int],
    details: bool = False,
) -> dict[str, Any]:
    """Return the error rates of held-out presentations; a video counts by the mean of its frames' p_live.

    Args:
        model: in evaluation mode, with its processor.
        store: gives frames. records: N presentations. entries: {id: presentation}.
        categories: {id: class index, -1 where unknown}.
        details: with the ISO report at the threshold of equal errors.

    Returns:
        ``score`` (1 - ``lowest_acer``), ``chance``; ``worst_species`` there; ``eer`` and ``auc`` over all
        attacks; ``category_accuracy`` (mean of the recalls of the categories that occur, None where none is
        known), ``presentations``, ``frames``. ``iso`` with ``details``.

    Raises:
        DataError: no bona fide or no attack among them.
    """
    logits = _frame_logits(model, store, records, processor)
    taxonomy = model.taxonomy
    margins = [_presentation_margin(live_margin(one.double(), taxonomy)) for one in logits]
    species = [entries[record.id].species for record in records]
    grouped = group_presentations(margins, species)
    if not grouped.attacks or not grouped.bona_fide.n:
        raise DataError(
            f"The development part has {grouped.bona_fide.n} bona fide presentations and "
            f"{grouped.pooled.n} attacks; choosing a model needs both. Give more, or raise "
            "data.validation.fraction."
        )
    acer, worst = lowest_acer(grouped)
    choice = choose("dev_eer", margins, species)
    live = [name == BONA_FIDE for name in species]
    found: dict[str, Any] = {
        "score": 1 - acer,
        "chance": CHANCE,
        "lowest_acer": acer,
        "worst_species": worst,
        "eer": choice.eer,
        "auc": auc(margins, live),
        "category_accuracy": _balanced_accuracy(
            torch.stack([one.softmax(dim=1).mean(dim=0) for one in logits]).argmax(dim=1).tolist(),
            [categories[record.id] for record in records],
        ),
        "presentations": len(records),
        "frames": sum(len(one) for one in logits),
    }
    if details:
        found["iso"] = choice.report.to_dict()
    return found


def lowest_acer(presentations: Presentations) -> tuple[float, str]:
    """Return the lowest ACER over thresholds, at most 0.5, and the species with the largest APCER there.

    Of several thresholds with this ACER the largest counts, which accepts the fewest attacks.
    """
    thresholds = presentations.candidates()
    acer = (presentations.max_apcer(thresholds) + presentations.bpcer(thresholds)) / 2
    place = len(thresholds) - 1 - int(np.argmin(acer[::-1]))
    rates = {
        name: float(one.accepted(thresholds[place])) / one.n for name, one in presentations.attacks.items()
    }
    # Where none is accepted, the species that comes nearest to it.
    worst = max(rates, key=lambda name: (rates[name], presentations.attacks[name].scores[-1]))
    return float(acer[place]), worst


def _frame_logits(
    model: LivenessModel, store: Store, records: Sequence[Record], processor: Processor
) -> list[Tensor]:
    """Return logits float32 [F, K] of the frames of each presentation, on the CPU."""
    found: list[Tensor] = []
    for start in range(0, len(records), _AT_ONCE):
        parts = [store.parts(record) for record in records[start : start + _AT_ONCE]]
        rows = [
            model.liveness_scores([on_device(model, store.finish(frames, processor))]).float().cpu()
            for frames in torch.cat(parts).split(_AT_ONCE)
        ]
        found += torch.cat(rows).split([len(part) for part in parts])
    return found


def _presentation_margin(margins: Tensor) -> float:
    """Return the log-odds of the mean probability of frames whose log-odds are ``margins`` float64 [F]."""
    found = combine(margins.tolist(), [True] * len(margins))
    if found is None:  # a presentation has a frame at least; for the type checker
        raise DataError("A presentation has no frame.")
    return found


def _balanced_accuracy(predicted: Sequence[int], targets: Sequence[int]) -> float | None:
    hits: dict[int, list[bool]] = {}
    for guess, target in zip(predicted, targets, strict=True):
        if target >= 0:
            hits.setdefault(target, []).append(guess == target)
    return float(np.mean([np.mean(own) for own in hits.values()])) if hits else None
