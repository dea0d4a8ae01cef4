"""What CLAP models with feature fusion see of a recording longer than their window.

Reference: Wu et al., 2023, section 3.2; transformers, ``ClapFeatureExtractor`` with ``truncation="fusion"``.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ....core.audio_config import AudioProcessing
from ....core.spectrogram import log_mel
from ....core.waves import pad_wave

PIECES = 3


def fused_features(
    wave: Tensor, config: AudioProcessing, *, generator: torch.Generator | None = None
) -> dict[str, Tensor]:
    """Return ``{"features": float32 [1, 4, frames, n_mels], "is_longer": bool [1, 1]}`` of one recording.

    The first channel is the whole recording, shrunk to the frames of one window; the others are three
    windows, one from each third of it. A recording of at most one window stands in all four.

    Args:
        wave: float32 [T] in [-1, 1] at the model's rate.
        config: of the model's processor.
        generator: places the three windows at random, as in training; None takes the middle of each third.
    """
    if len(wave) <= config.window_samples:
        wave = pad_wave(wave, config)
    mel = (log_mel(wave, config.mel, config.sampling_rate) - config.mean) / config.std
    frames = 1 + config.window_samples // config.mel.hop_length
    longer = len(mel) > frames
    if not longer:
        channels = mel.expand(1 + PIECES, -1, -1)
    else:
        size = (frames, config.mel.n_mels)
        whole = F.interpolate(mel[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
        starts = piece_starts(len(mel) - frames + 1, generator)
        channels = torch.stack([whole, *(mel[start : start + frames] for start in starts)])
    return {"features": channels[None], "is_longer": torch.tensor([[longer]])}


def piece_starts(places: int, generator: torch.Generator | None) -> list[int]:
    """Return where the three windows begin, among ``places`` possible places; 0 for thirds that are empty."""
    starts: list[int] = []
    first = 0
    for third in range(PIECES):
        size = places // PIECES + (third < places % PIECES)
        if not size:
            starts.append(0)
        elif generator is None:
            starts.append(first + (size - 1) // 2)
        else:
            starts.append(first + int(torch.randint(size, (1,), generator=generator)))
        first += size
    return starts
