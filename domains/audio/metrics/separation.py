"""How close separated sound is to the true sources: SDR, ISR, SIR, SAR and scale-invariant SDR, in dB."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ....core.errors import ConfigError, InputError

Signals = NDArray[np.float64]
SILENCE = 1e-5
"""Signals whose absolute values sum to at most this hold nothing to measure."""


def is_silent(signals: ArrayLike) -> NDArray[np.bool_]:
    """Return for signals [..., n] which of them hold nothing; bool [...]."""
    return np.abs(_signals(signals, "signals")).sum(axis=-1) <= SILENCE


def plain_sdr(references: ArrayLike, estimates: ArrayLike) -> NDArray[np.float64]:
    """Return 10 log10(|s|^2 / |s - e|^2) in dB of sources s and estimates e [..., n]; float64 [...].

    Not scale invariant. The SDR of BSS Eval version 4 without framing is the same number. A silent
    reference gives NaN, an exact estimate infinity.
    """
    reference, estimate = _pair(references, estimates)
    return _decibels(_energy(reference), _energy(reference - estimate), undefined=_energy(reference) == 0)


def si_sdr(references: ArrayLike, estimates: ArrayLike, *, zero_mean: bool = False) -> NDArray[np.float64]:
    """Return the scale-invariant SDR in dB of sources and estimates [..., n]; float64 [...].

    With a = <e, s> / <s, s> it is 10 log10(|a s|^2 / |e - a s|^2). A silent reference gives NaN, a silent
    estimate minus infinity.

    Args:
        references: true sources.
        estimates: what was separated.
        zero_mean: take the mean of every signal away first.

    Reference: Le Roux et al. 2019, arXiv 1811.02508, equation 5.
    """
    reference, estimate = _pair(references, estimates)
    if zero_mean:
        reference = reference - reference.mean(axis=-1, keepdims=True)
        estimate = estimate - estimate.mean(axis=-1, keepdims=True)
    energy = _energy(reference)
    gain = np.divide((reference * estimate).sum(axis=-1), energy, out=np.zeros_like(energy), where=energy > 0)
    target = gain[..., None] * reference
    return _decibels(_energy(target), _energy(estimate - target), undefined=energy == 0)


def bss_eval(
    references: ArrayLike,
    estimates: ArrayLike,
    *,
    filter_length: int = 512,
    version: Literal[3, 4] = 4,
) -> dict[str, NDArray[np.float64]]:
    """Return SDR, SIR, SAR and (version 4) ISR of estimates over their whole length, float64 [S] in dB.

    Estimate j belongs to reference j; no other pairing is tried. Each estimate is projected on delays of
    0 to ``filter_length`` - 1 samples of its own reference and of all references; what its own reference
    explains is target (version 3, "sources") or target plus a spatial error (version 4, "images"), what only
    the others explain is interference, and the rest is artifact. In version 4 the SDR is :func:`plain_sdr`.

    A row whose reference or estimate is silent is NaN, and a silent reference explains nothing to others.

    Args:
        references: true sources [S, n].
        estimates: what was separated [S, n].
        filter_length: taps of the distortion that is allowed.
        version: 3 or 4.

    Raises:
        InputError: shapes differ, values are not finite, or the signals are shorter than the filters.
        ConfigError: there is no such version or filter length.

    Reference: Vincent, Gribonval and Fevotte 2006; Stoter, Liutkus and Ito 2018 (version 4).
    """
    reference, estimate = _pair(references, estimates)
    if version not in (3, 4):
        raise ConfigError(f"version must be 3 (sources) or 4 (images), got {version}.")
    if filter_length < 1:
        raise ConfigError(f"filter_length must be at least 1, got {filter_length}.")
    if reference.ndim != 2 or reference.shape[-1] < filter_length:
        raise InputError(
            f"bss_eval needs signals [sources, samples] of at least {filter_length} samples, "
            f"got {list(reference.shape)}. Pass longer signals or a smaller filter_length."
        )
    silent = is_silent(reference)
    rows = np.flatnonzero(~silent & ~is_silent(estimate))
    names = ("sdr", "isr", "sir", "sar") if version == 4 else ("sdr", "sir", "sar")
    result = {name: np.full(len(reference), np.nan) for name in names}
    if not len(rows):
        return result
    projections = _Projections(reference[~silent], filter_length)
    position = np.cumsum(~silent) - 1
    every = projections.project(estimate[rows], None)
    for row, explained in zip(rows, every, strict=True):
        own = projections.project(estimate[row : row + 1], int(position[row]))[0]
        parts = _ratios(reference[row], estimate[row], own, explained, version=version)
        for name in names:
            result[name][row] = parts[name]
    return result


def _ratios(
    source: Signals, estimate: Signals, own: Signals, explained: Signals, *, version: int
) -> dict[str, float]:
    """Return the ratios of one estimate, given its projections on its own and on all references."""
    tail = (0, len(own) - len(source))
    source, estimate = np.pad(source, tail), np.pad(estimate, tail)
    spatial, interference, artifact = own - source, explained - own, estimate - explained
    target = source if version == 4 else own
    return {
        "sdr": _ratio(target, estimate - target),
        "isr": _ratio(source, spatial),
        "sir": _ratio(own, interference),
        "sar": _ratio(explained, artifact),
    }


class _Projections:
    """Least-squares projections of signals on delayed copies of references [S, n]."""

    def __init__(self, references: Signals, taps: int) -> None:
        self.count, self.samples = references.shape
        self.taps = taps
        self.size = 1 << (self.samples + taps - 2).bit_length()
        self.spectra = np.fft.rfft(references, self.size)
        lags = np.subtract.outer(np.arange(taps), np.arange(taps))
        gram = np.empty((self.count, taps, self.count, taps))
        for i in range(self.count):
            for j in range(self.count):
                # r[a - b]: reference i delayed by a samples against reference j delayed by b.
                gram[i, :, j, :] = np.fft.irfft(self.spectra[i].conj() * self.spectra[j], self.size)[lags]
        self.gram = gram

    def project(self, estimates: Signals, only: int | None) -> Signals:
        """Return projections [E, n + taps - 1] of estimates [E, n] on one reference, or on all."""
        chosen = slice(None) if only is None else slice(only, only + 1)
        spectra = self.spectra[chosen]
        rank = len(spectra) * self.taps
        gram = self.gram[chosen, :, chosen, :].reshape(rank, rank)
        estimated = np.fft.rfft(estimates, self.size)
        correlations = np.fft.irfft(spectra.conj() * estimated[:, None], self.size)[..., : self.taps]
        right = correlations.reshape(len(estimates), rank).T
        regular = gram + np.finfo(np.float64).eps * np.eye(rank)
        try:
            taps = np.linalg.solve(regular, right)
        except np.linalg.LinAlgError:
            # Two references are the same up to a filter: any of the best solutions projects alike.
            taps = np.linalg.lstsq(regular, right, rcond=None)[0]
        filters = np.fft.rfft(taps.T.reshape(len(estimates), len(spectra), self.taps), self.size)
        projected = np.fft.irfft((filters * spectra).sum(axis=1), self.size)
        return projected[:, : self.samples + self.taps - 1]


def _ratio(signal: Signals, error: Signals) -> float:
    return float(_decibels(_energy(signal), _energy(error), undefined=np.asarray(False)))


def _decibels(
    signal: NDArray[np.float64], error: NDArray[np.float64], *, undefined: NDArray[np.bool_]
) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        # Nothing over nothing is still nothing.
        ratio = np.where(signal == 0, -np.inf, 10.0 * np.log10(signal / error))
    return np.where(undefined, np.nan, ratio)


def _energy(signals: Signals) -> NDArray[np.float64]:
    return np.square(signals).sum(axis=-1)


def _signals(values: ArrayLike, what: str) -> Signals:
    signals = np.asarray(values, dtype=np.float64)
    if signals.ndim == 0 or signals.shape[-1] == 0:
        raise InputError(f"{what} hold no samples: their shape is {list(signals.shape)}.")
    if not np.isfinite(signals).all():
        raise InputError(f"{what} hold values that are not finite; check the recordings.")
    return signals


def _pair(references: ArrayLike, estimates: ArrayLike) -> tuple[Signals, Signals]:
    reference, estimate = _signals(references, "references"), _signals(estimates, "estimates")
    if reference.shape != estimate.shape:
        raise InputError(
            f"references {list(reference.shape)} and estimates {list(estimate.shape)} have different shapes; "
            "give one estimate for each reference, of the same length."
        )
    return reference, estimate
