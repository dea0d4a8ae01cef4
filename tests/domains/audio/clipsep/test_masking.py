"""Windows of masks on one grid: reconstruction, equality for any blocks, no borders, one pass for all queries."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from verticlip.core.errors import ConfigError, InputError
from verticlip.domains.audio.clipsep.masking import MaskStream, query_masks, separate_wave
from verticlip.domains.audio.clipsep.spectra import Spectra

sys.path.insert(0, str(Path(__file__).parent))

import make_separator

SPECTRA = Spectra(n_fft=128, hop_length=32, win_length=128, rows=32)


def _ones(magnitude: torch.Tensor) -> torch.Tensor:
    return torch.ones(len(magnitude), 2, *magnitude.shape[2:])


def _by_level(magnitude: torch.Tensor) -> torch.Tensor:
    return torch.cat([magnitude / (magnitude + 1), 1 / (magnitude + 1)], dim=1)


def _run(wave: torch.Tensor, masks, *, blocks: int | None = None, **options) -> torch.Tensor:
    stream = MaskStream(SPECTRA, masks, **{"queries": 2, "frames": 32, "channels": len(wave), **options})
    parts = wave.split(blocks or wave.shape[-1], dim=-1)
    return torch.cat([*(stream.push(part) for part in parts), stream.finish()], dim=-1)


@pytest.mark.parametrize("samples", [1, 31, 32, 127, 128, 1023, 1024, 5000, 20_000])
def test_masks_of_one_give_the_recording_back(samples):
    wave = torch.randn(2, samples, generator=torch.Generator().manual_seed(samples))
    found = _run(wave, _ones)
    assert found.shape == (2, 2, samples)
    torch.testing.assert_close(found, wave.expand(2, -1, -1), atol=2e-6, rtol=0)


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_any_blocks_give_the_same_bits(overlap):
    wave = torch.randn(1, 30_011, generator=torch.Generator().manual_seed(1))
    whole = _run(wave, _by_level, overlap=overlap)
    for blocks in (7, 1000, 4096, 29_999):
        assert torch.equal(_run(wave, _by_level, overlap=overlap, blocks=blocks), whole)


def test_masks_that_do_not_depend_on_the_window_leave_no_trace_of_windows():
    wave = torch.randn(1, 30_000, generator=torch.Generator().manual_seed(2))
    spectrum = SPECTRA.stft(wave)
    mask = _by_level(spectrum.abs()[None])[0]
    expected = SPECTRA.istft(mask[:, None] * spectrum[None], 30_000)
    torch.testing.assert_close(_run(wave, _by_level), expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("blocks", [None, 1000])
def test_the_network_sees_what_training_shows_it(blocks):
    # A steady tone has silent bins, and the logarithm shows rounding there: float32 is off by 5.
    spectra, seen = Spectra(), []

    def noting(magnitude: torch.Tensor) -> torch.Tensor:
        seen.append(spectra.log_magnitude(magnitude)[1])
        return torch.ones(len(magnitude), 1, *magnitude.shape[2:])

    wave = 0.5 * torch.sin(2 * torch.pi * 1000 * torch.arange(65_535) / 16_000)[None]
    stream = MaskStream(spectra, noting, queries=1, frames=256)
    for part in wave.split(blocks or wave.shape[-1], dim=-1):
        stream.push(part)
    stream.finish()
    expected = spectra.log_magnitude(spectra.stft(wave).abs()[:, None])[1]
    assert float(expected.amax() - expected.amin()) > 15
    assert float((torch.cat(seen) - expected).abs().max()) < 1e-3


def test_masks_fade_from_window_to_window():
    calls: list[int] = []

    def counting(magnitude: torch.Tensor) -> torch.Tensor:
        # Every window has a level of its own: the worst case for borders.
        levels = torch.arange(len(calls), len(calls) + len(magnitude)) % 2
        calls.extend([0] * len(magnitude))
        return levels.float()[:, None, None, None].expand(-1, 2, *magnitude.shape[2:])

    time = torch.arange(40_000) / 4000
    wave = torch.sin(2 * torch.pi * 50 * time)[None]
    found = _run(wave, counting)[0, 0]
    assert len(calls) > 50
    assert float(found.diff().abs().max()) <= 1.02 * float(wave.diff().abs().max())


def test_silence_stays_silence_and_channels_share_a_mask():
    assert not _run(torch.zeros(1, 5000), _by_level).any()
    wave = torch.randn(1, 5000, generator=torch.Generator().manual_seed(3))
    both = _run(torch.cat([wave, 0.5 * wave]), _by_level)
    torch.testing.assert_close(both[:, 1], 0.5 * both[:, 0])


def test_a_network_answers_all_queries_from_one_pass():
    network = make_separator.model().network
    wave = torch.from_numpy(make_separator.wave("low", 2.0))[None]
    queries = torch.nn.functional.normalize(
        torch.randn(3, 8, generator=torch.Generator().manual_seed(0)), dim=1
    )
    passes = []
    hook = network.separator.sound_net.register_forward_hook(lambda *_: passes.append(1))
    with torch.inference_mode():
        together = separate_wave(network, wave, queries)
        count = len(passes)
        alone = [separate_wave(network, wave, query[None])[0] for query in queries]
    hook.remove()
    assert len(passes) == 4 * count
    torch.testing.assert_close(together, torch.stack(alone), atol=1e-6, rtol=1e-4)
    assert not torch.allclose(together[0], together[1], atol=1e-3)


def test_hard_masks_are_all_or_nothing():
    network = make_separator.model().network
    magnitude = network.spectra.stft(torch.from_numpy(make_separator.wave("hiss"))[None]).abs()[:, None]
    queries = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        hard, soft = (query_masks(network, queries, hard=one)(magnitude) for one in (True, False))
    assert set(hard.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(hard, (soft > 0.5).float())


def test_bad_input_is_refused():
    with pytest.raises(ConfigError, match=r"overlap is 0 to 0.5 of a window, got 0.75"):
        MaskStream(SPECTRA, _ones, queries=2, frames=32, overlap=0.75)
    with pytest.raises(InputError, match=r"Expected samples \[2, T\], got \[1, 10\]"):
        MaskStream(SPECTRA, _ones, queries=2, frames=32, channels=2).push(torch.zeros(1, 10))
    assert MaskStream(SPECTRA, _ones, queries=2, frames=32).finish().shape == (2, 1, 0)


def test_channels_of_opposite_sign_do_not_cancel():
    wave = torch.randn(1, 5000, generator=torch.Generator().manual_seed(4))
    alone = _run(wave, _by_level)
    both = _run(torch.cat([wave, -wave]), _by_level)
    torch.testing.assert_close(both[:, 0], alone[:, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(both[:, 1], -alone[:, 0], atol=1e-5, rtol=0)


def test_a_recording_shorter_than_the_window_is_seen_as_its_repetition():
    network = make_separator.model().network
    queries = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    magnitude = network.spectra.stft(torch.from_numpy(make_separator.wave("low", 0.1))[None]).abs()[:, None]
    frames = magnitude.shape[-1]
    assert frames < network.options.frames
    with torch.inference_mode():
        found = query_masks(network, queries)(magnitude)
        repeated = magnitude.repeat(1, 1, 1, 4)[..., : network.options.frames]
        whole = query_masks(network, queries)(repeated)
    assert found.shape[-1] == frames
    torch.testing.assert_close(found, whole[..., :frames])


@pytest.mark.parametrize(
    ("kind", "queries"),
    [
        ("late", torch.randn(3, 8, generator=torch.Generator().manual_seed(0))),
        ("nit", torch.randn(2, 8, generator=torch.Generator().manual_seed(0))),
        ("middle", torch.randn(2, 8, generator=torch.Generator().manual_seed(0))),
        ("label", torch.tensor([2, 0])),
    ],
)
def test_shared_queries_give_the_logits_of_their_repetition(kind, queries):
    options = {"n_labels": 3} if kind == "label" else {}
    network = make_separator.model(kinds=(), kind=kind, **options).network
    shown = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        wanted, noise = network.mask_logits(shown, queries)
        each, own = network.mask_logits(shown, queries.expand(2, *queries.shape))
    torch.testing.assert_close(wanted, each, atol=1e-5, rtol=1e-4)
    assert (noise is None) == (own is None) == (kind != "nit")
    if noise is not None:
        torch.testing.assert_close(noise, own, atol=1e-5, rtol=1e-4)
