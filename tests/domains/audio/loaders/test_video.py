"""Frames and sound of films: the right picture at the right time, and what bad films are told."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from verticlip.core.errors import ConfigError, DependencyError, InputError, LimitError
from verticlip.core.limits import Limits
from verticlip.core.video import probe_video
from verticlip.domains.audio.loaders import compressed
from verticlip.domains.audio.loaders.audio import load_audio, probe_audio, read_audio
from verticlip.domains.audio.loaders.stream import iter_audio
from verticlip.domains.audio.loaders.video import extract_audio, extract_frames

pytest.importorskip("av", reason="the video extra is not installed")


def indices(pixels: torch.Tensor) -> list[int]:
    """Return which ``picture(i)`` each frame shows, from the brightness of its right edge."""
    edge = pixels[..., -pixels.shape[-1] // 4 :].float().mean(dim=(1, 2, 3))
    return ((edge - 5) / 10).round().int().tolist()


def test_one_frame_a_second_from_its_middle(film) -> None:
    frames = extract_frames(film)
    assert frames.times_s == (0.5, 1.5, 2.5, 3.5)
    assert frames.pixels.shape == (4, 3, 224, 224)
    assert frames.pixels.dtype == torch.uint8
    assert indices(frames.pixels) == [5, 15, 0, 10]
    # The left half is marked in red, so width and height are not swapped and colors are RGB.
    assert float(frames.pixels[0, 0, :, :40].float().mean()) > 150
    assert float(frames.pixels[0, 2, :, :40].float().mean()) < 100


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mkv", ".mov", ".ts"])
def test_exact_times_in_any_order(sounds, tmp_path, suffix) -> None:
    path = sounds.film(tmp_path / f"a{suffix}", seconds=9.0)
    times = [8.95, 0.0, 5.01, 8.2, 0.3, 0.3]
    frames = extract_frames(path, times=times, size=None)
    assert frames.pixels.shape == (6, 3, 48, 64)
    assert indices(frames.pixels) == [89 % 25, 0, 0, 82 % 25, 3, 3]


def test_several_frames_a_second_and_the_middle_crop(film) -> None:
    frames = extract_frames(film, fps=4, size=32)
    assert len(frames.times_s) == 16
    assert frames.pixels.shape == (16, 3, 32, 32)
    assert frames.times_s[:2] == (0.125, 0.375)


def test_a_film_shorter_than_one_step_gives_one_frame(sounds, tmp_path) -> None:
    path = sounds.film(tmp_path / "a.mp4", seconds=0.3)
    assert extract_frames(path).times_s == (0.3,)


def test_header(film) -> None:
    info = probe_video(film)
    assert (info.height, info.width, info.duration_s, info.fps, info.codec) == (48, 64, 4.0, 10.0, "h264")
    assert info.has_audio


def test_sound_of_a_film(film, sounds) -> None:
    sample = extract_audio(film, rate=16_000)
    assert sample.value.shape[1] == pytest.approx(64_000, abs=2048)
    heard = sample.value[0, 16_000:32_000]
    assert float((heard - torch.from_numpy(sounds.tone(4.0)[0, 16_000:32_000])).abs().max()) < 0.2
    assert sample.meta["container"] == "MP4, M4A or QuickTime"
    assert torch.equal(extract_audio(film).value, load_audio(film.read_bytes()).value)


@pytest.mark.parametrize("suffix", [".m4a", ".webm", ".avi", ".wma"])
def test_crops_and_windows_of_compressed_sound(sounds, tmp_path, suffix) -> None:
    rate = 48_000
    path = sounds.film(
        tmp_path / f"a{suffix}",
        seconds=3,
        sound=sounds.tone(3.0, rate, channels=2),
        rate=rate,
        video=suffix in (".webm", ".avi"),
    )
    whole = read_audio(path, mono=False)
    assert whole.shape[0] == 2
    crop = read_audio(path, mono=False, start_s=1.7, duration_s=0.5)
    assert torch.equal(crop, whole[:, 81_600:105_600])
    parts = iter_audio(path, window_s=0.4, mono=False)
    assert torch.equal(torch.cat([part.values for part in parts], dim=1), whole)
    assert probe_audio(path).rate == rate


def test_far_crops_are_sought(sounds, tmp_path, monkeypatch) -> None:
    path = sounds.film(tmp_path / "a.m4a", sound=sounds.tone(6.0), rate=16_000, video=False)
    whole = read_audio(path)
    monkeypatch.setattr(compressed, "_EXACT_S", 1.0)
    crop = read_audio(path, start_s=4.0, duration_s=0.5)
    assert float((crop - whole[:, 64_000:72_000]).abs().max()) < 0.1


# What cannot be used, and the words for it.


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_cut_films_are_said(sounds, tmp_path, suffix) -> None:
    data = sounds.film(tmp_path / f"a{suffix}", seconds=6, sound=sounds.tone(6.0)).read_bytes()
    with pytest.raises(InputError, match="film in memory: .*damaged or cut off"):
        extract_frames(data[: len(data) // 2])
    with pytest.raises(InputError, match="recording in memory: .*damaged or cut off"):
        load_audio(data[: len(data) // 2])


def test_what_is_no_film(sounds, film, tmp_path) -> None:
    for content, words in {
        b"some words" * 9: "looks like text",
        sounds.encode(sounds.tone(0.1)): "a recording without a picture",
        b"\x89PNG" + b"1" * 99: "a PNG picture",
    }.items():
        with pytest.raises(InputError, match=f"not a film; the content .*{words}"):
            extract_frames(content)
    with pytest.raises(InputError, match=r"gone.mp4: no such file. Check the path of the film"):
        extract_frames(tmp_path / "gone.mp4")
    only_sound = sounds.film(tmp_path / "a.m4a", sound=sounds.tone(1.0), video=False)
    with pytest.raises(InputError, match="has no picture, only sound"):
        extract_frames(only_sound)
    silent = sounds.film(tmp_path / "a.mp4", seconds=1)
    with pytest.raises(InputError, match="has no audio track, only video"):
        extract_audio(silent)
    assert not probe_video(silent).has_audio


def test_times_and_options(film) -> None:
    with pytest.raises(InputError, match="no frame at 4.5 s; the film has 4 s"):
        extract_frames(film, times=[1.0, 4.5])
    with pytest.raises(InputError, match="no frame at -1 s"):
        extract_frames(film, times=[-1.0])
    with pytest.raises(ConfigError, match="fps is over 0"):
        extract_frames(film, fps=0)
    with pytest.raises(ConfigError, match="size is at least 1 pixel"):
        extract_frames(film, size=0)
    with pytest.raises(LimitError, match="pixels of a frame 3,072"):
        extract_frames(film, limits=Limits(pixels=1000))
    with pytest.raises(LimitError, match="frames 400 is over"):
        extract_frames(film, fps=100, limits=Limits(frames=99))
    with pytest.raises(LimitError, match="bytes of the frames"):
        extract_frames(film, limits=Limits(decoded_bytes=1000))


class FakeTorchcodec:
    """The part of torchcodec 0.17 that is called, on top of what decodes here."""

    def __init__(self, source, *, dimension_order: str) -> None:
        assert dimension_order == "NHWC"
        assert source.tell() == 0, "an opened stream at its beginning"
        self.source = source

    def get_frames_played_at(self, seconds: list[float]) -> SimpleNamespace:
        pixels = extract_frames(self.source, times=seconds, size=None).pixels
        return SimpleNamespace(data=pixels.permute(0, 2, 3, 1))


def test_torchcodec_is_used_when_asked_for_and_said_when_it_cannot(film, monkeypatch) -> None:
    package = ModuleType("torchcodec")
    decoders = ModuleType("torchcodec.decoders")
    decoders.VideoDecoder = FakeTorchcodec
    monkeypatch.setitem(sys.modules, "torchcodec", package)
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", decoders)
    expected = extract_frames(film).pixels
    with film.open("rb") as stream:
        stream.seek(100)
        for source in (film, str(film), film.read_bytes(), stream):
            assert torch.equal(extract_frames(source, decoder="torchcodec").pixels, expected)

    def broken(*given, **options):
        raise RuntimeError("Could not load libtorchcodec. Likely causes: FFmpeg is not installed")

    decoders.VideoDecoder = broken
    with pytest.raises(DependencyError, match="cannot decode .*use decoder='pyav'"):
        extract_frames(film, decoder="torchcodec")
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    with pytest.raises(DependencyError, match="not installed.*Run: pip install torchcodec, or"):
        extract_frames(film, decoder="torchcodec")
    with pytest.raises(ConfigError, match="'pyav' or 'torchcodec', got 'ffmpeg'"):
        extract_frames(film, decoder="ffmpeg")


def test_a_missing_library_names_file_container_and_extra(film, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    words = r"beep.mp4: MP4, M4A or QuickTime files are decoded by PyAV.*verticlip\[video\]"
    with pytest.raises(DependencyError, match=words):
        load_audio(film)
    with pytest.raises(DependencyError, match=words):
        extract_frames(film)


def test_a_playlist_cannot_open_other_files(tmp_path) -> None:
    path = tmp_path / "list.mp4"
    path.write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")
    with pytest.raises(InputError, match="looks like text"):
        load_audio(path)
