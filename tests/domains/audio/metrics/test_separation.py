"""Separation metrics against closed forms, the stored reference numbers and a well-kept library."""

from __future__ import annotations

import numpy as np
import pytest
from verticlip.core.errors import ConfigError, InputError
from verticlip.domains.audio.metrics.separation import bss_eval, is_silent, plain_sdr, si_sdr


def _sources(count: int = 2, samples: int = 4000, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((count, samples))
    # Neighbouring samples correlate, as in sound.
    return np.stack([np.convolve(row, 0.7 ** np.arange(8), mode="same") for row in noise])


def test_plain_sdr_is_the_energy_ratio() -> None:
    source = _sources(1)[0]
    assert plain_sdr(source, 0.9 * source) == pytest.approx(20.0)
    assert plain_sdr(source, source) == np.inf
    assert np.isnan(plain_sdr(0 * source, source))


def test_si_sdr_ignores_scale_and_counts_only_what_is_orthogonal() -> None:
    source, other = _sources()
    other = other - (other @ source) / (source @ source) * source
    other *= np.linalg.norm(source) / np.linalg.norm(other) * 10 ** (-15 / 20)
    assert si_sdr(source, source + other) == pytest.approx(15.0)
    assert si_sdr(source, -0.01 * (source + other)) == pytest.approx(15.0)
    assert si_sdr(source, 0 * source) == -np.inf
    assert np.isnan(si_sdr(0 * source, source))


def test_si_sdr_can_take_the_mean_away() -> None:
    source = _sources(1)[0]
    source -= source.mean()
    assert si_sdr(source, source + 3.0, zero_mean=True) > 200
    assert si_sdr(source, source + 3.0) < 10


def test_a_short_filter_of_the_source_costs_spatial_error_only() -> None:
    first, second = _sources()
    echo = first + 0.5 * np.concatenate([np.zeros(20), first[:-20]])
    scores = bss_eval([first, second], [echo, second], filter_length=64)
    assert scores["isr"][0] == pytest.approx(plain_sdr(first, echo), abs=0.2)
    assert scores["sir"][0] > 20
    assert scores["sar"][0] > 20
    beyond = bss_eval([first, second], [echo, second], filter_length=8)
    assert beyond["sar"][0] < 10


def test_interference_and_artifact_are_told_apart() -> None:
    first, second = _sources()
    noise = _sources(1, seed=5)[0]
    leak = bss_eval([first, second], [first + 0.1 * second, second], filter_length=16)
    assert leak["sir"][0] == pytest.approx(20.0, abs=1.5)
    assert leak["sar"][0] > 40
    hiss = bss_eval([first, second], [first + 0.1 * noise, second], filter_length=16)
    assert hiss["sar"][0] == pytest.approx(20.0, abs=1.5)
    assert hiss["sir"][0] > 30


def test_version_4_sdr_is_the_plain_ratio_and_version_3_has_no_isr() -> None:
    sources = _sources()
    estimates = sources + 0.3 * _sources(seed=2)
    np.testing.assert_allclose(bss_eval(sources, estimates)["sdr"], plain_sdr(sources, estimates), atol=1e-9)
    third = bss_eval(sources, estimates, version=3)
    assert set(third) == {"sdr", "sir", "sar"}
    assert (third["sdr"] > plain_sdr(sources, estimates)).all()


def test_silent_rows_are_undefined_and_leave_the_others_alone() -> None:
    first, second = _sources()
    estimates = np.stack([first + 0.2 * second, second, second])
    scores = bss_eval([first, second, 0 * first], estimates, filter_length=32)
    alone = bss_eval([first, second], estimates[:2], filter_length=32)
    for name, values in alone.items():
        np.testing.assert_allclose(scores[name][:2], values)
        assert np.isnan(scores[name][2])
    assert np.isnan(bss_eval([first, second], [0 * first, second], filter_length=32)["sdr"][0])
    assert is_silent([first, 0 * first]).tolist() == [False, True]


def test_equal_references_have_no_unique_filters_but_a_projection() -> None:
    first = _sources(1)[0]
    scores = bss_eval([first, first], [first + 0.1 * _sources(1, seed=3)[0]] * 2, filter_length=16)
    assert np.isfinite(scores["sdr"]).all()
    assert np.isfinite(scores["sar"]).all()


@pytest.mark.parametrize("version", [3, 4])
def test_equals_mir_eval(version: int) -> None:
    mir_eval = pytest.importorskip("mir_eval.separation")
    sources = _sources(3, 6000)
    estimates = sources + 0.4 * _sources(3, 6000, seed=9) + 0.2 * np.roll(sources, 1, axis=0)
    scores = bss_eval(sources, estimates, version=version)
    if version == 3:
        sdr, sir, sar, _ = mir_eval.bss_eval_sources(sources, estimates, compute_permutation=False)
    else:
        images = [signals[..., None] for signals in (sources, estimates)]
        sdr, isr, sir, sar, _ = mir_eval.bss_eval_images(*images, compute_permutation=False)
        np.testing.assert_allclose(scores["isr"], isr, atol=1e-5)
    for name, expected in (("sdr", sdr), ("sir", sir), ("sar", sar)):
        np.testing.assert_allclose(scores[name], expected, atol=1e-5)


def test_bad_input_is_refused() -> None:
    sources = _sources()
    with pytest.raises(InputError, match=r"references \[2, 4000\] and estimates \[1, 4000\]"):
        bss_eval(sources, sources[:1])
    with pytest.raises(InputError, match="at least 512 samples, got \\[2, 100\\]"):
        bss_eval(sources[:, :100], sources[:, :100])
    with pytest.raises(InputError, match="estimates hold values that are not finite"):
        si_sdr(sources, sources * np.nan)
    with pytest.raises(InputError, match="references hold no samples"):
        plain_sdr([], [])
    with pytest.raises(ConfigError, match="version must be 3"):
        bss_eval(sources, sources, version=5)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="filter_length must be at least 1"):
        bss_eval(sources, sources, filter_length=0)
