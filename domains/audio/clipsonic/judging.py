"""What samples of a model sound like to its own ears: its towers, which training leaves as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ....core.config import Config
from ....core.processing import Processor
from ....core.sources import Row
from ..loaders.resampling import resample
from ..metrics.frechet import frechet_report
from .features import FeatureStore
from .model import ClipSonic
from .options import Bridging
from .sampling import SamplingSettings, sample_targets
from .targets import level_safely, to_targets, to_waves

_AT_ONCE = 16


class JudgeConfig(Config):
    """Samples that are made to judge a model."""

    samples: int = Field(default=2, ge=0)
    """Of each class, while training; 0 judges by the denoising error instead."""
    final_samples: int = Field(default=10, ge=1)
    """Of each class and kind of condition, for the model that is written."""
    steps: int = Field(default=25, ge=1)
    guidance: float = Field(default=3.0, ge=0.0)
    seed: int = Field(default=1000, ge=0)


class Judge:
    """Makes samples of every class and counts those that are recognized.

    Args:
        config: how many, and how.
        parts: {"train": rows, "val": rows}. store: their features.
        texts: {class: embeddings [n, D] of its sentences}, or None without a text tower.
        processor: prepares recordings for the audio tower.

    Attributes:
        facts: words for the score.
    """

    def __init__(
        self,
        config: JudgeConfig,
        parts: Mapping[str, Sequence[Row]],
        store: FeatureStore,
        *,
        texts: Mapping[str, Tensor] | None,
        processor: Processor,
    ) -> None:
        self._config, self._store, self._processor = config, store, processor
        self._texts = {} if texts is None else dict(texts)
        self._rows = list(parts["val"])
        self._names = sorted(self._texts)
        # No ears, or nothing to tell apart.
        self._mute = processor.config.audio is None or len(self._names) < 2 or not config.samples
        self.facts: dict[str, Any] = (
            {"score_name": "share of the noise explained", "chance_name": "silence"}
            if self._mute
            else {"score_name": "samples recognized as asked"}
        ) | {
            "command": "verticlip audio generate 'dog barking' --seed 1 --out dog.wav --model MODEL",
            "pipeline_tag": "text-to-audio",
        }

    def report(self, model: ClipSonic, *, details: bool) -> dict[str, Any]:
        """Return what was recognized; empty where nothing can hear or nothing can be told apart.

        Returns:
            ``score`` and ``chance``, and with ``details`` further: ``classes`` {class: share}, ``conditions``
            {kind: share}, ``real`` (recordings as they are and after the way through spectrogram and vocoder)
            and ``frechet`` in the space of the model's own audio tower.
        """
        if self._mute:
            return {}
        count = self._config.final_samples if details else self._config.samples
        heard, asked = self._samples(model, "text", None, count)
        hits = self._hits(heard, asked)
        report: dict[str, Any] = {"score": hits.mean().item(), "chance": 1 / len(self._names)}
        if not details:
            return report
        report["samples"] = len(heard)
        report["score_interval"] = _share(hits)
        report["classes"] = {
            name: hits[asked == number].mean().item() for number, name in enumerate(self._names)
        }
        report["conditions"] = {"text": report["score"], **self._other_conditions(model, count)}
        report["real"] = self._real(model)
        real = F.normalize(torch.stack([self._embedding(row) for row in self._rows]), dim=-1)
        if len(real) > 1:
            found = frechet_report(real, heard, embedding=f"{model.config.name}, its own audio tower")
            report["frechet"] = found.to_dict()
        return report

    def _other_conditions(self, model: ClipSonic, count: int) -> dict[str, float]:
        """Return the share recognized with texts taken as they are, and with validation recordings."""
        found = {}
        if model.options.condition.modality != "text":
            found["text without bridge"] = (
                self._hits(*self._samples(model, "text", "none", count)).mean().item()
            )
        if "audio" in model.modalities:
            found["audio"] = self._hits(*self._samples(model, "audio", None, count)).mean().item()
        return found

    def _samples(
        self, model: ClipSonic, modality: str, bridge: Bridging | None, count: int
    ) -> tuple[Tensor, Tensor]:
        """Return embeddings [N, D] of samples, as the audio tower hears them, and classes [N] asked for."""
        conditions, asked = [], []
        for number, name in enumerate(self._names):
            if modality == "text":
                known = self._texts[name]
            else:
                known = [self._embedding(row) for row in self._rows if row.record.label == name]
            for turn in range(count if len(known) else 0):
                conditions.append(known[turn * len(known) // count])
                asked.append(number)
        units = model.condition(torch.stack(conditions).to(model.device), modality, bridge=bridge)
        settings = SamplingSettings(min(self._config.steps, model.options.noise.steps), self._config.guidance)
        heard = []
        for start in range(0, len(units), _AT_ONCE):
            part = units[start : start + _AT_ONCE]
            generators = [
                torch.Generator().manual_seed(self._config.seed + start + row) for row in range(len(part))
            ]
            targets = sample_targets(
                model, part, settings, frames=model.options.target.frames, generators=generators
            )
            heard.append(self._hear(model, to_waves(model, targets, generators=generators)))
        return torch.cat(heard), torch.tensor(asked)

    def _hear(self, model: ClipSonic, waves: Tensor) -> Tensor:
        """Return unit embeddings [B, D] of waveforms [B, T] at the target's rate."""
        audio = self._processor.config.audio
        rate = model.options.target.sampling_rate
        waves = level_safely(waves)[0].cpu()
        if audio is not None and audio.sampling_rate != rate:
            waves = resample(waves, from_rate=rate, to_rate=audio.sampling_rate, method="soxr_hq")
        found = []
        for wave in waves:
            inputs = self._processor.finish_audio(self._processor.fit_audio(wave))
            vectors = model.encode("audio", {key: value.to(model.device) for key, value in inputs.items()})
            found.append(F.normalize(vectors.mean(dim=0), dim=-1).cpu())
        return torch.stack(found)

    def _hits(self, heard: Tensor, asked: Tensor) -> Tensor:
        """Return 1.0 for samples [N] whose nearest class is the one asked for, else 0.0."""
        classes = torch.stack([F.normalize(self._texts[name].mean(dim=0), dim=-1) for name in self._names])
        return ((heard @ classes.T).argmax(dim=1) == asked).double()

    def _real(self, model: ClipSonic) -> dict[str, float]:
        """Return the share of validation recordings that is recognized: whole, and by their loudest window
        after the way through spectrogram and vocoder, which bounds what samples can reach."""
        rows = [row for row in self._rows if row.record.label in self._texts]
        asked = torch.tensor([self._names.index(str(row.record.label)) for row in rows])
        whole = torch.stack([self._embedding(row) for row in rows])
        again = []
        for start in range(0, len(rows), _AT_ONCE):
            part = rows[start : start + _AT_ONCE]
            targets = torch.stack([self._loudest(row, model) for row in part]).to(model.device)
            generators = [torch.Generator().manual_seed(start + row) for row in range(len(part))]
            again.append(self._hear(model, to_waves(model, targets, generators=generators)))
        return {
            "recordings": self._hits(whole, asked).mean().item(),
            "windows after vocoding": self._hits(torch.cat(again), asked).mean().item(),
        }

    def _embedding(self, row: Row) -> Tensor:
        return F.normalize(self._store.of(row).embeddings["audio"].mean(dim=0), dim=-1)

    def _loudest(self, row: Row, model: ClipSonic) -> Tensor:
        """Return the target [F, T] of the loudest window of a recording."""
        config = model.options.target
        mel = self._store.of(row).mel.float()
        loudness = F.pad(mel.exp().sum(dim=1).cumsum(0), (1, 0))
        first = 0
        if len(mel) > config.frames:
            first = int((loudness[config.frames :] - loudness[: -config.frames]).argmax())
        part = mel[first : first + config.frames].T
        return to_targets(F.pad(part, (0, config.frames - part.shape[1]), value=config.low), config)


def _share(hits: Tensor) -> dict[str, float]:
    """Return the share of hits [N] with its 95 % Wilson interval."""
    from scipy.stats import binomtest

    count = len(hits)
    bounds = binomtest(int(hits.sum()), count).proportion_ci(0.95, method="wilson")
    return {"value": hits.mean().item(), "low": float(bounds.low), "high": float(bounds.high), "n": count}
