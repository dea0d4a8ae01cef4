"""Separation as users get it: any rate, channels and length, sums, silence, files, queries and confidence."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.types import Sample
from verticlip.domains.audio.tasks.separation import AudioSeparator, file_names, separate, separate_file
from verticlip.domains.audio.tasks.separation_measures import WINDOWS_HEARD, Measures

sys.path.insert(0, str(Path(__file__).parents[1] / "clipsep"))

import make_separator

RATE = make_separator.RATE


@pytest.fixture(scope="module")
def model():
    return make_separator.model()


def _mixture(seconds: float = 2.0, rate: int = RATE, channels: int = 1) -> np.ndarray:
    rows = [
        make_separator.wave("low", seconds, 0, rate) + make_separator.wave("hiss", seconds, seed, rate)
        for seed in range(channels)
    ]
    return np.stack(rows)


@pytest.mark.parametrize(
    ("rate", "channels", "samples"),
    [(RATE, 1, 8000), (RATE, 2, 1), (11_025, 2, 30_011), (8000, 8, 4001), (1000, 1, 777), (44_100, 1, 1)],
)
def test_targets_and_residual_add_up_at_the_rate_and_length_of_the_recording(model, rate, channels, samples):
    wave = torch.from_numpy(_mixture(40.0 * RATE / rate, rate, channels)[:, :samples])
    found = separate(model, wave, ["low", "high tone"], array_rate=rate)
    assert found.rate == rate
    assert found.targets.shape == (2, channels, samples)
    torch.testing.assert_close(found.targets.sum(dim=0) + found.residual, wave, atol=1e-6, rtol=0)
    again = separate(model, wave, ["low", "high tone"], array_rate=rate)
    assert torch.equal(again.targets, found.targets)


def test_what_lies_above_the_model_stays_in_the_residual(model):
    rate = 16_000
    time = torch.arange(rate) / rate
    whistle = 0.3 * torch.sin(2 * torch.pi * 6000 * time)[None]
    found = separate(model, whistle, "low", array_rate=rate)
    middle = slice(2000, -2000)
    assert float(found.targets[..., middle].abs().max()) < 1e-3
    torch.testing.assert_close(found.residual[:, middle], whistle[:, middle], atol=1e-3, rtol=0)


@pytest.mark.parametrize("rate", [RATE, 11_025])
def test_silence_in_is_silence_out(model, rate):
    found = separate(model, torch.zeros(2, 3 * rate), ["low", "hiss"], array_rate=rate)
    assert not found.targets.any()
    assert not found.residual.any()
    assert [answer.verdict for answer in found.answers] == ["silent", "silent"]
    assert found.answers[0].confidence == 0.0
    assert found.answers[0].energy_db is None


def test_queries_do_not_touch_each_other_and_may_repeat(model):
    wave = _mixture()
    alone = separate(model, wave, "low", array_rate=RATE)
    many = separate(model, wave, ["hiss", "low", "low"], array_rate=RATE)
    torch.testing.assert_close(many.targets[1], alone.targets[0], atol=1e-6, rtol=1e-4)
    assert torch.equal(many.targets[1], many.targets[2])
    # Words of the prompt set that mean a class are that class.
    named = separate(model, wave, "low tone", array_rate=RATE)
    torch.testing.assert_close(named.targets, alone.targets)


def test_a_vector_asks_as_its_words_do(model):
    from verticlip.domains.audio.tasks.separation_queries import query_vectors

    vectors = query_vectors(model, ["low"])
    by_vector = separate(model, _mixture(), vectors[0], array_rate=RATE)
    by_words = separate(model, _mixture(), "low", array_rate=RATE)
    assert torch.equal(by_vector.targets, by_words.targets)
    assert by_vector.answers[0].query == "query 1"
    templates = query_vectors(model, ["low"], templates=["{}"])
    assert not torch.allclose(templates, vectors)


def test_samples_crops_and_hard_masks(model):
    wave = torch.from_numpy(_mixture())
    sample = Sample(wave, "audio", {"sampling_rate": RATE})
    crop = separate(model, sample, "low", start_s=0.5, duration_s=1.0)
    torch.testing.assert_close(crop.targets.sum(dim=0) + crop.residual, wave[:, 2000:6000])
    hard = separate(model, sample, "low", mask="hard")
    assert not torch.allclose(hard.targets, separate(model, sample, "low").targets, atol=1e-3)


def test_files_hold_what_memory_would_and_the_report_says_it(model, tmp_path):
    path = tmp_path / "street noise.wav"
    soundfile.write(path, _mixture(3.0, 11_025, 2).T, 11_025, subtype="FLOAT")
    out = tmp_path / "out"
    written = separate_file(model, path, ["low", "a hiss, of sorts", "low"], out, subtype="FLOAT")
    names = [
        f"street noise.{name}" for name in ("low.wav", "a-hiss-of-sorts.wav", "low-2.wav", "residual.wav")
    ]
    assert sorted(one.name for one in out.iterdir()) == sorted(
        [*names, "street noise.png", "street noise.separation.json"]
    )
    whole = separate(model, path, ["low", "a hiss, of sorts", "low"])
    for name, expected in zip(names, [*whole.targets, whole.residual], strict=True):
        values, rate = soundfile.read(out / name, dtype="float32", always_2d=True)
        assert (rate, values.shape) == (11_025, (33_075, 2))
        np.testing.assert_array_equal(values.T, expected.numpy())
    report = json.loads((out / "street noise.separation.json").read_text())
    assert report == json.loads(json.dumps(written.to_dict()))
    assert report["targets"][1]["query"] == "a hiss, of sorts"
    assert report["clipped"] == 0
    assert (out / "street noise.png").read_bytes()[:4] == b"\x89PNG"


def test_a_long_file_is_worked_off_in_bounded_memory(model, tmp_path, monkeypatch):
    path = tmp_path / "long.wav"
    soundfile.write(path, np.tile(_mixture(10.0)[0], 12), RATE)
    held: list[int] = []
    from verticlip.domains.audio.tasks import separation_stream

    take = separation_stream._Queue.take

    def watched(queue, count):
        found = take(queue, count)
        held.append(queue._count)
        return found

    monkeypatch.setattr(separation_stream._Queue, "take", watched)
    separate_file(model, path, "low", tmp_path / "out", picture=False)
    assert len(held) > 3
    # Neither waits for the other: what is read ahead is blocks, not the recording.
    assert max(held) < 4 * 65_536


def test_a_recording_that_breaks_off_leaves_nothing(model, tmp_path):
    path = tmp_path / "cut.wav"
    soundfile.write(path, _mixture(20.0)[0], RATE)
    path.write_bytes(path.read_bytes()[:60_000])
    out = tmp_path / "out"
    with pytest.raises(InputError, match="cut"):
        separate_file(model, path, "low", out)
    assert not out.exists() or not list(out.iterdir())


def test_what_cannot_be_asked_is_said(model, tmp_path):
    wave = _mixture()
    for query, words in (
        ("", "Query 1 is empty"),
        (["low", "  "], "Query 2 is empty"),
        ([], "there is no query"),
        ("x" * 5000, "Query 1 has 5,000 characters.*at most 500"),
        (" ".join(["low"] * 30), "has 32 tokens; this model takes 16"),
        (torch.zeros(3), r"A query vector is float \[8\], got torch.float32 \[3\]"),
        (tmp_path / "dog.jpg", "cannot be asked with a picture: it has audio, text"),
    ):
        with pytest.raises(InputError, match=words):
            separate(model, wave, query, array_rate=RATE)
    with pytest.raises(ConfigError, match="mask is 'soft' or 'hard', got 'sotf'. Did you mean 'soft'"):
        separate(model, wave, "low", mask="sotf", array_rate=RATE)
    with pytest.raises(ConfigError, match="overlap is 0 to 0.5"):
        separate(model, wave, "low", overlap=0.9, array_rate=RATE)
    with pytest.raises(ConfigError, match="normalize='peak' would change what is separated"):
        separate(model, wave, "low", normalize="peak", array_rate=RATE)
    with pytest.raises(InputError, match="NaN or infinite"):
        separate(model, wave * np.nan, "low", array_rate=RATE)


def test_models_that_cannot_separate_or_be_asked_say_so():
    from verticlip.facade import Model

    plain = Model(make_separator.towers(), make_separator.processor(), prompts=make_separator.PROMPTS)
    with pytest.raises(InputError, match="cannot separate: its architecture is 'contrastive'"):
        separate(plain, _mixture(), "low", array_rate=RATE)
    bare = make_separator.model(kinds=())
    with pytest.raises(
        InputError, match="cannot be asked with words: it has no towers at all; give query vectors"
    ):
        separate(bare, _mixture(), "low", array_rate=RATE)
    assert separate(bare, _mixture(), torch.ones(8), array_rate=RATE).answers[0].probability is None
    blind = make_separator.model(kinds=(), kind="pit")
    found = separate(blind, _mixture(), None, array_rate=RATE)
    assert [answer.query for answer in found.answers] == ["source 1", "source 2"]
    with pytest.raises(InputError, match="takes no queries"):
        separate(blind, _mixture(), torch.ones(8), array_rate=RATE)
    table = make_separator.model(kinds=(), kind="label", n_labels=2, labels=["dog", "rain"])
    with pytest.raises(InputError, match="no label 'dig'. Did you mean 'dog'"):
        separate(table, _mixture(), "dig", array_rate=RATE)


def test_confidence_is_high_for_what_is_taken_whole_and_low_for_a_smear():
    measures = Measures(3, 4000)
    low, hiss = torch.from_numpy(make_separator.wave("low")), torch.from_numpy(make_separator.wave("hiss"))
    mixture = low + hiss
    for part in range(0, 4000, 1000):
        piece = slice(part, part + 1000)
        estimates = torch.stack([low, 0.05 * mixture, 0 * mixture])[:, None, piece]
        measures.add(mixture[None, piece], estimates)
    taken, smear, nothing = measures.answers(["low", "smear", "nothing"], [None, None, None])
    assert taken.verdict == "ok"
    assert taken.certainty == pytest.approx(1.0, abs=0.05)
    assert taken.energy_db == pytest.approx(10 * np.log10(float(low @ low / (mixture @ mixture))), abs=0.01)
    assert (smear.verdict, smear.certainty) == ("low", pytest.approx(0.05, abs=1e-3))
    assert (nothing.verdict, nothing.confidence, nothing.energy_db) == ("low", 0.0, None)
    assert measures.loudest.shape == (3, WINDOWS_HEARD, 4000)
    heard = [[value, *[0.0] * (WINDOWS_HEARD - 1)] for value in (0.01, 1.0, 0.0)]
    sure = measures.answers(["low", "smear", "nothing"], heard)[0]
    assert sure.verdict == "low"
    assert sure.confidence == pytest.approx(0.1, abs=0.01)


def test_the_loudest_window_is_what_the_audio_tower_hears():
    measures = Measures(1, 100)
    estimate = torch.zeros(1, 950)
    estimate[:, 730:760] = 1.0
    for piece in estimate.split(170, dim=1):
        measures.add(piece, piece[None])
    assert float(measures.loudest.sum()) == 30.0
    assert torch.equal(measures.loudest[0, 0], estimate[0, 700:800])


def test_one_loud_leak_does_not_hide_what_is_heard_elsewhere():
    measures = Measures(1, 100)
    recording, estimate = torch.full((1, 1000), 0.5), torch.zeros(1, 1000)
    recording[:, 300:400] = 4.0
    estimate[:, 300:400] = 1.0  # a quarter of something loud
    estimate[:, 600:700] = 0.5  # all of something quiet
    for start in range(0, 1000, 150):
        measures.add(recording[:, start : start + 150], estimate[None, :, start : start + 150])
    assert measures.loudest[0, 0].mean() == 1.0
    assert measures.loudest[0, 1].mean() == 0.5
    heard = [[0.1, 0.9, *[0.0] * (WINDOWS_HEARD - 2)]]
    answer = measures.answers(["dog"], heard)[0]
    assert (answer.certainty, answer.probability, answer.verdict) == (1.0, 0.9, "ok")
    assert measures.answers(["dog"], [None])[0].certainty < 0.3


def test_names_of_files_are_safe_and_differ():
    assert file_names(["Dog barking!", "dog barking", "../../etc", "雨", "residual", "x" * 99]) == [
        "dog-barking",
        "dog-barking-2",
        "etc",
        "query",
        "residual-2",
        "x" * 48,
    ]


def test_one_separator_serves_many_recordings(model, tmp_path):
    separator = AudioSeparator.of(model, ["low"])
    for number in range(2):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, _mixture()[0], RATE)
        made = separator.to_files(path, tmp_path / "out", stem=f"take-{number}", picture=False)
        assert made.targets[0].name == f"take-{number}.low.wav"
        assert made.picture is None


def test_what_cannot_be_held_is_refused_and_told_of_the_other_way():
    model = make_separator.model()
    model.limits = model.limits.with_(decoded_bytes=100_000)
    with pytest.raises(InputError, match="separate_file holds in parts: bytes 128,000 is over the limit"):
        separate(
            model,
            make_separator.wave("low", 8000 / make_separator.RATE),
            ["low", "hiss"],
            array_rate=make_separator.RATE,
        )
