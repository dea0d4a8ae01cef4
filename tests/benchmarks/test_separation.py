"""The separation rows compare like with like, and their checks can fail."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("soundfile", reason="the audio extra is not installed")

from verticlip.benchmarks import separation
from verticlip.core.errors import VerticlipError


def test_our_published_path_and_the_peer_give_the_same_sound() -> None:
    pytest.importorskip("librosa")
    model, wave, queries = separation.build(ngf=2), separation.make_wave(1.0), separation.make_queries(2)
    assert separation.check(model, wave, queries)["least_snr_db"] > separation.LEAST_SNR_DB


def test_the_check_fails_on_other_weights(monkeypatch) -> None:
    pytest.importorskip("librosa")
    model, wave, queries = separation.build(ngf=2), separation.make_wave(1.0), separation.make_queries(1)

    def other(network):
        copied = separation.copy.deepcopy(network)
        with torch.no_grad():
            copied.separator.synth_net.bias += 0.5
        return copied

    monkeypatch.setattr(separation, "plain_layout", other)
    with pytest.raises(VerticlipError, match="least_snr_db is"):
        separation.check(model, wave, queries)


def test_the_peer_has_plain_layout_and_ours_has_channels_last() -> None:
    network = separation.build(ngf=2).network
    weight = network.separator.sound_net.unet_block.model[4].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    plain = separation.plain_layout(network).separator.sound_net.unet_block.model[4].weight
    assert plain.is_contiguous()
    torch.testing.assert_close(plain, weight)


def test_ours_answers_every_query_over_the_whole_length() -> None:
    wave = separation.make_wave(0.5)
    found = separation.ours(separation.build(ngf=2), wave, separation.make_queries(3))
    assert found.shape == (3, len(wave))
    assert wave.dtype == np.float32


def test_the_real_time_row_says_its_factor() -> None:
    row = separation.realtime_row(3.0, ngf=2)
    assert row["ratio"] == pytest.approx(3.0 / row["ours"]["median"])
    assert row["note"].startswith("real-time factor 0.")
    assert separation.peak_memory("peer", 60) == separation.HOUR_LIMIT_MIB
