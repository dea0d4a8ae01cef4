"""Search of recordings by words and by example, and its report."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from verticlip.core.errors import DataError, InputError
from verticlip.domains.audio.tasks.retrieval import embed_recordings, retrieval_of_classes

_spec = importlib.util.spec_from_file_location("audio_tones", Path(__file__).with_name("tones.py"))
assert _spec is not None
assert _spec.loader is not None
tones = sys.modules.get("audio_tones") or importlib.util.module_from_spec(_spec)
if "audio_tones" not in sys.modules:
    sys.modules["audio_tones"] = tones
    _spec.loader.exec_module(tones)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    found = []
    for number, name in enumerate(["low", "middle", "low", "high"]):
        path = tmp_path / f"{number}-{name}.wav"
        wave = tones.tone(name, 1.0 + 0.3 * number) + tones.tone("top", 1.0 + 0.3 * number, 0.02 * number)
        soundfile.write(path, wave, tones.RATE)
        found.append(path)
    return found


def test_words_find_recordings_and_recordings_words(files):
    found = embed_recordings(tones.Tones(), files)
    best = found.by_text(["a middle tone", "low"], k=2)
    assert best[0][0].value == str(files[1])
    assert [hit.position for hit in best[1]] == [0, 2]
    assert best[1][0].score > best[1][1].score > 0.9
    words = found.texts_of(["low", "middle", "high"], k=1)
    assert [hits[0].value for hits in words] == ["low", "middle", "low", "high"]


def test_a_recording_finds_its_like_but_not_itself(files):
    found = embed_recordings(tones.Tones(), files)
    assert [hit.position for hit in found.by_recording([files[0]], k=1)[0]] == [2]
    other = found.by_recording([np.concatenate([tones.tone("high", 1.0)])], k=10)[0]
    assert next(hit.position for hit in other) == 3
    assert len(other) == 4


def test_a_bad_file_is_told_and_the_others_stay(files, tmp_path):
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"RIFF")
    found = embed_recordings(tones.Tones(), [files[0], bad, files[3]])
    assert found.ids == (str(files[0]), str(files[3]))
    assert [failure.id for failure in found.failures] == [str(bad)]
    with pytest.raises(DataError, match="None of 1 recordings can be used, first .*bad.wav"):
        embed_recordings(tones.Tones(), [bad])


def test_the_report_counts_both_ways(files):
    found = embed_recordings(tones.Tones(), files)
    report = retrieval_of_classes(found, ["low", "middle", "low", "high"], ks=(1, 2))
    assert report.text_to_audio.queries == 3
    assert report.text_to_audio.mean_average_precision.value == 1.0
    assert report.audio_to_audio is not None
    assert report.audio_to_audio.queries == 2
    assert report.audio_to_audio.hit_recall[1].value == 1.0
    assert report.to_dict()["text_to_audio"]["recall@2"]["value"] == 1.0
    wrong = retrieval_of_classes(found, ["high", "middle", "middle", "low"], ks=(1,))
    assert wrong.text_to_audio.mean_average_precision.value < 0.9
    assert retrieval_of_classes(found, ["low", "middle", "high", "top"], ks=(1,)).audio_to_audio is None


def test_what_cannot_be_asked(files):
    found = embed_recordings(tones.Tones(), files)
    with pytest.raises(InputError, match="k is at least 1, got 0"):
        found.by_text(["low"], k=0)
    with pytest.raises(InputError, match="queries is a list"):
        found.by_text("low")
    with pytest.raises(InputError, match="texts is a list"):
        found.texts_of([])
    with pytest.raises(InputError, match="3 labels for 4 recordings"):
        retrieval_of_classes(found, ["low", "middle", "low"])
