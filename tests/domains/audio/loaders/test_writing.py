"""Writing: exact round trips, clipping counted, whole files or none."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest
import torch
from verticlip.core.errors import ConfigError, InputError
from verticlip.domains.audio.loaders import writing
from verticlip.domains.audio.loaders.audio import probe_audio, read_audio
from verticlip.domains.audio.loaders.writing import AudioWriter, write_audio


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".w64", ".aiff"])
@pytest.mark.parametrize(("subtype", "bits"), [("PCM_16", 16), ("PCM_24", 24)])
def test_whole_numbers_come_back_bit_for_bit(tmp_path, suffix, subtype, bits) -> None:
    full = 2 ** (bits - 1)
    steps = torch.randint(-full, full, (2, 999), generator=torch.Generator().manual_seed(0))
    steps[0, :3] = torch.tensor([-full, full - 1, 0])
    values = (steps.double() / full).float()
    written = write_audio(tmp_path / f"a{suffix}", values, 22_050, subtype=subtype)
    assert torch.equal(read_audio(written.path, mono=False), values)
    assert (written.frames, written.channels, written.rate, written.clipped) == (999, 2, 22_050, 0)
    assert probe_audio(written.path).subtype == subtype


def test_floats_come_back_beyond_one(tmp_path) -> None:
    values = 3 * torch.randn(500, generator=torch.Generator().manual_seed(0))
    written = write_audio(tmp_path / "a.wav", values, 16_000, subtype="FLOAT")
    assert torch.equal(read_audio(written.path)[0], values)
    assert written.clipped == 0


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32"])
def test_clipping_is_counted_and_does_not_wrap(tmp_path, subtype) -> None:
    written = write_audio(
        tmp_path / "a.wav", np.array([0.5, 1.0, 1.5, -1.0, -1.2, 9.0]), 8000, subtype=subtype
    )
    assert written.clipped == 3
    assert read_audio(written.path)[0].tolist() == pytest.approx([0.5, 1.0, 1.0, -1.0, -1.0, 1.0], abs=1e-4)


def test_rounding_is_to_the_nearest(tmp_path) -> None:
    write_audio(tmp_path / "a.wav", np.array([0.6, 1.4, -0.6, -1.4]) / 32_768, 8000)
    assert (read_audio(tmp_path / "a.wav")[0] * 32_768).tolist() == [1.0, 1.0, -1.0, -1.0]


def test_ogg(tmp_path, sounds) -> None:
    values = sounds.tone(0.5)
    written = write_audio(tmp_path / "a.ogg", values, 16_000)
    assert written.subtype == "VORBIS"
    made = read_audio(written.path)
    assert made.shape == values.shape
    assert float((made - torch.from_numpy(values)).abs().max()) < 0.2
    assert write_audio(tmp_path / "b.ogg", values, 16_000, subtype="OPUS").subtype == "OPUS"


def test_blocks_make_the_same_file(tmp_path, sounds) -> None:
    values = sounds.tone(1.0, channels=2)
    write_audio(tmp_path / "whole.wav", values, 16_000)
    with AudioWriter(tmp_path / "blocks.wav", 16_000, channels=2) as writer:
        for start in range(0, 16_000, 700):
            writer.write(values[:, start : start + 700])
    assert (tmp_path / "blocks.wav").read_bytes() == (tmp_path / "whole.wav").read_bytes()
    assert writer.written.frames == 16_000


def test_an_error_leaves_what_was_there(tmp_path) -> None:
    path = tmp_path / "a.wav"
    write_audio(path, torch.ones(9) / 2, 8000)
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="interrupted"), AudioWriter(path, 8000) as writer:
        writer.write(torch.zeros(5))
        raise RuntimeError("interrupted")
    with (
        pytest.raises(InputError, match="NaN or infinite, in the block after 0.000625 s"),
        AudioWriter(path, 8000) as writer,
    ):
        writer.write(torch.zeros(5))
        writer.write(torch.tensor([0.0, float("nan")]))
    with pytest.raises(InputError, match="nothing was written"), AudioWriter(path, 8000):
        pass
    with pytest.raises(InputError, match="NaN or infinite"):
        write_audio(path, torch.full((3,), float("inf")), 8000)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["a.wav"]


def test_what_cannot_be_written(tmp_path) -> None:
    wave = torch.zeros(9)
    with pytest.raises(ConfigError, match=r"unknown suffix '.wave' .* Did you mean '.wav'"):
        write_audio(tmp_path / "a.wave", wave, 8000)
    with pytest.raises(ConfigError, match=r"FLAC is not written as 'FLOAT'; known: PCM_16, PCM_24"):
        write_audio(tmp_path / "a.flac", wave, 8000, subtype="FLOAT")
    with pytest.raises(InputError, match="with samples in it, got float32 \\[0\\]"):
        write_audio(tmp_path / "a.wav", torch.zeros(0), 8000)
    with pytest.raises(InputError, match="got int64"):
        write_audio(tmp_path / "a.wav", np.zeros(3, np.int64), 8000)
    with pytest.raises(InputError, match="whole number of 10 to 1,000,000 Hz, got 0"):
        write_audio(tmp_path / "a.wav", wave, 0)
    with pytest.raises(InputError, match="FLAC PCM_16 does not take 9 channels"):
        write_audio(tmp_path / "a.flac", torch.zeros(9, 9), 8000)
    with (
        pytest.raises(InputError, match="a block of 2 channels, the file has 1"),
        AudioWriter(tmp_path / "a.wav", 8000) as writer,
    ):
        writer.write(torch.zeros(2, 9))
    assert not list(tmp_path.iterdir())


def test_over_four_gigabytes(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(writing, "_WAV_CEILING", 1000)
    with (
        pytest.raises(InputError, match=r"over the 4 GB that WAV can announce. Pass frames="),
        AudioWriter(tmp_path / "a.wav", 8000) as writer,
    ):
        writer.write(torch.zeros(501))
    values = torch.linspace(-0.5, 0.5, 501)
    written = write_audio(tmp_path / "a.wav", values, 8000)
    assert written.path.read_bytes()[:4] == b"RF64"
    assert probe_audio(written.path).container == "RF64"
    assert float((read_audio(written.path)[0] - values).abs().max()) < 2e-5


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_a_name_that_is_not_utf_8(tmp_path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.wav")
    values = torch.linspace(-1, 1, 100)
    write_audio(path, values, 8000, subtype="FLOAT")
    assert torch.equal(read_audio(path)[0], values)


@pytest.mark.skipif(os.name == "nt", reason="the ceiling stands in for a full disk")
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
@pytest.mark.parametrize("room", [0, 50_000])
def test_what_the_system_refuses_names_the_file_and_the_reason(tmp_path, suffix, room) -> None:
    import resource

    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 400_000).astype(np.float32)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            write_audio(tmp_path / f"long{suffix}", noise, 16_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.EFBIG
    assert caught.value.filename == str(tmp_path / f"long{suffix}")
    assert not list(tmp_path.iterdir())


def test_an_error_of_the_caller_stays_what_it_was(tmp_path, sounds) -> None:
    import soundfile

    (tmp_path / "no.wav").write_bytes(b"nothing")
    for error in (AssertionError, soundfile.LibsndfileError):
        with pytest.raises(error), AudioWriter(tmp_path / "a.wav", 16_000) as writer:
            writer.write(sounds.tone(0.1))
            if error is AssertionError:
                raise AssertionError("mine")
            soundfile.read(tmp_path / "no.wav")
    assert [path.name for path in tmp_path.iterdir()] == ["no.wav"]
