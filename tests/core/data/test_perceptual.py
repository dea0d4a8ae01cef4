"""DCT hashes survive what shops do to pictures; near hashes are all found without comparing all pairs."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from verticlip.core.data.perceptual import MAX_BITS, dct_hash, hamming, near_hashes
from verticlip.core.errors import InputError


def picture(seed: int, side: int = 160) -> Image.Image:
    """A smooth random picture: real ones have most of their energy in low frequencies."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8))
    return small.resize((side, side), Image.Resampling.BICUBIC)


def hashed(image: Image.Image) -> np.ndarray:
    return np.array([dct_hash(np.asarray(image.convert("L")))], dtype=np.uint64)


def as_jpeg(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=30)
    return Image.open(buffer)


@pytest.mark.parametrize(
    "change",
    [
        as_jpeg,
        lambda image: image.resize((77, 90)),
        lambda image: ImageEnhance.Brightness(image).enhance(0.7),
        lambda image: ImageEnhance.Contrast(image).enhance(0.8),
    ],
)
def test_a_copy_is_within_six_bits(change):
    for seed in range(10):
        assert hamming(hashed(picture(seed)), hashed(change(picture(seed))))[0] <= 6


def test_other_pictures_are_far():
    hashes = np.concatenate([hashed(picture(seed)) for seed in range(60)])
    assert near_hashes(hashes, 6)[0].tolist() == []


def test_a_mirrored_picture_meets_the_mirrored_hash():
    image = picture(3)
    mirrored = hashed(ImageOps.mirror(image))
    assert hamming(hashed(image), mirrored)[0] > 16
    again = np.array([dct_hash(np.asarray(image)[:, ::-1])], dtype=np.uint64)
    assert hamming(again, mirrored)[0] == 0


def test_flat_and_tiny_images_have_a_hash():
    assert dct_hash(np.full((40, 30), 128)) == dct_hash(np.full((7, 90), 128)) == 1
    assert dct_hash(np.zeros((1, 1))) == 0


def test_it_is_the_hash_of_the_definition():
    """The same by an independent DCT over the 32 x 32 average."""
    from scipy.fft import dctn

    pixels = np.asarray(picture(5, side=32), dtype=np.float64)
    low = dctn(pixels, type=2)[:8, :8] / 4
    expected = low > np.median(low)
    bits = np.array([dct_hash(pixels) >> place & 1 for place in range(64)], dtype=bool).reshape(8, 8)
    assert (bits == expected).all()


@pytest.mark.parametrize("bad", [np.zeros((2, 2, 3)), np.zeros((0, 4)), np.full((4, 4), np.nan)])
def test_what_is_no_grey_image_is_refused(bad):
    with pytest.raises(InputError, match="grey image"):
        dct_hash(bad)


@pytest.mark.parametrize("distance", range(MAX_BITS + 1))
def test_near_pairs_are_those_of_comparing_all(distance):
    rng = np.random.default_rng(distance)
    hashes = rng.integers(0, 2**64, 120, dtype=np.uint64)
    flips = [
        np.bitwise_or.reduce(np.uint64(1) << rng.choice(64, count, replace=False).astype(np.uint64))
        for count in rng.integers(1, 14, 120)
    ]
    hashes = np.concatenate([hashes, hashes ^ np.array(flips, dtype=np.uint64), hashes[:5]])
    all_bits = np.array([[int(one ^ two).bit_count() for two in hashes.tolist()] for one in hashes.tolist()])
    rows, columns = np.nonzero(np.triu(all_bits <= distance, k=1))
    pairs, distances = near_hashes(hashes, distance)
    assert pairs.tolist() == np.stack([rows, columns], axis=1).tolist()
    assert distances.tolist() == all_bits[rows, columns].tolist()
    crossed, _ = near_hashes(hashes[:50], distance, hashes[50:])
    assert crossed.tolist() == np.argwhere(all_bits[:50, 50:] <= distance).tolist()


def test_many_hashes_take_seconds_not_hours():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 40_000, dtype=np.uint64)
    hashes[-100:] = hashes[:100] ^ np.uint64(0b1001000000000000000000000000000000000000000000000011)
    start = time.perf_counter()
    pairs, distances = near_hashes(hashes, 6)
    assert [tuple(pair) for pair in pairs.tolist()] == [(n, 39_900 + n) for n in range(100)]
    assert set(distances.tolist()) == {4}
    assert time.perf_counter() - start < 5


def test_equal_hashes_of_one_bucket_do_not_fill_the_memory():
    assert len(near_hashes(np.zeros(1_000, dtype=np.uint64), 6)[0]) == 499_500
    assert near_hashes(np.empty(0, dtype=np.uint64), 6)[0].shape == (0, 2)
    with pytest.raises(InputError, match="from 0 to 11"):
        near_hashes(np.zeros(2, dtype=np.uint64), 12)
