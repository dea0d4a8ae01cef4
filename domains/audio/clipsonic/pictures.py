"""A generated mel spectrogram as a picture."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ....core.plots import new_figure, plain_title, save_figure
from ....core.spectrogram import hz_to_mel, mel_to_hz
from .options import TargetConfig

_DB = 20 / 2.302585092994046
"""Decibels of a natural logarithm of magnitudes."""
_RANGE_DB = 80.0
_TICKS = (125, 250, 500, 1000, 2000, 4000, 8000, 16000)


def save_mel_picture(
    log_mel: Tensor, config: TargetConfig, path: str | Path, *, title: str, note: str = ""
) -> None:
    """Write a log-mel spectrogram float32 [F, T] as PNG: time to the right, mel upwards, decibels as colour.

    Args:
        log_mel: natural logarithm of mel magnitudes.
        config: gives times and frequencies.
        path: file to write.
        title: line above, such as the prompt. note: smaller, below.
    """
    values = log_mel.detach().cpu().float() * _DB
    values = values - values.max()
    seconds = values.shape[1] * config.mel.hop_length / config.sampling_rate
    figure, axes = new_figure(8.0, 3.6)
    low = hz_to_mel(torch.tensor([config.mel.f_min]), scale=config.mel.scale)
    top = config.mel.f_max or config.sampling_rate / 2
    high = hz_to_mel(torch.tensor([top]), scale=config.mel.scale)
    image = axes.imshow(
        values.numpy(),
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=-_RANGE_DB,
        vmax=0.0,
        extent=(0.0, seconds, float(low), float(high)),
    )
    bottom = float(mel_to_hz(low, scale=config.mel.scale))
    ticks = [hz for hz in _TICKS if bottom < hz <= top]
    places = hz_to_mel(torch.tensor([float(hz) for hz in ticks]), scale=config.mel.scale).tolist()
    axes.set_yticks(places, [f"{hz / 1000:g}k" if hz >= 1000 else f"{hz}" for hz in ticks])
    axes.set_xlabel("seconds")
    axes.set_ylabel("Hz, mel scale")
    axes.set_title(plain_title(title, 70), loc="left", fontsize=12)
    bar = figure.colorbar(image, ax=axes, pad=0.02)
    bar.set_label("dB below the loudest")
    if note:
        figure.text(0.99, 0.01, plain_title(note, 110), ha="right", va="bottom", fontsize=7, color="#777777")
    save_figure(figure, path)
