"""Thumbnails are small, carry nothing but pixels, and are there only where a picture is."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image
from verticlip.core.errors import ConfigError, InputError
from verticlip.domains.ecommerce.pages.thumbnails import (
    ThumbnailSize,
    size_for,
    thumbnail,
    thumbnail_or_none,
)


def noise(width=500, height=400, mode="RGB"):
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def opened(small):
    kind, _, data = small.uri.partition(",")
    assert kind == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "1", "I;16", "F"])
def test_every_mode_becomes_a_small_jpeg(mode):
    source = Image.new(mode, (500, 400)) if mode in ("I;16", "F") else noise(mode=mode)
    small = thumbnail(source)
    assert (small.width, small.height) == opened(small).size == (280, 224)
    assert len(base64.b64decode(small.uri.partition(",")[2])) <= 24_000


def test_pixels_of_the_camera_come_along_and_nothing_else():
    source = noise(64, 48)
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Secret Camera", 6
    source.info["comment"] = b"secret"
    buffer = io.BytesIO()
    source.save(buffer, "JPEG", exif=exif, comment=b"secret words", icc_profile=b"secret profile")
    small = thumbnail(Image.open(buffer))
    content = base64.b64decode(small.uri.partition(",")[2])
    assert b"ecret" not in content
    assert not opened(small).getexif()
    assert (small.width, small.height) == (48, 64)  # turned as the camera was held


def test_transparency_lies_over_white():
    small = thumbnail(Image.new("RGBA", (50, 50), (255, 0, 0, 0)))
    assert np.asarray(opened(small)).min() > 250


def test_small_pictures_stay_small_and_long_ones_are_cut():
    assert thumbnail(Image.new("RGB", (3, 2))).width == 3
    long = thumbnail(Image.new("RGB", (4000, 10)))
    assert (long.width, long.height) == (40, 10)
    assert thumbnail(noise(), ThumbnailSize(100, 1_000)).width <= 100


def test_many_pictures_share_the_page():
    assert size_for(10) == ThumbnailSize()
    for count in (1, 100, 1_000, 5_000, 100_000):
        size = size_for(count)
        assert size.file_bytes * count * 4 / 3 <= max(12_000_000, count * 1_400)
    with pytest.raises(ConfigError, match="at least 16 pixels"):
        ThumbnailSize(8)


def test_a_picture_that_cannot_be_read_is_none():
    def broken():
        raise InputError("gone")

    assert thumbnail_or_none(broken) is None
    assert thumbnail_or_none(lambda: None) is None
    assert thumbnail_or_none(lambda: noise(20, 20)) is not None
