"""Batches of the task ``diffusion``: windows of recordings, noise, and what the towers say about them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from ....core.config import Config, Probability
from ....core.data import Record
from ....core.errors import DataError
from ....core.prompts import PromptSet
from ....core.sources import Row
from ....core.start import Start
from ....core.types import Batch
from .bridge import Bridge
from .features import Features, FeatureStore
from .judging import JudgeConfig
from .options import ClipSonicOptions
from .targets import to_targets

_TEXTS_AT_ONCE = 256
_LOUD = 0.5
"""Windows with less than this share of the loudest one's mean magnitude are not drawn."""


class DiffusionOptions(Config):
    """``options`` of a recipe with this task."""

    conditions: dict[Literal["audio", "image", "text"], float] = Field(min_length=1)
    """{embedding: share of the draws}; with several, one set of weights learns to follow all of them."""
    drop: Probability = 0.1
    """Share of the rows that learn to do without a condition, which guidance needs."""
    condition_noise: float = Field(default=0.0, ge=0.0, le=2.0)
    """Length of the noise added to each unit condition, which is then normalized again (C3)."""
    windows: int = Field(default=1, ge=1)
    """Draws of each recording in an epoch."""
    place: Literal["loud", "anywhere", "condition"] = "loud"
    """Windows where it is loud, anywhere, or around the moment that the embedding is of."""
    gain_db: float = Field(default=0.0, ge=0.0, le=40.0)
    """Largest change of level, up or down."""
    least_peak: float = Field(default=1e-3, ge=0.0, lt=1.0)
    """Recordings that never reach this magnitude are left out."""
    cache: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./-]*$")
    """Folder below the data folder that keeps log-mels and embeddings; None keeps them in memory."""
    judge: JudgeConfig = JudgeConfig()

    @model_validator(mode="after")
    def _shares_are_over_zero(self) -> DiffusionOptions:
        for name, share in self.conditions.items():
            if share <= 0:
                raise ValueError(f"the share of {name!r} conditions is {share:g}; leave it out instead")
        if self.cache is not None and ".." in Path(self.cache).parts:
            raise ValueError("cache must lie below the data folder")
        return self


class TextPool:
    """Embeddings of the texts of a run: captions of a recording, else the sentences of its class."""

    def __init__(self, rows: Sequence[Row], prompts: PromptSet | None, start: Start) -> None:
        self._own = {row.record.id: tuple(row.texts) for row in rows}
        labels = dict.fromkeys(row.record.label for row in rows if row.record.label is not None)
        sentences = {
            label: tuple(prompts.texts(label)) if prompts and label in prompts.class_names else (label,)
            for label in labels
        }
        used = [text for own in self._own.values() for text in own]
        used += [text for own in sentences.values() for text in own]
        self._rows = {text: number for number, text in enumerate(dict.fromkeys(used))}
        self._vectors = _encoded_texts(start, list(self._rows))
        self.classes = {label: self._found(own) for label, own in sentences.items()}

    def _found(self, texts: Sequence[str]) -> Tensor:
        return self._vectors[[self._rows[text] for text in texts]]

    def of(self, record: Record) -> Tensor:
        """Return the embeddings [n, D] of the texts of a record; none where it has neither text nor class."""
        if self._own[record.id]:
            return self._found(self._own[record.id])
        return self.classes.get(str(record.label), self._vectors[:0])

    def check(self, rows: Sequence[Row]) -> None:
        """Raise ``DataError`` where a row has nothing to say."""
        mute = [row.record.id for row in rows if not len(self.of(row.record))]
        if mute:
            raise DataError(
                f"{len(mute)} recordings have neither captions nor a class, first {mute[0]!r}; text "
                "conditions need one of them."
            )

    def mean_sample(self, rows: Sequence[Row]) -> Tensor:
        """Return one vector per class, or per recording without a class: what the mean is taken over."""
        found = {
            str(row.record.label or row.record.id): self.of(row.record).mean(dim=0)
            for row in rows
            if len(self.of(row.record))
        }
        return F.normalize(torch.stack(list(found.values())), dim=-1)


@torch.inference_mode()
def _encoded_texts(start: Start, texts: Sequence[str]) -> Tensor:
    """Return unit embeddings float32 [n, D] of texts."""
    parts = [
        start.network.encode("text", start.processor("text", texts[at : at + _TEXTS_AT_ONCE])).float()
        for at in range(0, len(texts), _TEXTS_AT_ONCE)
    ]
    return torch.cat(parts).clone() if parts else torch.zeros(0, start.network.config.embed_dim)


class DiffusionCollate:
    """Records to a batch of targets, noise and conditions; all chance comes from the generator.

    Args:
        rows: every row of the run. store: their features. texts: embeddings of what is said about them.
        bridge: means. options: of the task. sonic: of the model.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        store: FeatureStore,
        texts: TextPool | None,
        *,
        bridge: Bridge,
        options: DiffusionOptions,
        sonic: ClipSonicOptions,
    ) -> None:
        self._rows = {row.record.id: row for row in rows}
        self._store, self._texts, self._bridge = store, texts, bridge
        self._options, self._sonic = options, sonic

    def __call__(self, records: Sequence[Record], generator: torch.Generator) -> Batch:
        """Return ``inputs["mel"]`` as :meth:`ClipSonic.forward` takes it."""
        targets, conditions = [], []
        for record in records:
            target, condition = self._draw(self._rows[record.id], generator)
            targets.append(target)
            conditions.append(condition)
        clean, size = torch.stack(targets), len(records)
        noise = torch.randn(clean.shape, generator=generator)
        steps = torch.randint(self._sonic.noise.steps, (size,), generator=generator)
        kept = torch.rand(size, generator=generator) >= self._options.drop
        given = {
            "target": clean,
            "noise": noise,
            "timesteps": steps,
            "condition": self._shaken(torch.stack(conditions), generator),
            "kept": kept,
        }
        return Batch({"mel": given}, None, tuple(record.id for record in records))

    def _draw(self, row: Row, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return a window [1, F, T] of a recording and the unit condition [D] that goes with it."""
        features, options = self._store.of(row), self._options
        shares = torch.tensor(list(options.conditions.values()), dtype=torch.float64)
        modality = list(options.conditions)[int(torch.multinomial(shares, 1, generator=generator))]
        frame_s = self._sonic.target.mel.hop_length / self._sonic.target.sampling_rate
        length = self._sonic.target.frames
        if modality == "text":
            vectors = cast("TextPool", self._texts).of(row.record)
            vector = vectors[int(torch.randint(len(vectors), (), generator=generator))]
            first = self._first_frame(features, None, generator)
        else:
            vectors, times = features.embeddings[modality], features.times[modality]
            if options.place == "condition":
                pick = int(torch.randint(len(vectors), (), generator=generator))
                first = self._first_frame(features, float(times[pick]) / frame_s, generator)
            else:
                first = self._first_frame(features, None, generator)
                pick = int((times - (first + length / 2) * frame_s).abs().argmin())
            vector = vectors[pick]
        own = self._sonic.condition
        unit = self._bridge(vector[None], modality, own.modality, how=own.bridge, center=own.center)[0]
        return self._window(features, first, generator), unit

    def _first_frame(self, features: Features, center: float | None, generator: torch.Generator) -> int:
        """Return where a window begins: around ``center``, else drawn, loud places more often."""
        last = len(features.mel) - self._sonic.target.frames
        if last <= 0:
            return 0
        if center is not None:
            return min(max(round(center - self._sonic.target.frames / 2), 0), last)
        if self._options.place == "anywhere":
            return int(torch.randint(last + 1, (), generator=generator))
        loudness = features.mel.float().exp().sum(dim=1).cumsum(0)
        before = F.pad(loudness, (1, 0))
        frames = self._sonic.target.frames
        sums = before[frames:] - before[:-frames]
        weights = torch.where(sums >= _LOUD * sums.max(), sums, torch.zeros_like(sums))
        return int(torch.multinomial(weights.double().clamp(min=0) + 1e-12, 1, generator=generator))

    def _window(self, features: Features, first: int, generator: torch.Generator) -> Tensor:
        """Return targets float32 [1, F, T]; a recording that ends earlier is followed by silence."""
        config = self._sonic.target
        part = features.mel[first : first + config.frames].float().T
        if self._options.gain_db:
            gain = (2 * float(torch.rand((), generator=generator)) - 1) * self._options.gain_db
            # Silence stays silence.
            louder = part + gain * math.log(10) / 20
            part = torch.where(part > math.log(config.mel.floor) + 1e-2, louder, part)
        part = F.pad(part, (0, config.frames - part.shape[1]), value=config.low)
        return to_targets(part, config)[None]

    def _shaken(self, conditions: Tensor, generator: torch.Generator) -> Tensor:
        """Return conditions with noise of the configured length, of unit length again."""
        length = self._options.condition_noise
        if not length:
            return conditions
        noise = torch.randn(conditions.shape, generator=generator) / conditions.shape[1] ** 0.5
        return F.normalize(conditions + length * noise, dim=-1)
