"""Simulated presentations: equal for equal seeds, changed in the way each family claims."""

from __future__ import annotations

import numpy as np
import pytest
from liveness.simulate import make_pictures
from verticlip.core.errors import ConfigError, InputError
from verticlip.domains.liveness.simulate import FAMILIES, simulate, simulated

ALL = ("bona_fide", *FAMILIES)
PICTURE = make_pictures.drawn(1)


def untouched(family: str, part: str = "test", *, picture: np.ndarray = PICTURE, count: int = 3):
    """Yield presentations whose camera changed nothing but the encoding."""
    found = 0
    for seed in range(200):
        made = simulated(picture, family, part=part, seed=seed)
        if made.camera["untouched"]:
            yield made
            found += 1
            if found == count:
                return


def grey(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


def loudest_fine_frequency(pixels: np.ndarray) -> float:
    spectrum = abs(np.fft.rfft2(grey(pixels) - grey(pixels).mean()))
    fine = spectrum[10:-10, 12:]
    return float(fine.max() / np.median(fine))


@pytest.mark.parametrize("family", ALL)
@pytest.mark.parametrize("part", ["train", "test"])
def test_equal_arguments_give_equal_pixels_and_others_do_not(family, part):
    first = simulate(PICTURE, family, part=part, seed=5)
    assert first.dtype == np.uint8
    assert first.ndim == 3
    assert first.shape[2] == 3
    assert np.array_equal(first, simulate(PICTURE, family, part=part, seed=5))
    other = simulate(PICTURE, family, part=part, seed=6)
    assert other.shape != first.shape or not np.array_equal(first, other)


def test_parts_differ_for_the_same_seed():
    assert simulated(PICTURE, "screen", part="train", seed=1).attack != (
        simulated(PICTURE, "screen", part="test", seed=1).attack
    )


def test_the_picture_itself_stays_as_it_was():
    before = PICTURE.copy()
    for family in ALL:
        simulate(PICTURE, family, seed=2)
    assert np.array_equal(before, PICTURE)


def test_an_untouched_bona_fide_is_the_picture():
    for made in untouched("bona_fide"):
        assert made.pixels.shape == PICTURE.shape
        assert abs(made.pixels.astype(int) - PICTURE).mean() < 6
        assert made.strength is None
        assert made.category == "live"


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_attack_changes_the_picture_more_than_its_encoding_does(family):
    for made in untouched(family):
        bona_fide = next(untouched("bona_fide", count=1)).pixels
        change = abs(made.pixels.astype(int) - bona_fide).mean()
        assert change > 2.0, f"{family}: {change}"
        assert 0.0 <= made.strength <= 1.0


def test_low_light_is_dark():
    plain = grey(PICTURE).mean()
    for made in untouched("low_light"):
        assert grey(made.pixels).mean() < 0.45 * plain


def test_pixel_grids_and_dots_are_heard_among_fine_frequencies():
    rough = np.clip(130 + np.random.default_rng(0).normal(0, 4, (160, 120, 3)), 0, 255).astype(np.uint8)
    plain = [loudest_fine_frequency(made.pixels) for made in untouched("bona_fide", picture=rough)]
    for family, word in (("screen", "grid"), ("print", "spot")):
        made = [
            loudest_fine_frequency(one.pixels)
            for one in untouched(family, "train", picture=rough, count=8)
            if one.attack.get(word) not in (False, "noise", "dither")
        ]
        assert np.median(made) > 1.5 * np.median(plain)


def test_a_bezel_is_dark_or_light_around_the_picture():
    white = np.full((160, 120, 3), 200, np.uint8)
    for made in untouched("bezel", picture=white):
        pixels = grey(made.pixels)
        middle = pixels[60:100, 45:75].mean()
        rim = np.concatenate([pixels[4:8].ravel(), pixels[-8:-4].ravel()])
        assert abs(np.median(rim) - middle) > 25


def test_a_cut_out_shows_what_is_behind_at_the_corners():
    for made in untouched("cut_out"):
        corner = made.pixels[:12, :12].astype(int)
        assert abs(corner - PICTURE[:12, :12]).mean() > 8


def test_a_large_picture_is_made_smaller_and_the_longest_side_kept_in_bounds():
    large = np.full((900, 1200, 3), 120, np.uint8)
    assert max(simulate(large, "low_light", seed=1).shape) <= 512


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (np.zeros((64, 64), np.uint8), "got uint8"),
        (np.zeros((64, 64, 3), np.float32), "got float32"),
        (np.zeros((64, 64, 4), np.uint8), "three colors"),
        (np.zeros((20, 64, 3), np.uint8), "at least 32 pixels"),
        ([[1, 2], [3, 4]], "got list"),
    ],
)
def test_what_is_no_picture_is_refused(picture, words):
    with pytest.raises(InputError, match=words):
        simulate(picture, "print")


def test_unknown_family_and_part_are_refused():
    with pytest.raises(ConfigError, match="Did you mean 'print'"):
        simulate(PICTURE, "prints")
    with pytest.raises(ConfigError, match="Part 'dev'"):
        simulate(PICTURE, "print", part="dev")
