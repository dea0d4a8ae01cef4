"""Random changes of training recordings and of their spectrograms; seeded, many at a time.

Everything is drawn from the generator that is passed, so equal seeds give equal tensors. Filters and changes
of speed wrap around at the end of the window: what a network pools over time does not care where it starts.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from .audio_config import AudioAugmentConfig

_QUIET = 1e-5
"""Root mean square below which a recording counts as silence (-100 dB)."""
_TILT_POINTS = 7
_CROP_CHOICES = 24


def augment_audio(
    waves: Tensor,
    config: AudioAugmentConfig,
    sampling_rate: int,
    *,
    generator: torch.Generator,
    labels: Tensor | None = None,
) -> Tensor:
    """Return changed recordings float32 [B, T].

    In this order: another recording of the same class on top, a part repeated over the window, speed and
    circular shift, filter and bandwidth, other recordings in the background, noise, level.

    Args:
        waves: float32 [B, T] in [-1, 1]; not written to.
        config: which changes, and how strong.
        sampling_rate: Hz.
        generator: source of all randomness.
        labels: int64 [B] class of each row; without them nothing is mixed within a class.
    """
    if config.mix and labels is not None:
        waves = _mix_same_class(waves, labels, config.mix, generator)
    if config.crop:
        waves = _crop(waves, config, sampling_rate, generator)
    if config.speed or config.shift:
        waves = _speed_and_shift(waves, config, generator)
    if config.tilt_db or config.lowpass:
        waves = _filter(waves, config, sampling_rate, generator)
    if config.background and len(waves) > 1:
        waves = _background(waves, config, generator)
    if config.noise:
        waves = _noise(waves, config, generator)
    if config.gain_db:
        gains = _uniform(len(waves), -config.gain_db, config.gain_db, generator)
        waves = waves * _amplitude(gains)[:, None]
    return waves


def augment_features(features: Tensor, config: AudioAugmentConfig, *, generator: torch.Generator) -> Tensor:
    """Return spectrograms float32 [B, frames, bins] with bands of time and frequency set to the row's mean.

    Reference:
        Park et al. 2019, SpecAugment: masks of uniformly drawn width.
    """
    if not (config.time_masks or config.frequency_masks):
        return features
    hidden = torch.zeros(features.shape, dtype=torch.bool)
    for _ in range(config.time_masks):
        hidden |= _band(len(features), features.shape[1], config.time_mask, generator)[:, :, None]
    for _ in range(config.frequency_masks):
        hidden |= _band(len(features), features.shape[2], config.frequency_mask, generator)[:, None, :]
    return torch.where(hidden, features.mean(dim=(1, 2), keepdim=True), features)


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)


def _chosen(count: int, share: float, generator: torch.Generator) -> Tensor:
    """Return the indices of the rows that get a change."""
    return (torch.rand(count, generator=generator) < share).nonzero()[:, 0]


def _amplitude(decibels: Tensor) -> Tensor:
    return 10.0 ** (decibels / 20.0)


def _level(waves: Tensor) -> Tensor:
    """Return the root mean square [B] of each row."""
    return waves.square().mean(dim=1).sqrt()


def _add(waves: Tensor, rows: Tensor, others: Tensor, decibels: Tensor) -> Tensor:
    """Return waves with ``others`` [R, T] added to ``rows`` at ``decibels`` [R] relative to each row's level.

    Silence stays silence: there is no level to add to.
    """
    own, other = _level(waves[rows]), _level(others)
    scale = torch.where(other > _QUIET, own / other.clamp(min=_QUIET), torch.zeros(())) * _amplitude(decibels)
    return waves.index_put((rows,), waves[rows] + others * scale[:, None])


def _mix_same_class(waves: Tensor, labels: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Put another row of the same label on top, up to 12 dB below it; rows without one stay as they are."""
    rows = _chosen(len(waves), share, generator)
    order = torch.rand(len(rows), len(waves), generator=generator)
    allowed = (labels[rows][:, None] == labels[None]) & (rows[:, None] != torch.arange(len(waves))[None])
    levels = _uniform(len(rows), -12.0, 0.0, generator)
    found = allowed.any(dim=1)
    partners = (order * allowed).argmax(dim=1)[found]
    if not len(partners):
        return waves
    shift = torch.randint(waves.shape[1], (len(partners),), generator=generator)
    others = torch.stack([waves[row].roll(int(by)) for row, by in zip(partners, shift, strict=True)])
    return _add(waves, rows[found], others, levels[found])


def _crop(
    waves: Tensor, config: AudioAugmentConfig, sampling_rate: int, generator: torch.Generator
) -> Tensor:
    """Cut some rows to a part and repeat that as often as it fits; louder parts are likelier."""
    count, length = waves.shape
    rows = _chosen(count, config.crop, generator)
    low, high = (math.log(seconds * sampling_rate) for seconds in config.crop_s)
    sizes = _uniform(len(rows), low, high, generator).exp().round().long().clamp(1, length)
    gaps = (_uniform(len(rows), 0.0, config.crop_gap, generator) * sizes).long()
    changed = waves.clone()
    for row, size, gap in zip(rows.tolist(), sizes.tolist(), gaps.tolist(), strict=True):
        starts = torch.randint(length - size + 1, (_CROP_CHOICES,), generator=generator)
        power = F.pad(waves[row].square().double().cumsum(0), (1, 0))
        weight = (power[starts + size] - power[starts]).clamp(min=0.0).sqrt() + 1e-9
        start = int(starts[torch.multinomial(weight, 1, generator=generator)])
        part = F.pad(waves[row, start : start + size], (0, gap))[:length]
        copies = part.repeat(length // len(part))
        changed[row] = F.pad(copies, (0, length - len(copies)))
    return changed


def _speed_and_shift(waves: Tensor, config: AudioAugmentConfig, generator: torch.Generator) -> Tensor:
    """Read each row from a random place at a random speed, linearly interpolated, around the end."""
    count, length = waves.shape
    factors = _uniform(count, -config.speed, config.speed, generator).exp().double()
    starts = (_uniform(count, -config.shift, config.shift, generator) * length).double()
    if not config.speed:
        rolls = starts.round().long().tolist()
        return torch.stack([row.roll(by) for row, by in zip(waves, rolls, strict=True)])
    steps = torch.arange(length, dtype=torch.float64)
    changed = torch.empty_like(waves)
    for row in range(count):
        places = (starts[row] + factors[row] * steps) % length
        before = places.long().clamp(max=length - 1)
        after = (before + 1) % length
        changed[row] = torch.lerp(waves[row][before], waves[row][after], (places - before).float())
    return changed


def _filter(
    waves: Tensor, config: AudioAugmentConfig, sampling_rate: int, generator: torch.Generator
) -> Tensor:
    """Filter each row by a smooth random curve, and cut the highs of some of them."""
    count, length = waves.shape
    bins = length // 2 + 1
    curve = torch.zeros(count, bins)
    if config.tilt_db:
        # Control points are even over log frequency from 50 Hz up: a curve of an octave or so.
        points = _uniform(count * _TILT_POINTS, -config.tilt_db, config.tilt_db, generator)
        hz = torch.linspace(0.0, sampling_rate / 2, bins).clamp(min=50.0)
        places = (hz / 50.0).log() / math.log(sampling_rate / 100.0) * (_TILT_POINTS - 1)
        before = places.long().clamp(max=_TILT_POINTS - 2)
        points = points.view(count, _TILT_POINTS)
        curve = torch.lerp(points[:, before], points[:, before + 1], (places - before)[None])
    rows = _chosen(count, config.lowpass, generator)
    low, high = (math.log(hz) for hz in config.lowpass_hz)
    edges = _uniform(len(rows), low, high, generator).exp()
    hz = torch.linspace(0.0, sampling_rate / 2, bins)
    # 72 dB an octave above the edge, no further than -90 dB.
    drop = (-72.0 * (hz[None] / edges[:, None]).clamp(min=1.0).log2()).clamp(min=-90.0)
    curve = curve.index_put((rows,), curve[rows] + drop)
    return torch.fft.irfft(torch.fft.rfft(waves) * _amplitude(curve), n=length)


def _background(waves: Tensor, config: AudioAugmentConfig, generator: torch.Generator) -> Tensor:
    """Add another row of the batch, whatever its class, well below some rows."""
    count = len(waves)
    rows = _chosen(count, config.background, generator)
    steps = torch.randint(1, count, (len(rows),), generator=generator)
    low, high = config.background_db
    return _add(waves, rows, waves[(rows + steps) % count], -_uniform(len(rows), low, high, generator))


def _noise(waves: Tensor, config: AudioAugmentConfig, generator: torch.Generator) -> Tensor:
    """Add noise whose power falls with frequency by 0 (white) to 6 dB an octave (brown)."""
    rows = _chosen(len(waves), config.noise, generator)
    if not len(rows):
        return waves
    length = waves.shape[1]
    slopes = _uniform(len(rows), 0.0, 1.0, generator)
    white = torch.fft.rfft(torch.randn(len(rows), length, generator=generator))
    ramp = torch.arange(white.shape[1]).clamp(min=1)[None] ** -slopes[:, None]
    low, high = config.noise_db
    noise = torch.fft.irfft(white * ramp, n=length)
    return _add(waves, rows, noise, -_uniform(len(rows), low, high, generator))


def _band(count: int, size: int, share: float, generator: torch.Generator) -> Tensor:
    """Return a mask bool [count, size] of one band per row, up to ``share`` of the size wide."""
    widths = (torch.rand(count, generator=generator) * share * size).round()
    starts = (torch.rand(count, generator=generator) * (size - widths + 1)).floor()
    places = torch.arange(size)[None]
    return (places >= starts[:, None]) & (places < (starts + widths)[:, None])
