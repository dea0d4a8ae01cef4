"""Whether what was asked for is there: how sure the masks are, and what the estimate sounds like."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ....core.heads.zero_shot import class_embeddings
from ....core.inputs import encode_texts
from ....core.prompts import PromptSet, normalize_label
from ....core.types import Sample

if TYPE_CHECKING:
    from ....core.answers import Prediction
    from ....core.handle import ModelHandle

LOW_CONFIDENCE = 0.6
"""Under this, what was asked for is probably not there. On 50 validation mixtures of one or two sounds,
audio/tiny-sep reached it for 97 % of the sounds in them and for 5 % of the sounds that were not."""
WINDOWS_HEARD = 6
"""Loudest windows of an estimate that the audio tower listens to: one alone may hold what leaked into it."""
_SILENT = 1e-12
_SAME = 0.8
"""Cosine of two texts from which they ask for the same thing."""


@dataclass(frozen=True)
class Answer:
    """What is known about the estimate for one query.

    Attributes:
        query: as asked.
        confidence: 0 to 1; geometric mean of ``certainty`` and, where it is known, ``probability``.
        verdict: ``ok``; ``low`` when what was asked for is probably not there; ``silent`` when there is
            nothing at all.
        energy_db: energy of the estimate over that of the recording, dB; None when either is silent.
        certainty: how high the mask is where it takes energy, 0 to 1: the energy of the estimate over its
            product with the recording. A mask that smears a little of everything is low everywhere.
        probability: of the query, among the model's own classes, by the model's audio tower; None for a
            model without one. With it, both numbers are those of the window that speaks most for the query,
            among the loudest of the estimate: what is heard once in an hour is there.
    """

    query: str
    confidence: float
    verdict: Literal["ok", "low", "silent"]
    energy_db: float | None
    certainty: float
    probability: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


class Measures:
    """Sums over a recording and its estimates, block by block, and the loudest windows of each estimate.

    Args:
        queries: Q. window: samples of a window that is kept; 0 keeps none. channels: C.
    """

    def __init__(self, queries: int, window: int, channels: int = 1) -> None:
        self._window = window
        self._whole = 0.0
        self._own = torch.zeros(queries, dtype=torch.float64)
        self._shared = torch.zeros(queries, dtype=torch.float64)
        # The recording lies before the estimates, so that both are cut into the same windows.
        self._held = torch.zeros(1 + queries, channels, 0)
        self._loudest = torch.zeros(queries, WINDOWS_HEARD, window)
        self._levels = torch.zeros(queries, WINDOWS_HEARD)
        self._certainties = torch.zeros(queries, WINDOWS_HEARD)

    def add(self, mixture: Tensor, estimates: Tensor) -> None:
        """Take in a block of the recording float32 [C, n] and of its estimates [Q, C, n]."""
        recording, found = mixture.double(), estimates.double()
        self._whole += float(recording.square().sum())
        self._own += found.square().sum(dim=(1, 2))
        self._shared += (found * recording).sum(dim=(1, 2))
        if not self._window:
            return
        self._held = torch.cat([self._held, torch.cat([mixture[None], estimates])], dim=-1)
        while self._held.shape[-1] >= self._window:
            self._keep(self._held[..., : self._window])
            self._held = self._held[..., self._window :]

    def _keep(self, windows: Tensor) -> None:
        recording, windows = windows[0].double(), windows[1:]
        found = windows.double()
        energies = found.square().sum(dim=(1, 2))
        shared = (found * recording).sum(dim=(1, 2))
        certainties = torch.where(shared > 0, energies / shared, shared.new_zeros(())).clamp(max=1.0)
        # Of the channels the loudest: in their mean, those of opposite sign would cancel.
        levels, channels = windows.square().sum(dim=-1).max(dim=1)
        for index, place in enumerate(self._levels.argmin(dim=1).tolist()):
            if levels[index] > self._levels[index, place]:
                self._loudest[index, place] = 0.0
                self._loudest[index, place, : windows.shape[-1]] = windows[index, channels[index]]
                self._levels[index, place] = levels[index]
                self._certainties[index, place] = certainties[index]

    def answers(self, queries: Sequence[str], heard: Sequence[Sequence[float] | None]) -> list[Answer]:
        """Return what is known about each query.

        Args:
            queries: as asked. heard: for each the probabilities of its :attr:`loudest` windows, as
                :func:`heard_as` gives them, or None where nothing can listen.
        """
        found = []
        for index, (query, probabilities) in enumerate(zip(queries, heard, strict=True)):
            own, shared = float(self._own[index]), float(self._shared[index])
            if self._whole <= _SILENT or own <= _SILENT:
                verdict = "silent" if self._whole <= _SILENT else "low"
                found.append(Answer(query, 0.0, verdict, None, 0.0, None))
                continue
            certainty, probability = min(1.0, own / shared) if shared > 0 else 0.0, None
            if probabilities is not None:
                pairs = zip(self._certainties[index].tolist(), probabilities, strict=True)
                certainty, probability = max(pairs, key=lambda pair: pair[0] * pair[1])
            confidence = certainty if probability is None else math.sqrt(certainty * probability)
            found.append(
                Answer(
                    query,
                    round(confidence, 4),
                    "ok" if confidence >= LOW_CONFIDENCE else "low",
                    round(10 * math.log10(own / self._whole), 2),
                    round(certainty, 4),
                    None if probability is None else round(probability, 4),
                )
            )
        return found

    @property
    def loudest(self) -> Tensor:
        """The loudest windows of each estimate, float32 [Q, N, window], loudest first; zeros where short."""
        if self._window and self._held.shape[-1]:
            self._keep(self._held)
            self._held = self._held[..., :0]
        order = self._levels.argsort(dim=1, descending=True, stable=True)
        rows = torch.arange(len(order))[:, None]
        self._loudest, self._levels, self._certainties = (
            kept[rows, order] for kept in (self._loudest, self._levels, self._certainties)
        )
        return self._loudest


def can_hear(model: ModelHandle, rate: int) -> bool:
    """Return whether the model's audio tower can judge what the separator made at ``rate``."""
    audio = model.processor.config.audio
    towers = model.network.modalities
    return audio is not None and audio.sampling_rate == rate and {"audio", "text"} <= set(towers)


def heard_as(
    model: ModelHandle, waves: Tensor, queries: Sequence[str | None], vectors: Tensor
) -> list[list[float]]:
    """Return how probable each query is for windows of its estimate, among the model's classes and itself.

    Args:
        model: with towers for audio and text.
        waves: float32 [Q, N, T] at the model's rate; silence is nothing, with probability 0.
        queries: words, or None for a query that is none. vectors: unit embeddings of the queries [Q, D].
    """
    loud = (waves.square().sum(dim=-1) > _SILENT).nonzero().tolist()
    found = [[0.0] * waves.shape[1] for _ in waves]
    if not loud:
        return found
    rate = {"sampling_rate": model.processor.config.audio.sampling_rate}  # type: ignore[union-attr]
    items = [Sample(waves[index, place][None], "audio", rate) for index, place in loud]
    prompts = model.prompts
    predictions = model.classify(items) if prompts is not None else [None] * len(items)
    names = [None if words is None or prompts is None else _class_of(prompts, words) for words in queries]
    for (index, place), item, prediction in zip(loud, items, predictions, strict=True):
        name = names[index]
        if prediction is not None and name is not None:
            found[index][place] = prediction.scores[name]
        else:  # only these are heard a second time
            embedding = model.embed([item], modality="audio").vectors[0]
            found[index][place] = _among_classes(model, embedding, vectors[index], prediction)
    return found


def _class_of(prompts: PromptSet, words: str) -> str | None:
    """Return the class that words stand for, by its name or one of its own words."""
    asked = normalize_label(words)
    for name, known in prompts.classes.items():
        if asked in map(normalize_label, (name, *known)):
            return name
    return None


def _among_classes(
    model: ModelHandle, embedding: Tensor, query: Tensor, prediction: Prediction | None
) -> float:
    """Return the probability of a query that is none of the classes, beside them.

    The probabilities of the classes and the logit of the best one give the logits of all.
    """
    scale = model.network.scale().item()
    own = scale * float(embedding @ query)
    if prediction is None or model.prompts is None:
        return 1 / (1 + math.exp(-own))
    best = model.prompts_for([prediction.label])
    vector = class_embeddings(best, lambda texts: encode_texts(model, texts))[0]
    others = scale * float(embedding @ vector) - math.log(max(prediction.score, _SILENT))
    if float(vector @ query) > _SAME:
        # Other words for the best class: it is no rival.
        others += math.log(max(1 - prediction.score, _SILENT))
    return 1 / (1 + math.exp(min(others - own, 700.0)))
