"""What is heard when: events of tones at known times, silence, rejection, streams, files and messages."""

from __future__ import annotations

import csv
import importlib.util
import json
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from verticlip.core.answers import Failure
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.prompts import PromptSet
from verticlip.core.types import Sample
from verticlip.domains.audio.loaders.audio import load_audio
from verticlip.domains.audio.tasks.events import Event, find_events
from verticlip.domains.audio.tasks.tagging import Tagger, TaggingOptions, tag

_spec = importlib.util.spec_from_file_location("audio_tones", Path(__file__).with_name("tones.py"))
assert _spec is not None
assert _spec.loader is not None
tones = importlib.util.module_from_spec(_spec)
sys.modules["audio_tones"] = tones
_spec.loader.exec_module(tones)

RATE = tones.RATE
LABELS = ["low", "middle", "high"]
SHORT = TaggingOptions(window_s=0.5, hop_s=0.125)


@pytest.fixture(scope="module")
def model():
    return tones.Tones()


def recording() -> np.ndarray:
    parts = [
        tones.silence(1),
        tones.tone("low", 2),
        tones.silence(1),
        tones.tone("high", 1.5),
        tones.silence(0.5),
    ]
    return np.concatenate(parts)


def test_events_lie_where_the_sounds_are(model):
    found = tag(model, recording(), LABELS, options=SHORT)
    assert [event.label for event in found.events] == ["low", "high"]
    for event, (start, end) in zip(found.events, [(1, 3), (4, 5.5)], strict=True):
        assert event.start_s == pytest.approx(start, abs=0.26)
        assert event.end_s == pytest.approx(end, abs=0.26)
        assert event.score > 0.95
    assert found.duration_s == 6.0
    assert found.scores.shape == (len(found.starts), 3)
    assert found.cells.shape == (48, 3)


def test_a_file_of_any_rate_gives_what_its_samples_give(model, tmp_path):
    path = tmp_path / "six.wav"
    soundfile.write(path, recording(), RATE, subtype="FLOAT")
    by_array, by_file = tag(model, recording(), LABELS), tag(model, path, LABELS)
    assert np.array_equal(by_array.scores, by_file.scores)
    assert by_file.id == str(path)
    sample = Sample(torch.from_numpy(recording())[None], "audio", {"sampling_rate": RATE}, id="six")
    assert np.array_equal(tag(model, sample, LABELS).scores, by_file.scores)
    twice = np.stack([np.repeat(recording(), 2)] * 2, axis=1)
    soundfile.write(path, twice, 2 * RATE, subtype="FLOAT")
    assert [one.label for one in tag(model, path, LABELS).events] == ["low", "high"]


def test_silence_is_no_event_even_at_threshold_zero(model):
    for options in (SHORT, TaggingOptions(threshold=0.0), TaggingOptions(scores="each", background=-2)):
        found = tag(model, tones.silence(3), LABELS, options=options)
        assert found.events == ()
        assert not found.scores.any()
    quiet = tag(model, tones.tone("low", 3, amplitude=10 ** (-65 / 20)), LABELS)
    assert quiet.events == ()
    louder = tag(model, tones.tone("low", 3, amplitude=10 ** (-55 / 20)), LABELS)
    assert [event.label for event in louder.events] == ["low"]


def test_one_sample_and_less_than_a_window(model):
    assert tag(model, np.array([0.0], np.float32), LABELS).events == ()
    short = tag(model, tones.tone("middle", 0.2), LABELS, options=SHORT)
    assert [(event.label, event.start_s, event.end_s) for event in short.events] == [("middle", 0.0, 0.2)]
    assert len(short.starts) == 1


def test_the_last_window_ends_with_the_recording(model):
    found = tag(model, tones.tone("low", 2.3), LABELS, options=TaggingOptions(window_s=1, hop_s=0.5))
    assert found.starts.tolist() == pytest.approx([0, 0.5, 1.0, 1.3])
    assert len(found.cells) == 5
    assert found.events[-1].end_s == pytest.approx(2.3)


def test_a_sound_of_another_kind_gets_no_label(model):
    wave = tones.tone("top", 2)
    assert tag(model, wave, LABELS, options=SHORT).events == ()
    # Without "nothing", and asked for one of them, something has to win.
    assert tag(model, wave, LABELS, options=SHORT).highest(1)["low"] < 0.01


def test_the_models_other_classes_compete_unless_each_label_stands_alone():
    classes = {name: (name, f"a {name} tone") for name in tones.PITCHES}
    known = tones.Tones(prompts=PromptSet(name="tones", classes=classes, templates=("{}",)))
    both = tones.tone("low", 2) + tones.tone("top", 2)
    shared = tag(known, both, ["a low tone"], options=SHORT)
    alone = tag(known, both, ["a low tone"], options=TaggingOptions(window_s=0.5, scores="each"))
    assert shared.highest()["a low tone"] == pytest.approx(0.5, abs=0.02)
    assert alone.highest()["a low tone"] > 0.95
    assert tag(known, both).labels == tuple(tones.PITCHES)
    # A label that means one of the model's classes in other words does not compete with that class.
    assert tag(known, tones.tone("low", 2), ["something low"]).highest()["something low"] > 0.95


def test_two_sounds_at_once_are_two_events_with_each(model):
    both = np.concatenate([tones.tone("low", 2) + tones.tone("high", 2), tones.silence(1)])
    options = TaggingOptions(window_s=0.5, scores="each")
    assert {event.label for event in tag(model, both, LABELS, options=options).events} == {"low", "high"}


def test_batches_and_how_the_file_is_read_change_nothing(model):
    one, many = (
        tag(model, recording(), LABELS, options=TaggingOptions(window_s=0.5, batch_size=size))
        for size in (1, 7)
    )
    assert np.allclose(one.scores, many.scores, atol=1e-6)
    assert one.events == many.events


def test_what_is_written_can_be_read(model, tmp_path):
    found = tag(model, recording(), LABELS, options=SHORT)
    found.save_csv(tmp_path / "six.csv")
    found.save_json(tmp_path / "six.json")
    rows = list(csv.DictReader((tmp_path / "six.csv").open()))
    assert list(rows[0]) == ["start_s", "end_s", "label", "score"]
    assert [(row["label"], float(row["start_s"])) for row in rows] == [
        (event.label, event.start_s) for event in found.events
    ]
    facts = json.loads((tmp_path / "six.json").read_text())
    assert facts["labels"] == LABELS
    assert len(facts["scores"]) == len(facts["starts_s"]) == len(found.starts)
    assert facts["model"] == "tones"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["six.csv", "six.json"]


def test_many_files_where_one_is_bad(model, tmp_path):
    soundfile.write(tmp_path / "good.wav", recording(), RATE)
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    answers = list(Tagger.of(model, LABELS).tag_each([tmp_path / "bad.wav", tmp_path / "good.wav"]))
    assert isinstance(answers[0], Failure)
    assert "bad.wav" in answers[0].error
    assert [event.label for event in answers[1].events] == ["low", "high"]


def test_memory_does_not_grow_with_the_recording(model, tmp_path):
    def peak(minutes: int) -> int:
        path = tmp_path / f"{minutes}.wav"
        with soundfile.SoundFile(path, "w", RATE, 1, subtype="PCM_16") as out:
            for _ in range(minutes * 6):
                out.write(tones.tone("low", 10))
        tracemalloc.start()
        found = tag(model, path, LABELS, options=TaggingOptions(window_s=2.0, hop_s=2.0))
        high = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(found.events) == 1
        return high

    # Ten times the sound (2 MB as float32 more) for a few numbers per window more.
    assert peak(10) - peak(1) < 400_000


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"threshold": 1.5}, "threshold is 0 to 1, got 1.5"),
        ({"window_s": 0}, "window_s is at least 0.01 seconds"),
        ({"window_s": float("nan")}, "window_s is at least 0.01 seconds"),
        ({"hop_s": 1e-6}, "hop_s is at least 0.01 seconds"),
        ({"scores": "some"}, "scores is 'one_of' or 'each'"),
        ({"batch_size": 0}, "batch_size is 1 to"),
    ],
)
def test_impossible_options(changes, words):
    with pytest.raises(ConfigError, match=words):
        TaggingOptions(**changes)


def test_windows_that_the_model_cannot_see(model):
    with pytest.raises(ConfigError, match="window_s 3 is outside what tones sees at once: 0.016 to 2 s"):
        Tagger.of(model, LABELS, options=TaggingOptions(window_s=3))
    with pytest.raises(ConfigError, match="hop_s 1 leaves gaps between windows of 0.5 s"):
        Tagger.of(model, LABELS, options=TaggingOptions(window_s=0.5, hop_s=1))


@pytest.mark.parametrize("option", ["window_s", "hop_s"])
def test_windows_are_no_option_of_loading(model, option):
    with pytest.raises(ConfigError, match=f"^{option} is no option of loading"):
        Tagger.of(model, LABELS).tag(recording(), **{option: 1})


def test_labels_and_models_that_cannot_be_used(model):
    with pytest.raises(InputError, match="no classes of its own"):
        Tagger.of(model)
    with pytest.raises(InputError, match="read the same"):
        Tagger.of(model, ["low", "LOW"])
    deaf = tones.Tones()
    deaf.network.modalities = ("image", "text")
    with pytest.raises(InputError, match="compares image and text; tagging needs audio and text"):
        Tagger.of(deaf, LABELS)


def cells(*scores: float) -> np.ndarray:
    return np.array(scores, np.float32)[:, None]


def events(scores: np.ndarray, **settings) -> list[tuple[float, float, float]]:
    chosen = {"cell_s": 1.0, "duration_s": float(len(scores)), "thresholds": (0.5, 0.3), **settings}
    return [(one.start_s, one.end_s, one.score) for one in find_events(scores, ["x"], **chosen)]


def test_hysteresis_begins_high_and_ends_low():
    assert events(cells(0.1, 0.4, 0.6, 0.4, 0.1, 0.4, 0.4)) == [(1.0, 4.0, 0.6)]
    assert events(cells(0.4, 0.4)) == []
    assert events(cells(0.9)) == [(0.0, 1.0, 0.9)]


def test_close_events_are_one_and_short_ones_go():
    scores = cells(0.9, 0.0, 0.8, 0.0, 0.0, 0.7)
    assert events(scores, merge_s=1.5) == [(0.0, 3.0, 0.9), (5.0, 6.0, 0.7)]
    assert events(scores, merge_s=1.5, min_s=2.0) == [(0.0, 3.0, 0.9)]
    assert events(scores, duration_s=5.5)[-1] == (5.0, 5.5, 0.7)


def test_events_are_ordered_by_time_then_label():
    both = np.array([[0.9, 0.9], [0.0, 0.0], [0.9, 0.0]], np.float32)
    found = find_events(both, ["b", "a"], cell_s=0.5, duration_s=1.5, thresholds=(0.5, 0.3))
    assert found == (Event(0.0, 0.5, "b", 0.9), Event(0.0, 0.5, "a", 0.9), Event(1.0, 1.5, "b", 0.9))


@pytest.mark.parametrize(
    "load", [{}, {"channel": 1}, {"normalize": "peak"}, {"mono": False}, {"resample": "torchaudio"}]
)
def test_loader_options_stored_with_the_weights_hold(tmp_path, load):
    model = tones.Tones()
    audio = model.processor.config.audio.model_copy(update={"load": load})
    model.processor.config = model.processor.config.model_copy(update={"audio": audio})
    rate = 11_025
    times = np.arange(round(3.2 * rate)) / rate
    channels = [0.2 * np.sin(2 * np.pi * tones.PITCHES[name] * times) for name in ("low", "high")]
    soundfile.write(tmp_path / "two.wav", np.stack(channels, axis=1), rate, subtype="FLOAT")
    found = tag(model, tmp_path / "two.wav", LABELS, options=SHORT)
    sample = load_audio(tmp_path / "two.wav", rate=RATE, **load)
    again = tag(model, sample, LABELS, options=SHORT)
    np.testing.assert_array_equal(found.scores, again.scores)
    np.testing.assert_array_equal(found.envelope, again.envelope)
    heard = {event.label for event in found.events}
    assert heard == ({"high"} if load == {"channel": 1} else heard)
    loudest = float(np.abs(found.envelope).max())
    assert (loudest == pytest.approx(1.0)) == (load == {"normalize": "peak"})


def test_the_rate_is_the_models(model):
    with pytest.raises(ConfigError, match=r"rate is the model's, 8000 Hz, got 16000. Leave it out"):
        tag(model, recording(), LABELS, rate=16_000)
