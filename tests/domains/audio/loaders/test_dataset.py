"""Films as items: three frames, and the sound around the middle one."""

from __future__ import annotations

import pytest
import torch
from verticlip.core.errors import ConfigError, DataError, InputError
from verticlip.domains.audio.loaders.audio import load_audio
from verticlip.domains.audio.loaders.dataset import ClipSampling, VideoAudioDataset, window_around
from verticlip.domains.audio.loaders.video import extract_frames


@pytest.fixture(scope="module")
def long_film(sounds, tmp_path_factory):
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    return sounds.film(path, seconds=10.0, fps=5, sound=sounds.tone(10.0))


def test_the_middle_of_a_film(long_film) -> None:
    data = VideoAudioDataset([(long_film, "dog")])
    clip = data[0]
    assert len(data) == 1
    assert (clip.center, clip.label, clip.id) == (5, "dog", "long.mp4")
    assert clip.frames.shape == (3, 3, 224, 224)
    assert torch.equal(clip.frames, extract_frames(long_film, times=[3.5, 4.5, 5.5]).pixels)
    whole = load_audio(long_film, rate=16_000).value[0]
    assert clip.sound.shape == (65_535,)
    assert torch.equal(clip.sound, window_around(whole, 72_000, samples=65_535))
    assert clip.sound[-1] == 0


def test_random_parts_follow_the_generator_and_keep_the_margin(long_film) -> None:
    data = VideoAudioDataset([(long_film, "dog")], ClipSampling(size=16, samples=1601))
    drawn = [data.draw(0, torch.Generator().manual_seed(seed)).center for seed in range(12)]
    assert drawn == [data.draw(0, torch.Generator().manual_seed(seed)).center for seed in range(12)]
    assert set(drawn) == {4, 5, 6, 7}


def test_other_rates_and_more_frames(long_film) -> None:
    data = VideoAudioDataset(
        [(long_film, "")], ClipSampling(frames=5, stride=2, fps=2.0, size=8, rate=8000, samples=8001)
    )
    clip = data[0]
    assert clip.frames.shape == (5, 3, 8, 8)
    assert clip.center == 10
    whole = load_audio(long_film, rate=8000).value[0]
    # A converted crop equals the same stretch of the whole to rounding.
    assert torch.allclose(clip.sound, window_around(whole, 38_000, samples=8001), atol=1e-6)


def test_short_films_are_repeated(film) -> None:
    clip = VideoAudioDataset([(film, "beep")])[0]
    assert clip.center == 2
    assert clip.sound.shape == (65_535,)
    assert float(clip.sound[40_000:60_000].abs().max()) > 0.1


def test_windows() -> None:
    wave = torch.arange(1.0, 11.0)
    assert window_around(wave, 5, samples=5).tolist() == [4, 5, 6, 7, 0]
    assert window_around(wave, 1, samples=5).tolist() == [0, 1, 2, 3, 0]
    assert window_around(wave, 9, samples=5).tolist() == [8, 9, 10, 0, 0]
    assert window_around(wave[:2], 2, samples=5).tolist() == [1, 2, 1, 2, 0]
    with pytest.raises(InputError, match="has no window"):
        window_around(torch.zeros(0), 0, samples=5)


def test_what_cannot_be_sampled(long_film) -> None:
    with pytest.raises(DataError, match="no films"):
        VideoAudioDataset([])
    with pytest.raises(ConfigError, match="are odd"):
        ClipSampling(frames=2)
    with pytest.raises(ConfigError, match="are over 0"):
        ClipSampling(fps=0)
