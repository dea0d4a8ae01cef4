"""Gates of a whole presentation."""

from __future__ import annotations

import numpy as np
import pytest
from verticlip.core.errors import InputError
from verticlip.domains.liveness.frames.media import Media, read_media
from verticlip.domains.liveness.frames.sampling import Sampling
from verticlip.domains.liveness.quality.checks import Check, blocks
from verticlip.domains.liveness.quality.config import QualityConfig
from verticlip.domains.liveness.quality.frame_checks import checks_of_frames, frames_needed

CONFIG = QualityConfig()


def film(*shades: int, asked: int | None = 5, rates: tuple[float, ...] = (25.0,), size: int = 8) -> Media:
    frames = tuple(np.full((size, size, 3), shade, np.uint8) for shade in shades)
    count = len(frames)
    return Media(frames, tuple(range(count)), (0.0,) * count, True, 99, rates, asked, "a.mp4")


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_a_good_film() -> None:
    checks = checks_of_frames(film(1, 2, 3, 4, 5), [True] * 5, CONFIG)
    assert [check.name for check in checks] == ["usable_frames", "frame_variety", "frame_sizes"]
    assert all(check.passed and not check.advice for check in checks)


def test_a_still_needs_one_frame() -> None:
    media = read_media(np.zeros((9, 9, 3), np.uint8))
    assert frames_needed(media, CONFIG) == 1
    (check,) = checks_of_frames(media, [True], CONFIG)
    assert (check.name, check.value, check.limit, check.passed) == ("usable_frames", 1, (1, None), True)
    assert blocks(checks_of_frames(media, [False], CONFIG))


def test_a_film_needs_three_or_as_many_as_were_asked_for() -> None:
    assert frames_needed(film(1, 2, 3), CONFIG) == 3
    assert frames_needed(film(1, 2, 3, asked=None), CONFIG) == 3
    assert frames_needed(film(1, 2, asked=2), CONFIG) == 2, "FLIP scores two frames"
    assert frames_needed(film(1, 2, 3), QualityConfig(min_frames_video=4)) == 4


def test_two_pictures_are_too_few_unless_two_were_asked_for() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, 9, 9, 3), np.uint8)
    assert blocks(checks_of_frames(read_media(pictures), [True] * 2, CONFIG))
    assert not blocks(checks_of_frames(read_media(pictures, Sampling(kind="flip_mcio")), [True] * 2, CONFIG))


def test_too_few_usable_frames_and_a_film_of_one() -> None:
    checks = checks_of_frames(film(1, 2, 3, 4, 5), [True, True, False, False, False], CONFIG)
    found = by_name(checks)["usable_frames"]
    assert blocks(checks)
    assert found.advice == "Only 2 of 5 frames can be used, 3 are needed: see what the frames failed."
    checks = checks_of_frames(film(1), [True], CONFIG)
    assert blocks(checks)
    assert (
        "1 of at least 3 frames are there: capture a longer film, or more pictures"
        in by_name(checks)["usable_frames"].advice
    )


def test_identical_frames_are_told_and_do_not_block() -> None:
    checks = checks_of_frames(film(7, 7, 7), [True] * 3, CONFIG)
    found = by_name(checks)["frame_variety"]
    assert (found.value, found.limit, found.passed, found.blocks) == (1, (2, None), False, False)
    assert "a still picture may stand in the place of the camera" in found.advice
    assert not blocks(checks)
    assert by_name(checks_of_frames(film(7, 7, 8), [True] * 3, CONFIG))["frame_variety"].passed
    off = QualityConfig(frame_variety=False, frame_sizes=False)
    assert [check.name for check in checks_of_frames(film(7, 7, 7), [True] * 3, off)] == ["usable_frames"]


def test_mixed_sizes_and_rates_are_told() -> None:
    first, second = film(1, 2), film(3, 4, size=9)
    media = Media(
        first.frames + second.frames, (0, 1, 0, 1), (0.0,) * 4, True, 9, (25.0, 29.97), 4, "two films"
    )
    checks = checks_of_frames(media, [True] * 4, CONFIG)
    found = by_name(checks)
    assert (found["frame_sizes"].value, found["frame_sizes"].passed) == (2, False)
    assert (found["frame_rates"].value, found["frame_rates"].passed) == (2, False)
    assert not blocks(checks)
    assert blocks(checks_of_frames(media, [True] * 4, QualityConfig(blocking=("frame_rates",))))
    even = by_name(checks_of_frames(film(1, 2, rates=(25.0, 25.001)), [True] * 2, CONFIG))
    assert even["frame_rates"].passed
    unknown = by_name(checks_of_frames(film(1, 2, rates=(25.0, 0.0)), [True] * 2, CONFIG))
    assert (unknown["frame_rates"].value, unknown["frame_rates"].passed) == (1, True)


def test_one_value_per_frame() -> None:
    with pytest.raises(InputError, match="usable has 2 values for 3 frames"):
        checks_of_frames(film(1, 2, 3), [True, True], CONFIG)
