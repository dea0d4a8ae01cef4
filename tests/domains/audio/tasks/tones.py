"""A model that hears pure tones: the strongest of four pitches is what it embeds, and words name them."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import numpy as np
import torch
from verticlip.core.answer_each import answer_each
from verticlip.core.answers import Embeddings
from verticlip.core.audio_config import AudioProcessing, MelProcessing
from verticlip.core.classifying import choose_prompts
from verticlip.core.config import ProcessorConfig
from verticlip.core.limits import DEFAULT
from verticlip.core.preparing import encode_windows, mean_direction
from verticlip.core.processing import Processor
from verticlip.core.prompts import PromptSet
from verticlip.domains.audio.loaders.audio import load_audio

RATE = 8000
PITCHES = {"low": 400.0, "middle": 900.0, "high": 1800.0, "top": 3000.0}


def tone(name: str, seconds: float, amplitude: float = 0.3) -> np.ndarray:
    times = np.arange(round(seconds * RATE)) / RATE
    return (amplitude * np.sin(2 * np.pi * PITCHES[name] * times)).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), np.float32)


class _Network:
    modalities, config, device = (
        ("audio", "text"),
        SimpleNamespace(embed_dim=5, architecture="contrastive"),
        torch.device("cpu"),
    )
    logit_bias = None

    def __init__(self, processor: Processor) -> None:
        audio = processor.config.audio
        assert audio is not None
        self._bins, powers = [], []
        for name in PITCHES:
            wave = torch.from_numpy(tone(name, audio.window_s))[None]
            features = processor.finish_audio(wave)["features"]
            self._bins.append(int(features[0, 0].mean(0).argmax()))
            powers.append(float(features[0, 0].mean(0).max()))
        self._full = torch.tensor(powers)

    def scale(self):
        return torch.tensor(20.0)

    def encode(self, modality, inputs, *, normalize=True):
        if modality == "text":
            return torch.eye(5)[inputs["input_ids"][:, 0]]
        power = 10 ** ((inputs["features"][:, 0].mean(1)[:, self._bins] - self._full) / 10)
        rows = torch.cat([power, torch.full((len(power), 1), 1e-9)], dim=1)
        return torch.nn.functional.normalize(rows, dim=1)


class _Processor(Processor):
    def __call__(self, modality, items, **rest):
        if modality != "text":
            return super().__call__(modality, items, **rest)
        names = list(PITCHES)
        rows = [
            next((names.index(word) for word in text.rstrip(".").split() if word in names), 4)
            for text in items
        ]
        return {"input_ids": torch.tensor(rows)[:, None]}


class Tones:
    """Stands in for ``verticlip.Model``; audio only from files, samples and arrays."""

    id, revision, variant, limits, device = "tones", "r1", "", DEFAULT, torch.device("cpu")

    def __init__(self, *, window_s: float = 2.0, prompts: PromptSet | None = None) -> None:
        mel = MelProcessing(n_fft=512, hop_length=128, n_mels=40)
        audio = AudioProcessing(sampling_rate=RATE, window_s=window_s, padding="repeat", mel=mel)
        self.processor = _Processor(ProcessorConfig(audio=audio))
        self.network = _Network(self.processor)
        self.config = self.network.config
        self.prompts = prompts

    def precision(self, modality):
        return contextlib.nullcontext()

    def prompts_for(self, labels, templates=None):
        return choose_prompts(self.prompts, labels, templates, name=self.id, limits=self.limits)

    def embed(self, items, *, modality=None, batch_size=8, **options):
        vectors, ids = [], []
        for item in items:
            wave = item if isinstance(item, (np.ndarray, torch.Tensor)) else load_audio(item, rate=RATE).value
            vectors.append(mean_direction(encode_windows(self, self.processor.fit_audio(wave))))
            ids.append(None if isinstance(item, (np.ndarray, torch.Tensor)) else str(item))
        return Embeddings(torch.stack(vectors), tuple(ids), ({},) * len(ids), "audio", self.id, "r1", "p")

    def embed_each(self, items, *, modality=None, batch_size=8, workers=None, **options):
        def prepare(item, position):
            return self.embed([item])

        return (answer for _, answer in answer_each(items, prepare, list, batch_size=batch_size, workers=1))
