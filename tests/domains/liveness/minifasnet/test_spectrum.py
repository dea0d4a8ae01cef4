"""The spectrum that the Fourier branch learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from liveness.minifasnet.make_networks import pictures
from verticlip.core.errors import InputError
from verticlip.domains.liveness.minifasnet.spectrum import fourier_target


def by_hand(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The published formula with OpenCV and NumPy; ``picture`` uint8 [H, W, 3], RGB."""
    cv2 = pytest.importorskip("cv2")
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    spectrum = np.log(np.abs(np.fft.fftshift(np.fft.fft2(grey))) + 1)
    scaled = (spectrum - spectrum.min() + 1) / (spectrum.max() - spectrum.min() + 1)
    return cv2.resize(scaled, (size[1], size[0]))


@pytest.mark.parametrize(("shape", "size"), [((80, 80), (10, 10)), ((80, 60), (10, 8))])
def test_the_formula(shape, size):
    generator = torch.Generator().manual_seed(0)
    batch = (pictures(3, *shape).float() + torch.randn(3, 3, *shape, generator=generator) * 6).clamp(0, 255)
    batch = batch.round().to(torch.uint8)
    found = fourier_target(batch, size)
    assert found.shape == (3, 1, *size)
    assert found.dtype == torch.float32
    assert 0 < float(found.min()) < float(found.max()) <= 1
    for row, picture in zip(found, batch, strict=True):
        expected = by_hand(np.ascontiguousarray(picture.permute(1, 2, 0).numpy()), size)
        assert np.abs(row[0].numpy() - expected).max() < 1e-5
    torch.testing.assert_close(fourier_target(batch.float() / 255, size), found, atol=1e-4, rtol=0)


def test_a_pattern_shows_beside_the_middle():
    flat = torch.full((1, 3, 80, 80), 120, dtype=torch.uint8)
    striped = flat.clone()
    striped[..., ::4] = (
        180  # a period of 4 pixels: a quarter of the sampling rate, 20 columns beside the middle
    )
    plain, found = (fourier_target(one, (80, 80))[0, 0] for one in (flat, striped))
    assert int(plain.argmax()) == 40 * 80 + 40
    peaks = (found[40] > 0.7).nonzero().flatten().tolist()
    assert peaks == [0, 20, 40, 60]


def test_what_is_no_picture():
    with pytest.raises(InputError, match=r"RGB pictures \[B, 3, H, W\], got \[2, 1, 8, 8\]"):
        fourier_target(torch.zeros(2, 1, 8, 8), (1, 1))
