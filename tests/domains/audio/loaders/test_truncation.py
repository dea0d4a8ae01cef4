"""A file that was cut off is said to be; a whole one never is."""

from __future__ import annotations

import contextlib
import io
import struct

import numpy as np
import pytest
from verticlip.core.errors import InputError
from verticlip.core.truncation import missing_share
from verticlip.domains.audio.loaders.audio import load_audio

FORMATS = ["WAV", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC", "OGG", "MP3"]


def share(data: bytes) -> float | None:
    return missing_share(io.BytesIO(data), len(data))


@pytest.mark.parametrize("form", FORMATS)
def test_whole_files_are_whole(sounds, form) -> None:
    for seconds in (0.01, 0.5):
        data = sounds.encode(sounds.tone(seconds, channels=2), form=form)
        assert share(data) is None
        load_audio(data)


@pytest.mark.parametrize("form", FORMATS)
def test_every_cut_is_said(sounds, form) -> None:
    data = sounds.encode(sounds.tone(2.0), form=form)
    for part in (0.05, 0.3, 0.5, 0.9, 0.97):
        with pytest.raises(InputError, match="damaged or cut off|header is damaged|not a recording"):
            load_audio(data[: int(part * len(data))])


def test_the_message_says_how_much_and_what_to_do(sounds) -> None:
    data = sounds.encode(sounds.tone(2.0))
    words = r"50 % of the sound that its header announces is missing. .* on_truncated='warn'"
    with pytest.raises(InputError, match=words):
        load_audio(data[: len(data) // 2])
    flac = sounds.encode(sounds.tone(3.0), form="FLAC")
    with pytest.raises(InputError, match=r"decoding stops after [\d.]+ s of 3 s"):
        load_audio(flac[: len(flac) // 2])


@pytest.mark.parametrize("form", ["WAV", "OGG", "FLAC", "MP3", "AIFF"])
def test_what_is_there_can_be_taken(sounds, form, caplog) -> None:
    data = sounds.encode(sounds.tone(6.0), form=form)
    loaded = load_audio(data[: len(data) // 2], on_truncated="warn")
    assert loaded.meta["truncated"] is True
    assert 1.0 < loaded.meta["duration_s"] < 3.5
    assert "damaged or cut off" in caplog.text
    whole = load_audio(data, on_truncated="warn")
    assert "truncated" not in whole.meta
    assert (whole.value[0, :16_000] - loaded.value[0, :16_000]).abs().max() < 1e-4


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x7FFFF000])
def test_a_length_left_open_is_no_cut(sounds, length) -> None:
    data = bytearray(sounds.encode(sounds.tone(0.5)))
    place = data.find(b"data") + 4
    data[place : place + 4] = struct.pack("<I", length)
    assert share(bytes(data)) is None
    assert load_audio(bytes(data)).meta["duration_s"] == 0.5


def test_bytes_behind_the_sound_are_no_cut(sounds) -> None:
    data = sounds.encode(sounds.tone(0.5))
    assert load_audio(data + b"LIST" * 100).meta["duration_s"] == 0.5


def test_noise_never_raises_anything_else(sounds) -> None:
    rng = np.random.default_rng(0)
    for form in ("WAV", "FLAC", "OGG", "AIFF", "W64", "CAF"):
        data = np.frombuffer(sounds.encode(sounds.tone(0.2), form=form), np.uint8)
        for _ in range(25):
            damaged = data.copy()
            places = rng.integers(0, min(len(data), 120), 4)
            damaged[places] = rng.integers(0, 256, 4)
            # Damage may also leave a file that can be read; any other error would fail the test.
            with contextlib.suppress(InputError):
                load_audio(damaged.tobytes(), duration_s=1.0)
