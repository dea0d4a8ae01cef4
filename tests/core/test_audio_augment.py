"""Random changes of recordings: seeded, of the right kind and size, and none where there is silence."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from verticlip.core.audio_augment import augment_audio, augment_features
from verticlip.core.audio_config import AudioAugmentConfig

RATE = 8000
EVERYTHING = AudioAugmentConfig(
    mix=1.0, crop=1.0, crop_s=(0.1, 0.3), crop_gap=1.0, speed=0.2, shift=0.5, tilt_db=6, lowpass=0.5,
    background=1.0, noise=1.0, gain_db=6,
)  # fmt: skip


def tone(hz: float, count: int = 4, length: int = 4000) -> torch.Tensor:
    return (0.1 * torch.sin(2 * math.pi * hz * torch.arange(length) / RATE)).repeat(count, 1)


def changed(
    waves: torch.Tensor, seed: int = 0, labels: torch.Tensor | None = None, **settings
) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return augment_audio(waves, AudioAugmentConfig(**settings), RATE, generator=generator, labels=labels)


def decibels(waves: torch.Tensor) -> torch.Tensor:
    return 20 * waves.square().mean(dim=1).sqrt().log10()


def strongest(waves: torch.Tensor) -> torch.Tensor:
    return torch.fft.rfft(waves).abs().argmax(dim=1) * RATE / waves.shape[1]


def test_equal_seeds_give_equal_recordings_and_the_input_stays():
    waves = torch.randn(6, 4000, generator=torch.Generator().manual_seed(1)) * 0.1
    before, labels = waves.clone(), torch.tensor([0, 0, 1, 1, 2, 3])
    first, second, other = (
        augment_audio(waves, EVERYTHING, RATE, generator=torch.Generator().manual_seed(s), labels=labels)
        for s in (5, 5, 6)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(waves, before)
    assert first.shape == waves.shape
    assert torch.isfinite(first).all()


def test_nothing_asked_for_changes_nothing():
    waves = tone(440)
    assert torch.equal(changed(waves), waves)
    features = torch.randn(2, 10, 4)
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(augment_features(features, AudioAugmentConfig(), generator=generator), features)


def test_silence_stays_silence_whatever_is_asked_for():
    silence = torch.zeros(4, 4000)
    found = augment_audio(
        silence, EVERYTHING, RATE, generator=torch.Generator().manual_seed(0), labels=torch.zeros(4).long()
    )
    assert not found.any()


def test_gain_is_within_its_range_and_differs_by_row():
    difference = decibels(changed(tone(440, 64), gain_db=6)) - decibels(tone(440, 64))
    assert difference.abs().max() <= 6.001
    assert difference.std() > 2


def test_speed_moves_the_pitch_and_shift_only_the_place():
    pitch = strongest(changed(tone(1000, 64), speed=0.2))
    assert pitch.min() >= 1000 * math.exp(-0.2) - 3
    assert pitch.max() <= 1000 * math.exp(0.2) + 3
    assert pitch.std() > 50
    ramp = torch.arange(100.0).repeat(8, 1)
    shifted = changed(ramp, shift=0.5)
    assert all(torch.equal(row.sort().values, ramp[0]) for row in shifted)
    assert len({float(row[0]) for row in shifted}) > 4


def test_crop_repeats_a_loud_part():
    wave = torch.zeros(8, 8000)
    wave[:, 3000:3800] = 0.5
    found = changed(wave, crop=1.0, crop_s=(0.1, 0.1))
    # One event in a second becomes one in every tenth: a third of the window or more is loud.
    assert (found.abs() > 0.4).float().mean() > 0.3
    assert torch.equal(found[0, :800], found[0, 800:1600])


def test_crop_with_a_gap_has_silence_between_the_repetitions():
    wave = torch.full((32, 8000), 0.5)
    found = changed(wave, crop=1.0, crop_s=(0.1, 0.1), crop_gap=1.0)
    assert (found[:, :800] == 0.5).all()
    loud = (found != 0).float().mean(dim=1)
    assert loud.min() > 0.4
    assert loud.max() > 0.85
    assert loud.std() > 0.05


def test_lowpass_takes_the_highs_and_leaves_the_lows():
    low, high = (
        decibels(changed(tone(hz), lowpass=1.0, lowpass_hz=(1000, 1000))) - decibels(tone(hz))
        for hz in (500, 3500)
    )
    assert low.abs().max() < 0.1
    assert high.max() < -80


def test_tilt_changes_levels_by_frequency_within_its_range():
    difference = decibels(changed(tone(700, 64), tilt_db=6)) - decibels(tone(700, 64))
    assert difference.abs().max() <= 6.01
    assert difference.std() > 1


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_noise_is_at_the_ratio_asked_for(share):
    waves = tone(1000, 8, 8000)
    added = changed(waves, noise=share, noise_db=(20, 20)) - waves
    if share:
        assert torch.allclose(decibels(waves) - decibels(added), torch.full((8,), 20.0), atol=0.01)
    else:
        assert not added.any()


def test_background_is_another_row_below_this_one():
    waves = torch.cat([tone(500, 1, 8000), tone(2000, 1, 8000)])
    added = changed(waves, background=1.0, background_db=(12, 12)) - waves
    assert strongest(added).tolist() == [2000.0, 500.0]
    assert torch.allclose(decibels(waves) - decibels(added), torch.full((2,), 12.0), atol=0.01)


def test_mixing_stays_within_the_class_and_needs_labels():
    waves = torch.cat([tone(hz, 1, 8000) for hz in (500, 2000, 3000)])
    labels = torch.tensor([0, 0, 1])
    assert torch.equal(changed(waves, mix=1.0), waves)
    added = changed(waves, mix=1.0, labels=labels) - waves
    assert strongest(added[:2]).tolist() == [2000.0, 500.0]
    assert not added[2].any()  # nobody else of its class


def test_feature_masks_are_bands_of_the_mean():
    features = torch.randn(16, 50, 20, generator=torch.Generator().manual_seed(3)) + 7
    settings = AudioAugmentConfig(time_masks=1, time_mask=0.2, frequency_masks=1, frequency_mask=0.3)
    found = augment_features(features, settings, generator=torch.Generator().manual_seed(0))
    mean = features.mean(dim=(1, 2), keepdim=True)
    hidden = found != features
    assert torch.equal(found[hidden], mean.expand_as(found)[hidden])
    frames, bins = hidden.all(dim=2).sum(dim=1), hidden.all(dim=1).sum(dim=1)
    assert 0 < frames.max() <= 10
    assert 0 < bins.max() <= 6


@pytest.mark.parametrize(
    "settings",
    [{"noise_db": (30, 10)}, {"crop_s": (0.0, 1.0)}, {"lowpass_hz": (0, 10)}, {"background_db": (9, 8)}],
)
def test_ranges_that_are_none(settings):
    with pytest.raises(ValidationError, match=f"{next(iter(settings))} is a range"):
        AudioAugmentConfig(**settings)
