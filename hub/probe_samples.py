"""What stored probes ask every model: made-up pictures, recordings and texts; see :mod:`.stored_probe`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor

    from ..core.processing import Processor
    from ..core.prompts import PromptSet

_IMAGE_SHAPE = (2, 96, 128, 3)
_WAVE_S, _WAVE_SAMPLES = 0.5, 20_000
_TEXTS = ("a photo", "two red chairs beside a window, seen from above", "low noise without any speech")


def draw_inputs(processor: Processor, seed: int) -> dict[str, Tensor]:
    """Return pictures and recordings with something at every scale; nothing in them is anybody's."""
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, Tensor] = {}
    if processor.config.image is not None:
        count, height, width, _ = _IMAGE_SHAPE
        coarse = torch.rand(count, 3, 4, 5, generator=generator)
        smooth = F.interpolate(coarse, (height, width), mode="bilinear")
        blocks = F.interpolate(
            torch.rand(count, 3, height // 8, width // 8, generator=generator), scale_factor=8
        )
        grain = torch.rand(count, 3, height, width, generator=generator)
        mixed = (0.6 * smooth + 0.3 * blocks + 0.1 * grain).mul(255).round().to(torch.uint8)
        found["images"] = mixed.permute(0, 2, 3, 1).contiguous()
    audio = processor.config.audio
    if audio is not None:
        length = min(audio.window_samples, round(_WAVE_S * audio.sampling_rate), _WAVE_SAMPLES)
        time = torch.arange(length, dtype=torch.float64) / audio.sampling_rate
        # A rising tone with overtones and one of another height that comes and goes, each over noise.
        sweep = (0.2 * torch.sin(2 * torch.pi * (200 + 900 * time) * time * k) / k for k in (1, 2, 5))
        beats = 0.3 * torch.sin(2 * torch.pi * 660 * time) * torch.sin(2 * torch.pi * 6 * time)
        noise = 0.05 * torch.randn(2, length, generator=generator)
        waves = torch.stack([cast("Tensor", sum(sweep)), beats]) + noise
        found["waves"] = waves.clamp(-1, 1).float()
    return found


def choose_texts(processor: Processor, prompts: PromptSet | None) -> tuple[str, ...]:
    """Return a few texts of unequal length, some in the model's own words, that fit its context."""
    text = processor.config.text
    if text is None:
        return ()
    names = () if prompts is None else prompts.class_names
    own = (
        [words for name in dict.fromkeys([*names[:1], *names[-1:]]) for words in prompts.texts(name)[:1]]
        if prompts
        else []
    )
    return tuple(dict.fromkeys(_fitting(processor, words, text.context_length) for words in (*_TEXTS, *own)))


def _fitting(processor: Processor, text: str, context: int) -> str:
    words = text.split()
    while len(words) > 1 and processor.count_tokens([" ".join(words)])[0] > context:
        words.pop()
    return " ".join(words)
