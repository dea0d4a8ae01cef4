from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from verticlip.core.audio_config import MelProcessing
from verticlip.core.errors import InputError
from verticlip.core.spectrogram import log_mel, mel_filters
from verticlip.domains.audio.clipsonic.griffin_lim import griffin_lim, magnitudes

RATE = 16_000
MEL = MelProcessing(
    n_fft=1024,
    hop_length=256,
    n_mels=64,
    power=1,
    padding="half_reflect",
    magnitude_offset=1e-9,
    log="ln",
    floor=1e-5,
)


def chord() -> torch.Tensor:
    """Return half a second of three partials, swelling."""
    time = torch.arange(8192) / RATE
    wave = sum(torch.sin(2 * math.pi * hz * time) for hz in (300.0, 1100.0, 3300.0))
    return (0.1 * wave * torch.linspace(0.2, 1, 8192))[None]  # pyright: ignore[reportOperatorIssue]


def invert(mel: torch.Tensor, seed: int = 0, **changes: Any) -> torch.Tensor:
    generators = [torch.Generator().manual_seed(seed + row) for row in range(len(mel))]
    return griffin_lim(mel, MEL, RATE, generators=generators, **changes)


def test_the_waveform_has_the_spectrogram_it_was_made_of() -> None:
    mel = log_mel(chord(), MEL, RATE).transpose(1, 2)
    found = invert(mel)
    assert found.shape == (1, 8192)
    again = log_mel(found, MEL, RATE).transpose(1, 2)
    loud = mel > mel.max() - 4
    # The spectrogram mirrors the sound at its ends, which a search for phases knows nothing of.
    loud[..., :2] = loud[..., -2:] = False
    assert (again - mel)[loud].abs().mean() < 0.1


def test_magnitudes_are_not_negative_and_have_the_mel() -> None:
    mel = log_mel(chord(), MEL, RATE).transpose(1, 2)
    found = magnitudes(mel, MEL, RATE)
    assert found.shape == (1, 513, 32)
    assert found.min() >= 0
    back = mel_filters(MEL, RATE) @ found  # pyright: ignore[reportArgumentType]
    loud = mel > mel.max() - 4
    assert (back.log() - mel)[loud].abs().mean() < 0.02


def test_silence_stays_silent() -> None:
    found = invert(torch.full((1, 64, 20), math.log(1e-5)))
    assert found.abs().max() < 1e-5


def test_equal_seeds_give_equal_sound_in_any_company() -> None:
    mel = log_mel(chord(), MEL, RATE).transpose(1, 2)
    alone = invert(mel, seed=3, iterations=8)
    pair = invert(torch.cat([mel, mel]), seed=2, iterations=8)
    assert torch.allclose(alone[0], pair[1], atol=1e-6)
    assert not torch.allclose(pair[0], pair[1], atol=1e-2)


def test_more_rounds_come_closer() -> None:
    mel = log_mel(chord(), MEL, RATE).transpose(1, 2)

    def error(iterations: int) -> float:
        return float(
            (log_mel(invert(mel, iterations=iterations), MEL, RATE).transpose(1, 2) - mel).abs().mean()
        )

    assert error(32) < error(1)


@pytest.mark.parametrize(
    ("mel", "count", "message"),
    [
        (torch.zeros(1, 32, 4), 1, r"Expected a log-mel \[B, 64, frames\]"),
        (torch.zeros(1, 64, 0), 1, r"Expected a log-mel"),
        (torch.zeros(2, 64, 4), 1, "need as many generators, got 1"),
        (torch.full((1, 64, 4), math.nan), 1, "NaN or infinite"),
    ],
)
def test_bad_spectrograms_are_refused(mel: torch.Tensor, count: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        griffin_lim(mel, MEL, RATE, generators=[torch.Generator() for _ in range(count)])
