"""Windows of a recording hold the same bits as the whole, and memory does not grow with it."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
import torch
from verticlip.core.errors import ConfigError, InputError, LimitError
from verticlip.core.limits import Limits
from verticlip.domains.audio.loaders.audio import read_audio
from verticlip.domains.audio.loaders.stream import iter_audio, iter_blocks
from verticlip.domains.audio.loaders.writing import AudioWriter


@pytest.mark.parametrize("method", ["soxr_hq", "soxr_mq", "kaiser64", "torchaudio"])
@pytest.mark.parametrize(
    ("file_rate", "rate"), [(16_000, None), (44_100, 16_000), (8_000, 44_100), (48_000, 16_000)]
)
def test_blocks_join_to_the_whole_bit_for_bit(sounds, method, file_rate, rate) -> None:
    data = sounds.encode(sounds.tone(2.3, rate=file_rate, channels=2), rate=file_rate, form="FLAC")
    for mono in (True, False):
        whole = read_audio(data, rate=rate, resample=method, mono=mono)
        for block_s in (0.37, 1.0, 9.0):
            parts = list(iter_blocks(data, rate=rate, resample=method, mono=mono, block_s=block_s))
            assert torch.equal(torch.cat([part.values for part in parts], dim=1), whole)
            assert [part.last for part in parts] == [False] * (len(parts) - 1) + [True]


@pytest.mark.parametrize(("window", "hop"), [(1000, 1000), (1000, 400), (1000, 999), (700, 1)])
@pytest.mark.parametrize("samples", [1, 999, 1000, 1001, 1400, 2400])
def test_overlapping_windows(sounds, window, hop, samples) -> None:
    values = torch.arange(samples, dtype=torch.float32)[None] / 4096
    given = {"array": values, "sampling_rate": 1000}
    seen = list(iter_audio(given, window_s=window / 1000, hop_s=hop / 1000))
    assert len(seen) == 1 + max(0, math.ceil((samples - window) / hop))
    for index, part in enumerate(seen):
        assert part.start == index * hop
        assert torch.equal(part.values, values[:, part.start : part.start + window])
        assert part.last == (index == len(seen) - 1)
    assert all(part.values.shape[1] == window for part in seen[:-1])


def test_crops_and_rates_in_streams(sounds) -> None:
    data = sounds.encode(sounds.tone(3.0, rate=48_000), rate=48_000)
    options = {"rate": 16_000, "start_s": 0.5, "duration_s": 1.7}
    parts = list(iter_audio(data, window_s=0.5, **options))
    assert parts[0].start == 0
    assert torch.equal(torch.cat([part.values for part in parts], dim=1), read_audio(data, **options))


def test_windows_do_not_share_memory(sounds) -> None:
    first, second, *_ = iter_audio(sounds.encode(sounds.tone(1.0)), window_s=0.25, hop_s=0.1)
    kept = second.values.clone()
    first.values.zero_()
    assert torch.equal(second.values, kept)


def test_memory_stays_flat(tmp_path) -> None:
    path = tmp_path / "long.wav"
    block = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 44_100 * 10)).astype(np.float32)
    with AudioWriter(path, 44_100, channels=2) as writer:
        for _ in range(6):
            writer.write(block)
    next(iter_audio(path, rate=16_000, window_s=1.0))  # what is imported on first use counts for nobody
    tracemalloc.start()
    total = sum(part.values.shape[1] for part in iter_audio(path, rate=16_000, window_s=1.0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 60 * 16_000
    # A minute as float32 mono at 16 kHz would be 3.8 MB.
    assert peak < 1.5e6


def test_ceilings_bound_a_window_not_the_recording(sounds) -> None:
    data = sounds.encode(sounds.tone(2.0))
    tight = Limits(decoded_bytes=20_000)
    assert len(list(iter_audio(data, window_s=0.25, limits=tight))) == 8
    with pytest.raises(LimitError, match="one window: bytes 64,000"):
        next(iter_audio(data, window_s=1.0, limits=tight))
    with pytest.raises(LimitError, match="seconds 2"):
        next(iter_audio(data, window_s=1.0, limits=Limits(seconds=1)))


def test_what_cannot_be_streamed(sounds) -> None:
    data = sounds.encode(sounds.tone(1.0))
    with pytest.raises(ConfigError, match="hop_s is at most window_s"):
        iter_audio(data, window_s=1.0, hop_s=2.0)
    with pytest.raises(ConfigError, match="every 0 s"):
        iter_audio(data, window_s=1.0, hop_s=0.0)
    with pytest.raises(ConfigError, match="needs the whole recording"):
        iter_audio(data, window_s=1.0, normalize="peak")
    with pytest.raises(ConfigError, match="Did you mean 'rate'"):
        iter_audio(data, window_s=1.0, rat=16_000)
    with pytest.raises(InputError, match="is missing"):
        list(iter_audio(data[:9000], window_s=0.1))


def test_damage_in_the_middle_is_said_when_it_is_reached(sounds) -> None:
    data = sounds.encode(sounds.tone(6.0), form="FLAC")
    stream = iter_audio(data[: len(data) // 2], window_s=0.5)
    assert next(stream).values.shape == (1, 8000)
    with pytest.raises(InputError, match="decoding stops after"):
        list(stream)
