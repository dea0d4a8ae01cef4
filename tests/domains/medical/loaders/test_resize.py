"""The resize of the loaders gives the numbers of torch's."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from verticlip.domains.medical.loaders.resize import resize_bilinear


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((1, 1, 1024, 1024), (224, 224)),
        ((2, 3, 97, 130), (64, 64)),
        ((1, 1, 300, 50), (77, 200)),
        ((1, 1, 50, 300), (200, 77)),
        ((1, 1, 64, 64), (64, 32)),
        ((1, 1, 2000, 3), (1, 1)),
        ((1, 1, 5, 7), (4, 7)),
        ((3, 1, 129, 128), (128, 128)),
        ((1, 1, 1, 1), (9, 9)),
    ],
)
def test_equals_torch(shape, size) -> None:
    pixels = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 4000 - 1000
    expected = F.interpolate(pixels, size=size, mode="bilinear", antialias=True, align_corners=False)
    torch.testing.assert_close(resize_bilinear(pixels, size), expected, rtol=0, atol=4e-3)


def test_a_constant_image_stays_constant() -> None:
    resized = resize_bilinear(torch.full((1, 1, 333, 217), 7.5), (60, 60))
    torch.testing.assert_close(resized, torch.full((1, 1, 60, 60), 7.5), rtol=1e-6, atol=0)


def test_a_strided_image_is_read_as_it_is() -> None:
    pixels = torch.rand(1, 1, 80, 60, generator=torch.Generator().manual_seed(0))
    turned = pixels.transpose(2, 3)
    torch.testing.assert_close(
        resize_bilinear(turned, (20, 30)), resize_bilinear(turned.contiguous(), (20, 30))
    )
