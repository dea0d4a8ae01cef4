"""How a run that separates is judged: fixed mixtures of validation recordings, dB gained over the mixture."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ....core.metrics.bootstrap import Bootstrap
from ....core.validation import judged
from ..tasks.separation_metrics import bss_eval, si_sdr
from .masking import separate_wave
from .mixing import Mixer, Slot
from .model import ClipSep
from .queries import Queries

if TYPE_CHECKING:
    from ....core.data import Record

_LIMIT_DB = 60.0
"""Nothing beyond counts: one perfect estimate would be worth infinitely many bad ones."""


@dataclass(frozen=True)
class ValidationMixture:
    """Two recordings in one.

    Attributes:
        waves: float32 [2, T], as they lie in the mixture. queries: [2, D] or [2]; None for the kind ``pit``.
        slots: what they are.
    """

    waves: Tensor
    queries: Tensor | None
    slots: tuple[Slot, Slot]


def validation_mixtures(
    records: Sequence[Record], mixer: Mixer, queries: Queries | None, *, limit: int | None = None
) -> list[ValidationMixture]:
    """Return a mixture of each record with another one of a different label, the same at every call.

    Both are equally loud where training makes them so, else as recorded, and halved where training divides.
    The partner depends on the record's id only, so other records do not change the choice among the same.

    Args:
        records: of the validation part.
        mixer: cuts recordings to one length. queries: of the run.
        limit: at most so many, spread over the records by their ids; None takes each record once.
    """
    ranked = sorted(records, key=lambda record: _draw(record.id))
    found: list[ValidationMixture] = []
    for record in ranked[: limit or len(ranked)]:
        others = [other for other in records if other.label != record.label]
        if not others:
            others = [other for other in records if other.id != record.id]
        if not others:
            continue
        other = others[_draw(f"{record.id} with") % len(others)]
        parts = [mixer.cut(one, None) for one in (record, other)]
        waves = torch.stack([wave for wave, _ in parts])
        if mixer.config.level_db is not None:
            rms = waves.square().mean(dim=1, keepdim=True).sqrt().clamp(min=1e-6)
            waves = waves * (10 ** (mixer.config.level_db / 20) / rms)
        first, second = (
            Slot(one, True, center) for one, (_, center) in zip((record, other), parts, strict=True)
        )
        asked = None if queries is None else queries.draw([[first, second]], None)[0]
        waves = waves / 2 if mixer.config.divide else waves
        found.append(ValidationMixture(waves, asked, (first, second)))
    return found


def evaluate_mixtures(
    network: ClipSep, mixtures: Sequence[ValidationMixture], *, details: bool = False
) -> dict[str, Any]:
    """Return how much closer the estimates are to the sources than the mixture is.

    Args:
        network: any mode; put back as it was.
        mixtures: at least one.
        details: also intervals, and SDR, SIR and SAR of BSS Eval 4.

    Returns:
        ``score``: mean SI-SDR improvement (dB) over all sources; ``chance``: 0, that of the mixture;
        ``sources`` {data set: {score, chance, classes {label: mean}}}; ``worst_class``.
    """
    labels, names, groups, scores = [], [], [], []
    filtered: dict[str, list[float]] = defaultdict(list)
    with judged(network):
        for mixture in mixtures:
            estimates = _estimates(network, mixture)
            whole = mixture.waves.sum(dim=0).expand_as(mixture.waves)
            gained = _gain(mixture.waves, estimates, whole)
            if details:
                after, before = (bss_eval(mixture.waves, one) for one in (estimates, whole))
                for key in ("sdr", "sir", "sar"):
                    filtered[key] += after[key].tolist()
                filtered["sdr_improvement"] += (after["sdr"] - before["sdr"]).tolist()
            for slot, value in zip(mixture.slots, gained.tolist(), strict=True):
                labels.append(str(slot.record.label))
                names.append(str(slot.record.source))
                groups.append(mixture.slots[0].record.id)
                scores.append(value)
    values, kinds, origins = np.array(scores), np.array(labels), np.array(names)
    heard = np.isfinite(values)
    if not heard.any():
        return {"score": 0.0, "chance": 0.0, "sources": {}, "undefined": len(values)}
    classes = {
        str(label): float(values[heard & (kinds == label)].mean()) for label in sorted(set(kinds[heard]))
    }
    report: dict[str, Any] = {
        "score": float(values[heard].mean()),
        "chance": 0.0,
        "worst_class": float(min(classes.values())),
        "sources": {},
    }
    for name in sorted(set(names)):
        own = heard & (origins == name)
        if own.any():
            by_class = {
                str(label): float(values[own & (kinds == label)].mean()) for label in sorted(set(kinds[own]))
            }
            mean = float(values[own].mean())
            report["sources"][str(name)] = {"score": mean, "chance": 0.0, "classes": by_class}
    if details:
        kept = [group for group, there in zip(groups, heard, strict=True) if there]
        whole_set = Bootstrap(int(heard.sum()), groups=kept)
        report["score_interval"] = whole_set.mean(values[heard]).to_dict()
        report["mixtures"], report["undefined"] = len(mixtures), int((~heard).sum())
        for key, column in filtered.items():
            defined = np.array(column)[heard]
            if np.isfinite(defined).all():
                report[key] = float(defined.mean())
    return report


def _estimates(network: ClipSep, mixture: ValidationMixture) -> Tensor:
    """Return estimates float32 [2, T]; without queries, in the order that fits better."""
    with torch.inference_mode():
        queries = None if mixture.queries is None else mixture.queries.to(network.device)
        found = separate_wave(network, mixture.waves.sum(dim=0, keepdim=True), queries)[:, 0]
    if mixture.queries is None:
        orders = [found, found.flip(0)]
        found = max(orders, key=lambda order: float(si_sdr(mixture.waves, order).sum()))
    return found


def _gain(waves: Tensor, estimates: Tensor, whole: Tensor) -> np.ndarray:
    """Return the improvement in dB float64 [2]; NaN for a source that is silent."""
    after, before = (np.clip(si_sdr(waves, one), -_LIMIT_DB, _LIMIT_DB) for one in (estimates, whole))
    return after - before


def _draw(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
