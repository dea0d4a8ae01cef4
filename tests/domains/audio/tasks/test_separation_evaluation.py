"""Measuring separation: mixtures of folders and tables, numbers against the metrics, and what is left out."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from verticlip.core.errors import ConfigError, DataError
from verticlip.domains.audio.metrics.separation import bss_eval, plain_sdr, si_sdr
from verticlip.domains.audio.tasks.separation import separate
from verticlip.domains.audio.tasks.separation_evaluation import (
    KnownMixture,
    MixingOptions,
    measure_separation,
    mixtures_of,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "clipsep"))

import make_separator

RATE = make_separator.RATE


@pytest.fixture(scope="module")
def model():
    return make_separator.model()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return make_separator.sounds(tmp_path_factory.mktemp("known"), each=3) / "sounds"


def test_a_folder_gives_equally_loud_mixtures_of_two_classes(model, folder):
    made = list(mixtures_of(folder, model, MixingOptions(seconds=0.75)))
    assert len(made) == 9
    for one in made:
        assert one.mixture.shape == (3000,)
        torch.testing.assert_close(one.sources.sum(dim=0), one.mixture)
        assert len(set(one.labels)) == 2
        levels = one.sources.square().mean(dim=1).sqrt()
        torch.testing.assert_close(levels, torch.full((2,), 0.05), atol=1e-4, rtol=0)
    again = list(mixtures_of(folder, model, MixingOptions(seconds=0.75)))
    assert [one.id for one in again] == [one.id for one in made]
    other = list(mixtures_of(folder, model, MixingOptions(seconds=0.75, seed=1)))
    assert [one.id for one in other] != [one.id for one in made]


def test_levels_lengths_limits_and_words_are_the_users(model, folder):
    options = MixingOptions(level_db=6.0, seconds=2.0, limit=2)
    made = list(mixtures_of(folder, model, options, words={"hiss": "high tone"}))
    assert len(made) == 2
    for one in made:
        assert one.mixture.shape == (8000,)
        levels = 20 * one.sources.square().mean(dim=1).sqrt().log10()
        assert float(levels[0] - levels[1]) == pytest.approx(6.0, abs=0.01)
        assert ["high tone" if label == "hiss" else label for label in one.labels] == list(one.queries)
    with pytest.raises(ConfigError, match="no class folder 'hum'"):
        list(mixtures_of(folder, model, words={"hum": "x"}))
    with pytest.raises(ConfigError, match="seconds"):
        MixingOptions(seconds=0)


def test_numbers_are_those_of_the_metrics_over_the_mixture(model, folder):
    mixture = next(iter(mixtures_of(folder, model, MixingOptions(seconds=1.0))))
    report = measure_separation(model, [mixture])
    found = separate(model, mixture.mixture, list(mixture.queries), array_rate=RATE).targets[:, 0]
    sources, whole = mixture.sources.numpy(), np.stack([mixture.mixture.numpy()] * 2)
    for row, after, before in zip(report.rows, si_sdr(sources, found), si_sdr(sources, whole), strict=True):
        assert row["si_sdr"] == pytest.approx(after)
        assert row["si_sdr_improvement"] == pytest.approx(after - before)
    sdr = bss_eval(sources, found)["sdr"]
    np.testing.assert_allclose([row["sdr"] for row in report.rows], sdr)
    np.testing.assert_allclose(sdr, plain_sdr(sources, found))
    mean = np.mean([row["sir_improvement"] for row in report.rows])
    assert report.overall["sir_improvement"].value == pytest.approx(mean)
    assert report.counts["all"] == 2
    assert set(report.classes) == set(mixture.labels)
    assert report.to_dict()["overall"]["si_sdr"]["n"] == 1
    plain = measure_separation(model, [mixture], filters=False)
    assert "sdr" not in plain.overall


def test_the_mixture_itself_improves_by_nothing(model, folder, monkeypatch):
    from verticlip.domains.audio.tasks import separation_evaluation

    class Nothing:
        @classmethod
        def of(cls, *_, **__):
            return cls()

        def separate(self, mixture, **_):
            wave = torch.as_tensor(mixture)[None, None].expand(2, 1, -1)
            answers = [type("Answer", (), {"confidence": 1.0, "verdict": "ok"})() for _ in range(2)]
            return type("Found", (), {"targets": wave, "answers": answers})()

    monkeypatch.setattr(separation_evaluation, "AudioSeparator", Nothing)
    report = measure_separation(model, mixtures_of(folder, model, MixingOptions(seconds=0.5, limit=3)))
    for name, one in report.overall.items():
        if name.endswith("_improvement"):
            assert one.value == pytest.approx(0.0, abs=1e-9)
    assert report.overall["si_sdr"].value == pytest.approx(0.0, abs=1.0)


def test_a_table_names_mixtures_targets_and_queries(model, tmp_path):
    low, hiss = make_separator.wave("low"), make_separator.wave("hiss")
    soundfile.write(tmp_path / "mix.wav", low + hiss, RATE)
    soundfile.write(tmp_path / "low.wav", low, RATE)
    soundfile.write(tmp_path / "short.wav", low[:2000], RATE)
    table = tmp_path / "known.csv"
    table.write_text(
        "mixture,target,query,label\nmix.wav,low.wav,a low tone,low\nmix.wav,short.wav,low,low\n"
        "mix.wav,none.wav,low,low\n"
    )
    report = measure_separation(model, mixtures_of(table, model))
    assert report.counts == {"all": 1, "low": 1}
    assert report.rows[0]["query"] == "a low tone"
    # What no query asks for counts as interference.
    assert np.isfinite(report.rows[0]["sir"])
    assert len(report.failures) == 2
    assert "known.csv row 3: the mixture has 1.000 s and the target 0.500 s" in report.failures[0]
    # A query that cannot be asked costs its row, not the run.
    table.write_text("mixture,target,query,label\nmix.wav,low.wav,low,low\nmix.wav,low.wav,,low\n")
    report = measure_separation(model, mixtures_of(table, model), filters=False)
    assert (report.counts["all"], len(report.failures)) == (1, 1)
    assert "known.csv row 3: Query 1 is empty" in report.failures[0]
    table.write_text("mixture,query\nmix.wav,low\n")
    with pytest.raises(DataError, match="no column 'target'"):
        list(mixtures_of(table, model))


def test_silent_and_damaged_sources_are_left_out_and_said(model, tmp_path):
    root = make_separator.sounds(tmp_path, each=4) / "sounds"
    soundfile.write(root / "low" / "0.wav", np.zeros(4000), RATE)
    (root / "high" / "1.wav").write_bytes(b"RIFF")
    report = measure_separation(model, mixtures_of(root, model, MixingOptions(seconds=0.5)), filters=False)
    assert any("the source 'low' is silent" in failure for failure in report.failures)
    assert any("high/1.wav" in failure for failure in report.failures)
    silence = KnownMixture("x", RATE, torch.zeros(100), torch.zeros(1, 100), ("low",), ("low",))
    with pytest.raises(DataError, match="Nothing could be measured. x: the source 'low' is silent"):
        measure_separation(model, [silence])
    with pytest.raises(DataError, match="at least two classes"):
        list(mixtures_of(_one_class(tmp_path), model))


def _one_class(folder: Path) -> Path:
    home = folder / "alone" / "low"
    home.mkdir(parents=True)
    soundfile.write(home / "0.wav", make_separator.wave("low"), RATE)
    return folder / "alone"
