"""What the Fourier branch learns: the spectrum of a picture, small and within [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ....core.errors import InputError

_LUMA, _LUMA_BITS = (9798, 19235, 3735), 15
"""0.299, 0.587 and 0.114 of red, green and blue as OpenCV counts them: the smallest coefficient of a
spectrum, which scales all others, hangs on single grey values."""


def fourier_target(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the log spectrum float32 [B, 1, h, w] of pictures, each in (0, 1].

    Grey values 0 to 255, the magnitude of their two-dimensional Fourier transform with the zero frequency in
    the middle, log(1 + magnitude), (f - min + 1) / (max - min + 1), and bilinear resizing without smoothing.

    Args:
        pictures: RGB, uint8 [B, 3, H, W] or floats in [0, 1], before any random change of colors.
        size: rows and columns of the result, ``NetworkConfig.fourier_size``.

    Raises:
        InputError: not a batch of color pictures.

    Reference: minivision-ai/Silent-Face-Anti-Spoofing, ``src/data_io/dataset_folder.py``.
    """
    if pictures.ndim != 4 or pictures.shape[1] != 3:
        raise InputError(f"fourier_target needs RGB pictures [B, 3, H, W], got {list(pictures.shape)}.")
    values = pictures if pictures.dtype == torch.uint8 else (pictures.float() * 255).round()
    weights = torch.tensor(_LUMA, device=values.device).view(1, 3, 1, 1)
    grey = ((values.to(torch.int64) * weights).sum(dim=1) + (1 << (_LUMA_BITS - 1))) >> _LUMA_BITS
    spectrum = torch.fft.fftshift(torch.fft.fft2(grey.double()), dim=(1, 2)).abs().add(1).log()
    low, high = spectrum.amin(dim=(1, 2), keepdim=True), spectrum.amax(dim=(1, 2), keepdim=True)
    scaled = (spectrum - low + 1) / (high - low + 1)
    return F.interpolate(scaled[:, None].float(), size=size, mode="bilinear", align_corners=False)
