"""Levels: peak, root mean square, and loudness as broadcasters measure it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ....core.errors import ConfigError, InputError, nearest, require

TARGETS = {"peak": 1.0, "rms": 0.1, "lufs": -23.0}
"""Largest magnitude; root mean square (-20 dB below full scale); LUFS (EBU R 128)."""
_BLOCK_S, _OVERLAP = 0.4, 0.75
_ABSOLUTE_GATE, _RELATIVE_GATE = -70.0, -10.0
_SHELF_HZ = 1681.974450955533
"""Middle of the high shelf of the K-weighting."""


def loudness(waves: Tensor, rate: int) -> float:
    """Return the integrated loudness in LUFS of a recording, minus infinity for silence.

    Samples that are not finite give NaN. Every channel counts the same, as the standard has it for left,
    right and centre.

    Args:
        waves: float32 [C, T].
        rate: Hz.

    Raises:
        InputError: shorter than the 0.4 s that the standard measures over, or at a rate so low that
            the filter of the standard lies above half of it.

    Reference: ITU-R BS.1770-4, annex 1.
    """
    block, samples = round(_BLOCK_S * rate), waves.shape[-1]
    if samples < block:
        raise InputError(
            f"Loudness is measured over blocks of {_BLOCK_S} s; the recording has {samples / rate:.3g} s. "
            "Use normalize='rms' or 'peak' for short recordings."
        )
    if rate <= 2 * _SHELF_HZ:
        raise InputError(
            f"Loudness is not defined at {rate} Hz: it weighs tones around {_SHELF_HZ:.0f} Hz, which need a "
            f"rate over {2 * _SHELF_HZ:.0f} Hz. Use normalize='rms' or 'peak'."
        )
    signal = require("scipy.signal", extra="audio")
    weighted = waves.detach().double().cpu().numpy()
    for numerator, denominator in _k_weighting(rate):
        weighted = signal.lfilter(numerator, denominator, weighted, axis=-1)
    power = torch.from_numpy(weighted).square()
    hop = _BLOCK_S * (1 - _OVERLAP) * rate
    count = round((samples / rate - _BLOCK_S) / (_BLOCK_S * (1 - _OVERLAP))) + 1
    starts = [int(index * hop) for index in range(count)]
    blocks = torch.stack([power[:, start : start + block].sum(dim=-1).sum() / block for start in starts])
    if not torch.isfinite(blocks).all():
        return math.nan
    heard = blocks[_lufs(blocks) > _ABSOLUTE_GATE]
    if not len(heard):
        return -math.inf
    heard = heard[_lufs(heard) > float(_lufs(heard.mean())) + _RELATIVE_GATE]
    return float(_lufs(heard.mean()))


def _lufs(power: Tensor) -> Tensor:
    return -0.691 + 10.0 * power.log10()


def _k_weighting(rate: int) -> list[tuple[list[float], list[float]]]:
    """Return the high shelf and the high pass of the standard at any rate, as (numerator, denominator).

    The standard tabulates them at 48 kHz; these are the analogue prototypes that give its table there. The
    table's high pass has a gain of 1.005, which is kept at other rates.
    """
    shelf_gain, shelf_q = 3.999843853973347, 0.7071752369554196
    pass_q, pass_hz = 0.5003270373238773, 38.13547087602444
    k = math.tan(math.pi * _SHELF_HZ / rate)
    high, band = 10 ** (shelf_gain / 20), 10 ** (shelf_gain / 20 * 0.4996667741545416)
    scale = 1 + k / shelf_q + k * k
    shelf = (
        [
            (high + band * k / shelf_q + k * k) / scale,
            2 * (k * k - high) / scale,
            (high - band * k / shelf_q + k * k) / scale,
        ],
        [1.0, 2 * (k * k - 1) / scale, (1 - k / shelf_q + k * k) / scale],
    )
    k, k_48 = (math.tan(math.pi * pass_hz / hz) for hz in (rate, 48_000))
    scale = 1 + k / pass_q + k * k
    gain = (1 + k_48 / pass_q + k_48 * k_48) / scale
    cut = ([gain, -2.0 * gain, gain], [1.0, 2 * (k * k - 1) / scale, (1 - k / pass_q + k * k) / scale])
    return [shelf, cut]


def check_normalize(normalize: str | None) -> None:
    """Raise ConfigError for an unknown kind of level."""
    if normalize is not None and normalize not in TARGETS:
        raise ConfigError(
            f"Unknown normalize {normalize!r}; known: {', '.join(TARGETS)}.{nearest(normalize, TARGETS)}"
        )


def set_level(waves: Tensor, rate: int, *, normalize: str) -> tuple[Tensor, float]:
    """Return (waves at the target level, gain in dB); silence stays as it is, with a gain of 0.

    Peaks above 1 that ``rms`` and ``lufs`` may give are kept: clipping is for whoever writes 16 bits.

    Args:
        waves: float32 [C, T].
        rate: Hz.
        normalize: ``peak``, ``rms`` or ``lufs``; see :data:`TARGETS`.

    Raises:
        InputError: as :func:`loudness`, or samples that are not finite.
    """
    check_normalize(normalize)
    target = TARGETS[normalize]
    if normalize == "lufs":
        level_db = loudness(waves, rate)
        if level_db == -math.inf:
            return waves, 0.0
        gain = 10 ** ((target - level_db) / 20)
    else:
        level = float(waves.abs().max() if normalize == "peak" else waves.double().square().mean().sqrt())
        if not level:
            return waves, 0.0
        gain = target / level
    # Written so that NaN is refused as well.
    if not 0 < gain < torch.finfo(torch.float32).max:
        raise InputError("The recording has no level that could be set. Repair it, or leave normalize out.")
    return waves * gain, 20 * math.log10(gain)
