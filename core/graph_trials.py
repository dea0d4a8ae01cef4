"""Inputs that an export is compared on, the same on every machine: ordinary ones and extreme ones.

All go through the model's own processor. A batch of one, of three and of eight rows each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .errors import ConfigError
from .processing import Processor

BATCHES = (3, 1, 8)
"""Rows of the trials; the first one is what a graph is drawn with, where one row would be taken for all."""

_TEXT = "a photo of the red house beside an old river with two small boats and many trees in autumn"
_WORDS = _TEXT.split()


def pictures() -> list[np.ndarray]:
    """Return eight pictures uint8 [h, w, 3]: noise, black, white, gradients, squares, and odd shapes."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[0:96, 0:128]
    ramp = np.stack([rows * 2, columns * 2, (rows + columns) % 256], axis=-1).astype(np.uint8)
    squares = np.repeat(((rows // 8 + columns // 8) % 2 * 255).astype(np.uint8)[..., None], 3, axis=-1)

    def noise(height: int, width: int) -> np.ndarray:
        return generator.integers(0, 256, (height, width, 3), dtype=np.uint8)

    return [
        noise(80, 80),
        np.zeros((64, 64, 3), dtype=np.uint8),
        np.full((64, 64, 3), 255, dtype=np.uint8),
        ramp,
        squares,
        noise(200, 60),
        noise(48, 170),
        np.full((50, 40, 3), (200, 30, 90), dtype=np.uint8),
    ]


def recordings(rate: int, window_s: float) -> list[np.ndarray]:
    """Return eight recordings float32 [T] in [-1, 1] of at most one window: silence, tones, noise, clicks."""
    generator = np.random.default_rng(0)
    count = round(rate * window_s)
    time = np.arange(count) / rate
    click = np.zeros(count)
    click[count // 3] = 1.0
    half = np.sin(2 * math.pi * 220.0 * time)
    half[count // 2 :] = 0.0
    # Frequencies below an eighth of the rate, which every model keeps.
    top = rate / 8
    waves = [
        generator.normal(0.0, 0.2, count),
        np.zeros(count),
        np.sin(2 * math.pi * min(440.0, top) * time),
        np.sign(np.sin(2 * math.pi * min(100.0, top) * time)),
        click,
        np.sin(2 * math.pi * top * time**2 / (2 * window_s)) * 0.5,
        half,
        generator.normal(0.0, 0.2, max(1, count // 7)),
    ]
    return [np.clip(wave, -1.0, 1.0).astype(np.float32) for wave in waves]


def texts(processor: Processor) -> list[str]:
    """Return eight texts of different length, from one word to as many as the model takes."""
    config = processor.config.text
    limit = 0 if config is None else config.context_length
    counts = sorted({1, 2, 3, 5, 8, 12, max(1, limit // 2), limit}, reverse=True)
    found: list[str] = []
    for count in counts:
        text = _longest(processor, count, limit)
        if text not in found:
            found.append(text)
    # A short context leaves few lengths: other words fill up the eight.
    for start in range(1, len(_WORDS)):
        if len(found) < 8:
            found.append(_longest(processor, 2, limit, start))
    return found[:8]


def _longest(processor: Processor, words: int, limit: int, start: int = 0) -> str:
    """Return up to ``words`` words from ``start`` on, as many as fit into ``limit`` tokens."""
    chosen = [_WORDS[(start + place) % len(_WORDS)] for place in range(words)]
    while len(chosen) > 1 and processor.count_tokens([" ".join(chosen)])[0] > limit:
        chosen.pop()
    return " ".join(chosen)


def trials(processor: Processor, modality: str) -> dict[str, dict[str, Tensor]]:
    """Return {kind of inputs: inputs} for the tower of a modality; text lengths differ between the kinds.

    Raises:
        ConfigError: the processor does not prepare this modality.
    """
    items = _items(processor, modality)
    made = {f"batch of {rows}": items[:rows] for rows in BATCHES}
    made["batch of 1"] = items[-1:]
    if modality == "text":
        made["shortest texts"] = items[-2:]
    return {name: processor(modality, batch) for name, batch in made.items()}


def _items(processor: Processor, modality: str) -> Sequence[Any]:
    if modality not in processor.modalities:
        raise ConfigError(
            f"The processor prepares no {modality!r} ({', '.join(processor.modalities)}), so nothing can be "
            "compared. Leave this tower out."
        )
    if modality == "image":
        return pictures()
    if modality == "text":
        return texts(processor)
    audio = processor.config.audio
    if modality != "audio" or audio is None:
        raise ConfigError(f"There are no inputs to compare a {modality!r} tower on. Leave it out.")
    return recordings(audio.sampling_rate, audio.window_s)


def pad_texts(inputs: Mapping[str, Tensor], length: int, pad_id: int) -> dict[str, Tensor]:
    """Return inputs whose tokens [B, L] are filled up to ``length``: ids with ``pad_id``, masks with 0."""
    found = dict(inputs)
    for name, fill in (("input_ids", pad_id), ("attention_mask", 0)):
        if name in inputs:
            missing = length - inputs[name].shape[1]
            found[name] = torch.nn.functional.pad(inputs[name], (0, missing), value=fill)
    return found
