"""``load_audio``: formats, crops, channels, rates, levels, and what it says about files it cannot use."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from verticlip.core.errors import ConfigError, DependencyError, InputError, LimitError
from verticlip.core.limits import Limits
from verticlip.core.types import Sample
from verticlip.core.waves import to_wave
from verticlip.domains.audio.loaders.audio import AudioOptions, load_audio, probe_audio, read_audio

FORMATS = [
    ("WAV", "PCM_16", 3.2e-5),
    ("WAV", "PCM_U8", 1e-2),
    ("WAV", "PCM_24", 2e-7),
    ("WAV", "PCM_32", 1e-7),
    ("WAV", "FLOAT", 0.0),
    ("FLAC", "PCM_16", 3.2e-5),
    ("FLAC", "PCM_24", 2e-7),
    ("OGG", "VORBIS", 0.2),
    ("MP3", None, 0.2),
    ("AIFF", "PCM_16", 3.2e-5),
    ("W64", "PCM_16", 3.2e-5),
    ("RF64", "PCM_16", 3.2e-5),
    ("CAF", "ALAC_16", 3.2e-5),
    ("AU", "PCM_16", 3.2e-5),
]


@pytest.mark.parametrize(("form", "subtype", "tolerance"), FORMATS, ids=lambda value: str(value))
def test_formats_and_crops(sounds, form, subtype, tolerance) -> None:
    values = sounds.tone(0.6, channels=2)
    data = sounds.encode(values, form=form, subtype=subtype)
    whole = load_audio(data, mono=False)
    assert whole.value.dtype == torch.float32
    assert whole.value.shape == values.shape
    assert np.abs(whole.value.numpy() - values).max() <= tolerance
    assert whole.meta["file_rate"] == whole.meta["sampling_rate"] == 16_000
    assert whole.meta["container"] == form
    crop = load_audio(data, mono=False, start_s=0.2, duration_s=0.25)
    assert torch.equal(crop.value, whole.value[:, 3200:7200])
    assert crop.meta["duration_s"] == 0.25
    assert crop.meta["start_s"] == 0.2


def test_the_same_file_gives_the_same_bits_from_a_path_bytes_and_a_file_object(sounds, tmp_path) -> None:
    data = sounds.encode(sounds.tone(0.5, rate=22_050), rate=22_050, form="OGG")
    # The content decides, even under a suffix that means headerless samples.
    path = tmp_path / "clip.raw"
    path.write_bytes(data)
    first = read_audio(path, rate=16_000)
    assert torch.equal(first, read_audio(str(path), rate=16_000))
    assert torch.equal(first, read_audio(data, rate=16_000))
    with path.open("rb") as handle:
        handle.read(7)
        assert torch.equal(first, read_audio(handle, rate=16_000))
        assert not handle.closed

    class Pipe(io.RawIOBase):
        """Bytes that cannot be sought."""

        def __init__(self) -> None:
            self.held = io.BytesIO(data)

        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            return self.held.read(size)

    assert torch.equal(first, read_audio(Pipe(), rate=16_000))


def test_channels(sounds) -> None:
    values = sounds.tone(0.2, channels=3)
    data = sounds.encode(values, subtype="FLOAT")
    assert np.allclose(read_audio(data)[0], values.mean(0), atol=1e-7)
    assert np.array_equal(read_audio(data, channel=2)[0], values[2])
    assert read_audio(data, mono=False).shape == (3, 3200)
    with pytest.raises(InputError, match="channel 3 was asked for; the recording has 3, counted from 0"):
        load_audio(data, channel=3)


def test_channels_are_averaged_before_the_rate_changes(sounds) -> None:
    values = sounds.tone(0.3, rate=48_000, channels=2)
    data = sounds.encode(values, rate=48_000, subtype="FLOAT")
    mono = sounds.encode(values.mean(0), rate=48_000, subtype="FLOAT")
    assert torch.equal(read_audio(data, rate=16_000), read_audio(mono, rate=16_000))


@pytest.mark.parametrize("method", ["soxr_hq", "soxr_vhq", "soxr_mq", "kaiser64", "torchaudio"])
@pytest.mark.parametrize(("file_rate", "rate"), [(44_100, 16_000), (8_000, 22_050), (48_000, 16_000)])
def test_a_converted_crop_equals_the_same_stretch_of_the_whole(sounds, method, file_rate, rate) -> None:
    data = sounds.encode(sounds.tone(1.5, rate=file_rate), rate=file_rate, subtype="FLOAT")
    whole = read_audio(data, rate=rate, resample=method)
    for start_s in (0.0, 0.0123, 0.70001, 1.3):
        crop = read_audio(data, rate=rate, resample=method, start_s=start_s, duration_s=0.15)
        first = round(start_s * rate)
        assert crop.shape == (1, round(0.15 * rate))
        assert (crop - whole[:, first : first + crop.shape[1]]).abs().max() < 1e-6


def test_only_the_crop_is_read(sounds, monkeypatch) -> None:
    import soundfile

    data = sounds.encode(sounds.tone(20.0))
    count = 0
    read = soundfile.SoundFile.read

    def counted(self, frames=-1, **options):
        nonlocal count
        made = read(self, frames, **options)
        count += len(made)
        return made

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    read_audio(data, start_s=10.0, duration_s=0.5)
    assert count == 8000
    count = 0
    read_audio(data, rate=8000, start_s=10.0, duration_s=0.5)
    assert 8000 < count < 12_000


def test_mp3_crops_are_exact_and_quiet(sounds, capfd) -> None:
    noise = np.random.default_rng(0).uniform(-0.6, 0.6, (1, 80_000)).astype(np.float32)
    noise[:, 20_000:50_000] *= 0.01
    data = sounds.encode(noise, form="MP3")
    whole = read_audio(data)
    for start in (17_123, 33_333, 52_000, 79_999):
        crop = read_audio(data, start_s=start / 16_000, duration_s=0.5)
        assert torch.equal(crop, whole[:, start : start + 8000])
    assert capfd.readouterr().err == ""


def test_a_recording_that_ends_before_the_crop_gives_what_there_is(sounds) -> None:
    data = sounds.encode(sounds.tone(0.5))
    assert read_audio(data, start_s=0.4, duration_s=3.0).shape == (1, 1600)


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG", "AIFF"])
def test_a_start_at_or_after_the_end_is_said(sounds, form) -> None:
    data = sounds.encode(sounds.tone(0.5), form=form)
    with pytest.raises(InputError, match=r"start_s 0.5 is at or after the end; the recording has 0.5 s"):
        load_audio(data, start_s=0.5)


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG"])
def test_recordings_of_one_and_two_samples(sounds, samples, form) -> None:
    data = sounds.encode(np.full((1, samples), 0.5, np.float32), rate=48_000, form=form)
    assert read_audio(data).shape == (1, samples)
    assert read_audio(data, rate=16_000).shape == (1, 1)
    assert read_audio(data, rate=8000, resample="kaiser64").shape == (1, 1)


def test_eight_channels_at_192_khz(sounds) -> None:
    data = sounds.encode(sounds.tone(0.25, rate=192_000, channels=8), rate=192_000, subtype="PCM_24")
    assert read_audio(data, rate=16_000).shape == (1, 4000)
    assert probe_audio(data).channels == 8


def test_floats_beyond_one_are_kept_and_said(sounds) -> None:
    loaded = load_audio(sounds.encode(8 * sounds.tone(0.1), subtype="FLOAT"))
    assert loaded.meta["peak"] == float(loaded.value.abs().max()) > 3


def test_levels(sounds) -> None:
    data = sounds.encode(0.1 * sounds.tone(1.0), subtype="FLOAT")
    peak = load_audio(data, normalize="peak")
    assert peak.meta["peak"] == pytest.approx(1.0)
    assert peak.meta["gain_db"] > 20
    rms = load_audio(data, normalize="rms").value
    assert float(rms.square().mean().sqrt()) == pytest.approx(0.1, rel=1e-5)
    silent = load_audio(sounds.encode(np.zeros(8000, np.float32)), normalize="lufs")
    assert silent.meta["gain_db"] == 0.0
    assert not silent.value.any()


def test_header_only(sounds, tmp_path) -> None:
    path = tmp_path / "a.flac"
    path.write_bytes(sounds.encode(sounds.tone(0.5, rate=44_100, channels=2), 44_100, "FLAC", "PCM_24"))
    info = probe_audio(path)
    assert (info.rate, info.channels, info.frames, info.container, info.subtype) == (
        44_100,
        2,
        22_050,
        "FLAC",
        "PCM_24",
    )
    assert info.duration_s == 0.5


# What cannot be used, and the words for it.


def test_paths(tmp_path) -> None:
    with pytest.raises(InputError, match=r"^gone.wav: no such file"):
        load_audio(tmp_path / "gone.wav")
    with pytest.raises(InputError, match=str(tmp_path)):
        load_audio(tmp_path / "gone.wav", show_paths=True)
    with pytest.raises(InputError, match="is a folder. Give one recording"):
        load_audio(tmp_path)
    (tmp_path / "empty.wav").touch()
    with pytest.raises(InputError, match=r"empty.wav: the file is empty \(0 bytes\)"):
        load_audio(tmp_path / "empty.wav")
    with pytest.raises(InputError, match="not 'int'"):
        load_audio(3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="opened as text"), (tmp_path / "empty.wav").open() as handle:
        load_audio(handle)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x89PNG\r\n\x1a\n" + b"0" * 99, "a PNG picture"),
        (b"%PDF-1.7" + b"0" * 99, "a PDF document"),
        (b"just some words, no sound" * 9, "text"),
        (b"<!DOCTYPE html><html>login</html>", "a web page; the download link may need a login"),
        (b"\0" * 5000, "zeros; the copy or download did not finish"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer"),
        (bytes(range(256)) * 20, "unknown binary data"),
    ],
)
def test_mislabelled_content_is_named(content, words, tmp_path) -> None:
    path = tmp_path / "sound.wav"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"sound.wav: not a recording; the content looks like {words}"):
        load_audio(path)


def test_mp3_under_the_name_of_a_wav_is_read_and_said(sounds, tmp_path) -> None:
    path = tmp_path / "sound.wav"
    path.write_bytes(sounds.encode(sounds.tone(0.5), form="MP3"))
    assert load_audio(path).meta["container"] == "MP3"


@pytest.mark.parametrize("form", ["WAV", "OGG", "AIFF", "CAF"])
def test_a_header_without_samples(sounds, form) -> None:
    with pytest.raises(InputError, match=f"the {form} file holds no samples"):
        load_audio(sounds.encode(np.zeros((1, 0), np.float32), form=form))


def test_not_finite_samples_are_located(sounds) -> None:
    values = sounds.tone(2.0)
    values[0, 24_000] = np.nan
    with pytest.raises(InputError, match=r"NaN or infinite, the first at 1.5 s"):
        load_audio(sounds.encode(values, subtype="FLOAT"))
    values[0, 24_000] = np.inf
    with pytest.raises(InputError, match=r"NaN or infinite"):
        load_audio(sounds.encode(values, subtype="FLOAT"))
    assert read_audio(sounds.encode(values, subtype="FLOAT"), duration_s=1.0).shape == (1, 16_000)


@pytest.mark.parametrize("rate", [0, 2_000_000, 4_000_000_000])
def test_absurd_rates(sounds, rate) -> None:
    data = bytearray(sounds.encode(sounds.tone(0.1)))
    data[24:28] = struct.pack("<I", rate)
    with pytest.raises(InputError, match="header"):
        load_audio(bytes(data))


def test_ceilings_are_checked_before_decoding(sounds) -> None:
    data = bytearray(sounds.encode(sounds.tone(0.5), form="FLAC"))
    facts = int.from_bytes(data[18:26], "big")
    data[18:26] = (facts >> 36 << 36 | 16_000 * 3600 * 8).to_bytes(8, "big")
    with pytest.raises(LimitError, match="seconds 28,800 is over the limit of 21,600"):
        load_audio(bytes(data))
    whole = sounds.encode(sounds.tone(2.0))
    with pytest.raises(LimitError, match="decoded bytes 128,000 is over"):
        load_audio(whole, limits=Limits(decoded_bytes=100_000))
    with pytest.raises(LimitError, match="bytes"):
        load_audio(whole, limits=Limits(file_bytes=1000))
    assert read_audio(whole, limits=Limits(decoded_bytes=100_000), duration_s=0.5).shape == (1, 8000)


def test_options_are_checked_with_their_names(sounds) -> None:
    data = sounds.encode(sounds.tone(0.1))
    for change, words in {
        "rate": (0, "rate is 10 to 1,000,000 Hz"),
        "start_s": (-1.0, "start_s is 0 or more"),
        "duration_s": (0.0, "duration_s is more than 0"),
        "resample": ("soxr_hg", "Did you mean 'soxr_hq'"),
        "normalize": ("lusf", "Did you mean 'lufs'"),
        "on_truncated": ("skip", "'error' or 'warn'"),
        "channel": (-1, "counts from 0"),
        "sart_s": (1.0, "Did you mean 'start_s'"),
        "array_rate": (float("inf"), "array_rate is 10 to 1,000,000 Hz, got inf"),
        "mono": ("maybe", "mono is true or false, got 'maybe'"),
    }.items():
        with pytest.raises(ConfigError, match=words[1]):
            load_audio(data, **{change: words[0]})
    assert AudioOptions(rate=16_000).with_(mono=False).rate == 16_000
    for change in (
        {"channel": 1.5},
        {"start_s": None},
        {"duration_s": "x"},
        {"rate": True},
        {"normalize": ["peak"]},
    ):
        with pytest.raises(ConfigError, match=rf"{next(iter(change))} is (a|true)"):
            AudioOptions(**change)


def test_a_file_that_may_not_be_opened_is_an_input_error(tmp_path, monkeypatch) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"^a.wav: cannot be opened \(Permission denied\)"):
        load_audio(path)


# Arrays and rows.


def test_arrays(sounds) -> None:
    values = sounds.tone(0.2, channels=2)
    assert np.array_equal(read_audio(values, array_rate=16_000, mono=False), values)
    assert np.array_equal(read_audio(torch.from_numpy(values[0]), array_rate=16_000)[0], values[0])
    assert read_audio({"array": values[0].tolist(), "sampling_rate": 16_000}, rate=8000).shape == (1, 1600)
    assert read_audio(
        Sample(torch.from_numpy(values), "audio", {"sampling_rate": 16_000}), rate=8000
    ).shape == (1, 1600)
    row = {"bytes": sounds.encode(values), "path": "somewhere/else.wav"}
    assert read_audio(row).shape == (1, 3200)
    whole = np.array([-32768, 0, 16384], np.int16)
    assert read_audio(whole, array_rate=8000)[0].tolist() == [-1.0, 0.0, 0.5]
    assert read_audio(np.array([0, 128], np.uint8), array_rate=8000)[0].tolist() == [-1.0, 0.0]


def test_tensors_of_any_floating_type(sounds) -> None:
    values = torch.from_numpy(sounds.tone(0.1, channels=2))
    for kind in (torch.bfloat16, torch.float16, torch.float64):
        found = read_audio(values.to(kind), array_rate=16_000, mono=False)
        assert torch.equal(found, values.to(kind).float())
    assert read_audio(values.requires_grad_(), array_rate=16_000).requires_grad is False


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"array": [[1.0, 2.0], [1.0]], "sampling_rate": 8000}, "channels of one length"),
        ({"array": ["a", "b"], "sampling_rate": 8000}, "no plain table of numbers"),
        ({"array": [0.0], "sampling_rate": "x"}, r"sampling rate of the array is 'x'; expected 10 to"),
        ({"array": [0.0], "sampling_rate": float("nan")}, "sampling rate of the array is nan"),
        ({"array": [0.0], "sampling_rate": 44.1}, "sampling rate of the array is 44.1"),
        (Sample(torch.zeros(1, 9), "audio", {"sampling_rate": "16k"}), "sampling rate of the array is '16k'"),
    ],
)
def test_rows_that_cannot_be_used(row, message) -> None:
    with pytest.raises(InputError, match=message):
        load_audio(row)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": float("nan")}, "rate is 10 to 1,000,000 Hz, got nan"),
        ({"rate": "16k"}, "rate is a number, got '16k'"),
        ({"channel": 1.5}, "channel is a whole number, got 1.5"),
        ({"array_rate": float("inf")}, "array_rate is 10 to"),
    ],
)
def test_options_of_another_type_are_named(options, message) -> None:
    with pytest.raises(ConfigError, match=message):
        load_audio(np.zeros(9, np.float32), **options)


def test_a_sample_keeps_its_id_and_what_it_says_about_its_file(sounds) -> None:
    sample = load_audio(sounds.encode(sounds.tone(0.5, channels=2)), start_s=0.1, mono=False)
    told = Sample(sample.value, "audio", {**sample.meta, "microphone": "left"}, id="yard.wav")
    again = load_audio(told, rate=8000, start_s=0.2)
    assert again.id == "yard.wav"
    assert again.meta["microphone"] == "left"
    assert again.meta["container"] == "WAV"
    assert (again.meta["file_rate"], again.meta["sampling_rate"], again.meta["channels"]) == (16_000, 8000, 2)
    assert again.meta["start_s"] == pytest.approx(0.3)
    assert again.meta["duration_s"] == pytest.approx(0.2)


@pytest.mark.parametrize("channels", [2, 3, 7])
def test_all_channels_averaged_later_are_the_average_read_at_once(sounds, channels) -> None:
    values = np.random.default_rng(0).normal(0, 0.2, (channels, 40_000)).astype(np.float32)
    data = sounds.encode(values, subtype="FLOAT")
    assert torch.equal(to_wave(load_audio(data, mono=False), 16_000), load_audio(data).value[0])


def test_arrays_that_cannot_be_used(sounds) -> None:
    values = sounds.tone(0.2)
    with pytest.raises(InputError, match="does not say its sampling rate"):
        load_audio(values)
    with pytest.raises(
        InputError, match="rates do not match: the input says 16000 Hz and array_rate says 44100"
    ):
        load_audio({"array": values, "sampling_rate": 16_000}, array_rate=44_100)
    with pytest.raises(InputError, match=r"array: 3200 channels of 1 samples; is it \[T, C\]\? Transpose"):
        load_audio(values.T, array_rate=16_000)
    with pytest.raises(InputError, match="array has no samples"):
        load_audio(np.zeros(0, np.float32), array_rate=16_000)
    with pytest.raises(InputError, match="int64"):
        load_audio(np.zeros(9, np.int64), array_rate=16_000)
    with pytest.raises(InputError, match="NaN or infinite"):
        load_audio(np.array([0.0, np.nan]), array_rate=16_000)
    with pytest.raises(InputError, match="expected 'array'"):
        load_audio({"audio": 1})
    with pytest.raises(ConfigError, match="a file says its own rate"):
        load_audio(sounds.encode(values), array_rate=16_000)


def test_a_missing_library_is_named(sounds, monkeypatch) -> None:
    import sys

    data = sounds.encode(sounds.tone(0.1))
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(DependencyError, match=r"verticlip\[audio\]"):
        load_audio(data)


@pytest.mark.data
def test_real_recordings(data_dir) -> None:
    path = sorted((data_dir / "audio" / "esc10" / "rain").glob("*.ogg"))[0]
    loaded = load_audio(path, rate=16_000)
    assert loaded.value.shape[1] == pytest.approx(5 * 16_000, rel=0.01)
    assert torch.equal(loaded.value, load_audio(path, rate=16_000).value)
