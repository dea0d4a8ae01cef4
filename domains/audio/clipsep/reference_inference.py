"""Separation as the published program does it, for comparison; the product path is ``tasks/separation.py``.

It differs there in what it does to a recording: wrap around instead of filling with silence, one pass over
the whole file, and a mask of zeros and ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ....core.errors import InputError
from .model import ClipSep


@dataclass(frozen=True)
class ReferenceSeparation:
    """What the published program would write, and the masks it came from.

    Attributes:
        waves: float32 [Q, samples] in [-1, 1], one for each query.
        noise: float32 [2, samples] of the noise heads, or None; ``pit1`` and ``pit2`` in the reference.
        masks: float32 [Q, H, T] in (0, 1) on the network's rows; ``noise_masks`` [2, H, T] likewise.
        linear_masks: float32 [Q, F, T] on linear frequencies, before the threshold.
    """

    waves: Tensor
    noise: Tensor | None
    masks: Tensor
    noise_masks: Tensor | None
    linear_masks: Tensor


@torch.inference_mode()
def separate_as_published(
    model: ClipSep,
    wave: Tensor,
    queries: Tensor | None,
    *,
    threshold: float | None = 0.5,
    length: int | None = None,
) -> ReferenceSeparation:
    """Return what each query asks for, as ``infer.py`` of sony/CLIPSep computes it.

    The recording is repeated up to the next multiple of the window, clipped to [-1, 1], masked in one pass
    and cut. Whole hops come back from the transform: a recording that ends within the last hop of a window
    loses up to that many samples, as there.

    Args:
        model: any kind of separator, in eval mode.
        wave: float32 [samples] at the model's rate.
        queries: float [Q, D]; int64 [Q] for the kind ``label``; None for ``pit``.
        threshold: linear masks above it become 1 and all others 0; None keeps them as they are.
        length: samples to repeat or cut to; None is the next multiple of the window above ``samples``.

    Raises:
        InputError: no samples, or another shape.
    """
    if wave.ndim != 1 or not len(wave):
        raise InputError(f"The recording must be [samples] with at least one, got {list(wave.shape)}.")
    window, spectra = model.options.window_samples, model.spectra
    length = window * (len(wave) // window + 1) if length is None else length
    repeats = -(-length // len(wave))
    tiled = wave.to(model.device).float().repeat(repeats)[:length].clamp(-1.0, 1.0)
    spectrum = spectra.stft(tiled)
    _, log_magnitude = spectra.log_magnitude(spectrum.abs()[None, None])
    wanted, noise = model.mask_logits(log_magnitude, None if queries is None else queries.to(model.device))
    samples = min(len(wave), length)

    def heard(mask: Tensor) -> Tensor:
        if threshold is not None:
            mask = (mask > threshold).to(mask.dtype)
        return spectra.istft(mask * spectrum).clamp(-1.0, 1.0)[..., :samples]

    masks = wanted.sigmoid()
    linear = spectra.unwarp(masks)
    noise_masks = None if noise is None else noise.sigmoid()
    return ReferenceSeparation(
        waves=heard(linear[0]),
        noise=None if noise_masks is None else heard(spectra.unwarp(noise_masks)[0]),
        masks=masks[0],
        noise_masks=None if noise_masks is None else noise_masks[0],
        linear_masks=linear[0],
    )
