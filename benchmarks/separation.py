"""Separation by CLIPSep of full size with random weights, against the published loop on the same ones.

The peer is written the way that program works: for every query the recording is transformed by librosa, tiled
to whole windows, sent through the network in one piece, masked with zeros and ones and transformed back. It
computes with our layers, laid out in memory as PyTorch does by default. Further rows: seconds of
computing for seconds of sound, front ends against librosa and torchaudio, and the memory of one hour.

Reference: sony/CLIPSep, ``infer.py`` and ``dataset.py``.
"""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..core.audio_config import MelProcessing
from ..core.config import ModelConfig, ProcessorConfig
from ..core.errors import require
from ..core.processing import Processor
from ..core.spectrogram import log_mel
from ..domains.audio.clipsep.model import ClipSep
from ..domains.audio.clipsep.reference_inference import separate_as_published
from ..domains.audio.clipsep.spectra import Spectra
from ..domains.audio.tasks.separation import AudioSeparator
from ..domains.audio.tasks.separation_queries import Questions
from ..facade import Model
from .memory import memory_row, total_peak_mib
from .runner import Workload, require_at_least

RATE = 16_000
LEAST_SNR_DB = 35.0
"""A bin whose mask is at the threshold up to rounding may fall on either side."""
HOUR_LIMIT_MIB = 1024
_MEL: dict[str, Any] = {"n_fft": 1024, "hop_length": 320, "n_mels": 64, "f_min": 50.0}


def build(*, ngf: int = 64) -> Model:
    """Return CLIPSep with seeded random weights that take query vectors; of published size at 64."""
    torch.manual_seed(0)
    config = ModelConfig.model_validate(
        {
            "name": "clipsep",
            "domain": "audio",
            "architecture": "clipsep",
            "embed_dim": 0,
            "options": {"ngf": ngf},
        }
    )
    network = ClipSep(config).eval()
    for module in network.separator.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            module.reset_parameters()
    return Model(network, Processor(ProcessorConfig()))


def make_wave(seconds: float) -> np.ndarray:
    """Return seeded sound float32 [T]: tones over noise, no digital silence."""
    rng = np.random.default_rng(0)
    time_s = np.arange(round(seconds * RATE)) / RATE
    tones = sum(np.sin(2 * np.pi * hz * time_s + hz) for hz in (180.0, 640.0, 2210.0))
    return (0.05 * tones + 0.02 * rng.standard_normal(len(time_s))).astype(np.float32)


def make_queries(count: int) -> torch.Tensor:
    """Return seeded query vectors float32 [count, 512], of the length that CLIP gives."""
    return 10 * torch.nn.functional.normalize(
        torch.randn(count, 512, generator=torch.Generator().manual_seed(1)), dim=1
    )


def plain_layout(network: ClipSep) -> ClipSep:
    """Return a copy whose weights lie as PyTorch lays them out."""
    return copy.deepcopy(network).to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]


@torch.no_grad()
def published_loop(network: ClipSep, wave: np.ndarray, queries: torch.Tensor) -> np.ndarray:
    """Return the targets float32 [Q, T], query after query."""
    librosa: Any = require("librosa", extra="bench")
    spectra, window = network.spectra, network.options.window_samples
    framing = {"hop_length": spectra.hop_length, "win_length": spectra.win_length}
    found = []
    for query in queries:
        length = window * (len(wave) // window + 1)
        tiled = np.clip(np.tile(wave, -(-length // len(wave)))[:length], -1.0, 1.0)
        spectrum = librosa.stft(tiled, n_fft=spectra.n_fft, pad_mode="constant", **framing)
        magnitude, phase = np.abs(spectrum), np.angle(spectrum)
        _, shown = spectra.log_magnitude(torch.from_numpy(magnitude)[None, None])
        mask = spectra.unwarp(network.masks(shown, query[None]))[0, 0].numpy()
        masked = (mask > 0.5) * magnitude * np.exp(1j * phase)
        estimate = librosa.istft(masked.astype(np.complex64), n_fft=spectra.n_fft, length=length, **framing)
        found.append(np.clip(estimate, -1.0, 1.0)[: len(wave)])
    return np.stack(found)


def ours(model: Model, wave: np.ndarray, queries: torch.Tensor, *, overlap: float = 0.5) -> torch.Tensor:
    """Return the targets float32 [Q, T] as users get them: overlapping windows, any length, soft masks."""
    asked = Questions.of(model, list(queries), overlap=overlap)
    return AudioSeparator(model, asked).separate(wave, array_rate=RATE).targets[:, 0]


def check(model: Model, wave: np.ndarray, queries: torch.Tensor) -> dict[str, float]:
    """Return the least signal-to-noise ratio between our published path and the peer."""
    network: Any = model.network
    mine = separate_as_published(network, torch.from_numpy(wave), queries).waves.numpy()
    theirs = published_loop(plain_layout(network), wave, queries)[:, : mine.shape[1]]
    noise = np.square(mine - theirs).sum(axis=1).clip(min=1e-20)
    figures = {"least_snr_db": float(10 * np.log10(np.square(theirs).sum(axis=1) / noise).min())}
    return dict(require_at_least(figures, least_snr_db=LEAST_SNR_DB))


def workloads(quick: bool = False) -> Iterator[Workload]:
    """Yield separation against the published loop, and front ends against librosa and torchaudio."""
    require("librosa", extra="bench")
    model = build(ngf=16 if quick else 64)
    network: Any = model.network
    other = plain_layout(network)
    size = "a quarter of the width" if quick else "full size"
    wave = make_wave(4.0 if quick else 8.0)
    one, many = make_queries(1), make_queries(4 if quick else 16)
    seconds = len(wave) / RATE
    yield Workload(
        f"separation as published, 1 query, {seconds:g} s, {size}",
        partial(separate_as_published, network, torch.from_numpy(wave), one),
        partial(published_loop, other, wave, one),
        "sony/CLIPSep's loop",
        1.5,
        partial(check, model, wave, one),
    )
    yield Workload(
        f"separation, {len(many)} queries, {seconds:g} s, {size}",
        partial(ours, model, wave, many),
        partial(published_loop, other, wave, many),
        "sony/CLIPSep's loop",
        1.5,
        note="ours in windows that overlap by half: twice the network's work for one query",
    )
    yield Workload(
        f"separation, 1 query, no overlap, {seconds:g} s, {size}",
        partial(ours, model, wave, one, overlap=0.0),
        partial(published_loop, other, wave, one),
        "sony/CLIPSep's loop",
        1.2,
    )
    yield Workload(
        f"separation, 1 query, overlap of half, {seconds:g} s, {size}",
        partial(ours, model, wave, one),
        partial(published_loop, other, wave, one),
        "sony/CLIPSep's loop",
        0.9,
        note="the default: every frame is seen in two windows, which the published loop does not do",
    )
    yield from _front_ends(quick)


def _front_ends(quick: bool) -> Iterator[Workload]:
    librosa: Any = require("librosa", extra="bench")
    waves = np.stack([make_wave(5.0)] * (4 if quick else 16))
    batch, spectra, mel = torch.from_numpy(waves), Spectra(), MelProcessing(**_MEL)

    def by_librosa() -> list[np.ndarray]:
        return [librosa.stft(wave, n_fft=1024, hop_length=256, pad_mode="constant") for wave in waves]

    def mel_by_librosa() -> list[np.ndarray]:
        options = {"n_fft": 1024, "hop_length": 320, "n_mels": 64, "fmin": 50.0, "pad_mode": "reflect"}
        return [
            librosa.power_to_db(librosa.feature.melspectrogram(y=wave, sr=RATE, **options), top_db=None)
            for wave in waves
        ]

    def same(mine: np.ndarray, theirs: list[np.ndarray], what: str) -> dict[str, float]:
        noise = np.square(np.abs(mine - np.stack(theirs))).sum()
        power = np.square(np.abs(np.stack(theirs))).sum()
        return dict(require_at_least({what: float(10 * np.log10(power / max(noise, 1e-30)))}, **{what: 60.0}))

    yield Workload(
        f"STFT of {len(waves)} x 5 s",
        partial(spectra.stft, batch),
        by_librosa,
        "librosa",
        0.8,
        lambda: same(spectra.stft(batch).numpy(), by_librosa(), "snr_db"),
        note="both in float64 inside, so that rounding of loud frames does not fill silent ones",
    )
    yield Workload(
        f"log-mel of {len(waves)} x 5 s",
        partial(log_mel, batch, mel, RATE),
        mel_by_librosa,
        "librosa",
        1.5,
        lambda: same(log_mel(batch, mel, RATE).transpose(1, 2).numpy(), mel_by_librosa(), "snr_db"),
    )
    transforms: Any = require("torchaudio.transforms", extra="bench")
    options = {
        "n_fft": 1024,
        "hop_length": 320,
        "n_mels": 64,
        "f_min": 50.0,
        "norm": "slaney",
        "mel_scale": "slaney",
    }
    theirs = torch.nn.Sequential(
        transforms.MelSpectrogram(RATE, **options), transforms.AmplitudeToDB("power")
    )
    yield Workload(
        f"log-mel of {len(waves)} x 5 s, batched",
        partial(log_mel, batch, mel, RATE),
        partial(theirs, batch),
        "torchaudio",
        0.8,
        lambda: same(
            log_mel(batch, mel, RATE).transpose(1, 2).numpy(), list(theirs(batch).numpy()), "snr_db"
        ),
    )


def extra_rows(quick: bool = False) -> Iterator[dict[str, Any]]:
    """Yield rows of computing time per second of sound, and of the memory that an hour takes."""
    yield realtime_row(4.0 if quick else 20.0, ngf=16 if quick else 64)
    minutes = 2 if quick else 60
    row = memory_row(
        "verticlip.benchmarks.separation",
        minutes,
        name=f"peak memory of separating a file of {minutes} minutes",
        peer_name=f"the limit of {HOUR_LIMIT_MIB} MiB",
        gate=1.0,
    )
    yield row


def realtime_row(seconds: float, *, ngf: int) -> dict[str, Any]:
    """Return a row that compares the computing time of one query with the length of the sound."""
    model, wave, query = build(ngf=ngf), make_wave(seconds), make_queries(1)
    ours(model, wave[: RATE * 2], query)
    taken = []
    for _ in range(3):
        start = time.process_time()
        ours(model, wave, query)
        taken.append(time.process_time() - start)
    median = sorted(taken)[1]
    numbers = {"median": median, "min": min(taken), "max": max(taken)}
    length = {"median": seconds, "min": seconds, "max": seconds}
    ratio = seconds / median
    return {
        "name": f"separation of {seconds:g} s, 1 query, one thread",
        "peer_name": "real time",
        "unit": "s",
        "ours": numbers,
        "peer": length,
        "ratio": ratio,
        "ratio_min": seconds / max(taken),
        "ratio_max": seconds / min(taken),
        "gate": 1.0,
        "passed": ratio >= 1.0,
        "note": f"real-time factor {median / seconds:.3f}",
    }


def peak_memory(variant: str, minutes: int) -> float:
    """Return the peak resident memory in MiB of separating a file of ``minutes``, or the limit.

    With a network of a sixteenth of the width: what grows with the length of a file is not in it.
    """
    if variant == "peer":
        return HOUR_LIMIT_MIB
    from ..domains.audio.loaders.writing import AudioWriter

    torch.set_num_threads(1)
    model = build(ngf=4)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.wav"
        block = make_wave(60.0)
        with AudioWriter(path, RATE) as writer:
            for _ in range(minutes):
                writer.write(block)
        separator = AudioSeparator.of(model, list(make_queries(2)))
        separator.to_files(path, folder)
        return total_peak_mib()
