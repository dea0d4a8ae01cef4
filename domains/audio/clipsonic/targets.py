"""Between waveforms, logarithmic mel spectrograms and the values that the diffusion works on."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ....core.audio_config import MelProcessing
from ....core.errors import InputError
from ....core.spectrogram import log_mel
from .griffin_lim import griffin_lim
from .model import ClipSonic
from .options import TargetConfig


class Vocoder(Protocol):
    """What makes waveforms of log-mels, such as :class:`~.bigvgan.BigVgan`."""

    @property
    def mel(self) -> MelProcessing:
        """The spectrogram it takes."""
        ...

    @property
    def sampling_rate(self) -> int:
        """Hz."""
        ...

    def synthesize(self, mel: Tensor) -> Tensor:
        """Return waveforms float32 [B, 1, T] of log-mels float32 [B, n_mels, frames]."""
        ...


def to_targets(log_mels: Tensor, config: TargetConfig) -> Tensor:
    """Return values in [-1, 1] of natural logarithms of mel magnitudes, of the same shape."""
    return (2.0 * (log_mels - config.low) / (config.high - config.low) - 1.0).clamp(-1.0, 1.0)


def to_log_mels(targets: Tensor, config: TargetConfig) -> Tensor:
    """Return the natural logarithms of mel magnitudes that ``targets`` stand for."""
    return config.low + (targets + 1.0) / 2.0 * (config.high - config.low)


def wave_targets(waves: Tensor, config: TargetConfig) -> Tensor:
    """Return targets float32 [B, F, T // hop] of waveforms float32 [B, T] at the target's rate."""
    return to_targets(log_mel(waves, config.mel, config.sampling_rate).transpose(1, 2), config)


def check_vocoder(vocoder: Vocoder, config: TargetConfig, *, name: str = "The vocoder") -> None:
    """Raise ``InputError`` where a vocoder takes other spectrograms than a model makes."""
    if vocoder.sampling_rate != config.sampling_rate:
        raise InputError(
            f"{name} works at {vocoder.sampling_rate} Hz and the model at {config.sampling_rate} Hz. Leave "
            "the vocoder out, or choose one for this rate."
        )
    theirs, ours = vocoder.mel.model_dump(), config.mel.model_dump()
    for mel, rate in ((theirs, vocoder.sampling_rate), (ours, config.sampling_rate)):
        mel["f_max"] = mel["f_max"] or rate / 2
        mel["win_length"] = mel["win_length"] or mel["n_fft"]
    wrong = [key for key in ours if ours[key] != theirs[key]]
    if wrong:
        key = wrong[0]
        raise InputError(
            f"{name} takes spectrograms with {key} {theirs[key]}, and this model makes them with "
            f"{ours[key]}. Leave the vocoder out, or choose one that fits."
        )


@torch.inference_mode()
def to_waves(
    network: ClipSonic,
    targets: Tensor,
    *,
    generators: list[torch.Generator],
    vocoder: Vocoder | None = None,
) -> Tensor:
    """Return waveforms float32 [B, frames * hop] for targets float32 [B, F, frames], as a vocoder gives them.

    Args:
        network: gives the vocoder, unless ``vocoder`` does.
        generators: one per row, on the CPU, for phases that are searched.
    """
    config = network.options.target
    log_mels = to_log_mels(targets, config)
    if vocoder is not None:
        return vocoder.synthesize(log_mels)[:, 0]
    if network.vocoder is not None:
        return torch.cat(list(network.vocoder.stream(log_mels)), dim=-1)[:, 0].float()
    settings = network.options.vocoder
    return griffin_lim(
        log_mels,
        config.mel,
        config.sampling_rate,
        generators=generators,
        iterations=settings.iterations,
        momentum=settings.momentum,
    )


def level_safely(waves: Tensor) -> tuple[Tensor, Tensor]:
    """Return waves [B, T] without constant offset and with no peak over 1, and the gains float32 [B] used.

    A gain is 1 where nothing was too loud: quiet sounds stay quiet.
    """
    waves = waves - waves.mean(dim=-1, keepdim=True)
    # Rounding must not put the peak back over full scale.
    gains = (0.999 / waves.abs().amax(dim=-1).clamp(min=1e-8)).clamp(max=1.0)
    return waves * gains[:, None], gains
