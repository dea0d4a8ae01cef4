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
from ..metrics.separation import bss_eval, si_sdr
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
    rows: list[_Scored] = []
    filtered: dict[str, list[float]] = defaultdict(list)
    with judged(network):
        for mixture in mixtures:
            estimates = _estimates(network, mixture)
            whole = mixture.waves.sum(dim=0).expand_as(mixture.waves)
            gained = _gain(mixture.waves, estimates, whole).tolist()
            if details:
                after, before = (bss_eval(mixture.waves, one) for one in (estimates, whole))
                for key in ("sdr", "sir", "sar"):
                    filtered[key] += after[key].tolist()
                filtered["sdr_improvement"] += (after["sdr"] - before["sdr"]).tolist()
            group = mixture.slots[0].record.id
            rows += [
                _Scored(one.record, group, gain) for one, gain in zip(mixture.slots, gained, strict=True)
            ]
    heard = [row for row in rows if np.isfinite(row.gain)]
    if not heard:
        return {"score": 0.0, "chance": 0.0, "sources": {}, "undefined": len(rows)}
    report: dict[str, Any] = {
        "score": _mean(heard),
        "chance": 0.0,
        "worst_class": min(_by_class(heard).values()),
        "sources": {},
    }
    for name in sorted({str(row.record.source) for row in heard}):
        own = [row for row in heard if str(row.record.source) == name]
        report["sources"][name] = {"score": _mean(own), "chance": 0.0, "classes": _by_class(own)}
    if details:
        plan = Bootstrap(len(heard), groups=[row.group for row in heard])
        report["score_interval"] = plan.mean([row.gain for row in heard]).to_dict()
        report["mixtures"], report["undefined"] = len(mixtures), len(rows) - len(heard)
        for key, column in filtered.items():
            defined = [value for value, row in zip(column, rows, strict=True) if np.isfinite(row.gain)]
            if np.isfinite(defined).all():
                report[key] = float(np.mean(defined))
    return report


@dataclass(frozen=True)
class _Scored:
    """What one source of a mixture gained, in dB; mixtures of one ``group`` are not independent."""

    record: Record
    group: str
    gain: float


def _mean(rows: Sequence[_Scored]) -> float:
    return float(np.mean([row.gain for row in rows]))


def _by_class(rows: Sequence[_Scored]) -> dict[str, float]:
    labels = sorted({str(row.record.label) for row in rows})
    return {label: _mean([row for row in rows if str(row.record.label) == label]) for label in labels}


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
