"""The loss of JPEG on tensors is that of JPEG files."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from verticlip.core.augment import augment
from verticlip.core.config import AugmentConfig
from verticlip.core.errors import InputError
from verticlip.core.jpeg import jpeg_like


def picture(height: int, width: int, channels: int = 3, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, channels, 5, 6, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")
    noisy = smooth + 0.06 * torch.randn(1, channels, height, width, generator=generator)
    return (noisy.clamp(0, 1) * 255).round() / 255


def by_pillow(image: torch.Tensor, quality: int) -> torch.Tensor:
    array = (image[0] * 255).byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(array.squeeze()).save(file, "JPEG", quality=quality, subsampling=2)
    found = np.asarray(Image.open(file), dtype=np.float32) / 255
    return torch.from_numpy(found.reshape(*array.shape)).permute(2, 0, 1)[None]


@pytest.mark.parametrize("quality", [100, 90, 60, 25])
@pytest.mark.parametrize(("height", "width", "channels"), [(64, 64, 3), (37, 50, 3), (64, 48, 1)])
def test_it_loses_what_a_file_loses(quality: int, height: int, width: int, channels: int) -> None:
    image = picture(height, width, channels)
    ours, theirs = jpeg_like(image, torch.tensor([quality])), by_pillow(image, quality)
    assert ours.shape == image.shape
    apart, lost = (ours - theirs).abs().mean(), (theirs - image).abs().mean()
    # A codec with integer transforms rounds elsewhere; what it takes away is the same.
    assert apart < max(0.18 * lost, 1.2 / 255)


def test_each_picture_has_its_own_quality() -> None:
    image = picture(32, 32)
    pair = jpeg_like(torch.cat([image, image]), torch.tensor([95, 20]))
    torch.testing.assert_close(pair[:1], jpeg_like(image, torch.tensor([95])))
    torch.testing.assert_close(pair[1:], jpeg_like(image, torch.tensor([20])))
    assert (pair[1] - image[0]).abs().mean() > 1.5 * (pair[0] - image[0]).abs().mean()


def test_other_channels_are_refused() -> None:
    with pytest.raises(InputError, match="1 or 3 channels, got 4"):
        jpeg_like(torch.zeros(1, 4, 8, 8), torch.tensor([50]))


def test_training_images_get_it_by_chance_and_repeatably() -> None:
    images = picture(32, 32).expand(64, -1, -1, -1).contiguous()
    config = AugmentConfig(photometric=0.0, jpeg=0.5, jpeg_quality=(30, 60))
    first, again = (augment(images, config, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)
    changed = ((first - images).abs().amax((1, 2, 3)) > 0.02).sum()
    assert 16 < changed < 48


def test_a_range_of_qualities_runs_upwards() -> None:
    with pytest.raises(ValueError, match="jpeg_quality"):
        AugmentConfig(jpeg_quality=(90, 40))
