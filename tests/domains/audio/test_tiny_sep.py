"""The shipped separator does what its card says: separates unseen clips, knows what is absent, keeps silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import verticlip
from verticlip.core.files import read_json
from verticlip.core.registry import room
from verticlip.domains.audio.tasks.separation import AudioSeparator, separate
from verticlip.domains.audio.tasks.separation_evaluation import MixingOptions, measure_separation, mixtures_of

NAME = "audio/tiny-sep"
RATE = 16_000


@pytest.fixture(scope="module")
def model():
    return verticlip.from_pretrained(NAME)


def test_it_is_small_and_its_numbers_are_stored():
    folder = room("audio").folder / "weights" / "tiny-sep"
    assert (folder / "model.safetensors").stat().st_size < 12 * 1024**2
    report = read_json(folder / "metrics.json")["validation"]
    assert report["score"] >= 4.0
    assert report["worst_class"] > 0.0
    assert report["chance"] == 0.0


def test_silence_stays_silence(model):
    found = separate(model, torch.zeros(RATE), ["dog barking", "rain"], array_rate=RATE)
    assert not found.targets.any()
    assert [answer.verdict for answer in found.answers] == ["silent", "silent"]


def test_level_does_not_matter(model):
    rng = np.random.default_rng(0)
    wave = (0.1 * rng.standard_normal(2 * RATE)).astype(np.float32)
    loud = separate(model, wave, "rain", array_rate=RATE).targets
    quiet = separate(model, 0.01 * wave, "rain", array_rate=RATE).targets
    torch.testing.assert_close(100 * quiet, loud, atol=2e-3, rtol=0)


@pytest.mark.data
def test_unseen_clips_come_out_of_mixtures(model, data_dir, tmp_path):
    held_out = tmp_path / "held-out"
    for path in sorted((data_dir / "audio" / "esc10").glob("*/4-*.ogg"))[::4]:
        target = held_out / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(path)
    report = measure_separation(model, mixtures_of(held_out, model, MixingOptions(limit=8)), filters=False)
    assert report.overall["si_sdr_improvement"].value > 3.0
    assert not report.failures


@pytest.mark.data
def test_what_is_not_there_has_low_confidence(model, data_dir):
    clips = {
        name: next(iter(sorted((data_dir / "audio" / "esc10" / name).glob("4-*.ogg"))))
        for name in ("dog_bark", "rain")
    }
    separator = AudioSeparator.of(model, ["dog barking", "rain", "rooster crowing", "helicopter"])
    verdicts = {}
    for name, path in clips.items():
        answers = separator.separate(Path(path)).answers
        verdicts[name] = {answer.query: answer.verdict for answer in answers}
    assert verdicts["dog_bark"]["dog barking"] == "ok"
    assert verdicts["rain"]["rain"] == "ok"
    assert verdicts["dog_bark"]["helicopter"] == "low"
    assert verdicts["rain"]["rooster crowing"] == "low"
