"""Timelines: one row per label that is heard, readable clocks, any length, equal bytes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image
from verticlip.domains.audio.tasks import timeline
from verticlip.domains.audio.tasks.events import Event
from verticlip.domains.audio.tasks.tagging import Tagging
from verticlip.domains.audio.tasks.track import ENVELOPE_PER_HOP


def tagging(cells: int = 40, labels: int = 4, hop_s: float = 0.5, **changes) -> Tagging:
    scores = np.zeros((cells, labels), np.float32)
    scores[cells // 4 : cells // 2, 1] = 0.9
    wave = np.zeros((cells * ENVELOPE_PER_HOP, 2), np.float32)
    wave[cells * 2 : cells * 4] = (-0.25, 0.5)
    event = Event(cells // 4 * hop_s, cells // 2 * hop_s, "label 1", 0.9)
    made = Tagging(
        tuple(f"label {number}" for number in range(labels)),
        np.arange(cells) * hop_s, scores, scores, wave, (event,), cells * hop_s, 2.0, hop_s, 0.5,
        "folder/yard.wav", "tones", "r1", "p",
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


def pixels(path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def test_an_event_is_blue_with_a_frame_and_equal_input_gives_equal_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        timeline.save_timeline(tagging(), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    seen = pixels(tmp_path / "a.png")
    blue = (abs(seen - np.array([24, 126, 186])).sum(axis=2) < 60).mean()
    frame = (abs(seen - np.array([0xD5, 0x5E, 0x00])).sum(axis=2) < 40).sum()
    assert 0.01 < blue < 0.3
    assert frame > 300


def test_silence_and_no_labels_heard_can_be_drawn(tmp_path):
    nothing = np.zeros((40, 4), np.float32)
    wave = np.zeros((320, 2), np.float32)
    empty = dataclasses.replace(tagging(), scores=nothing, cells=nothing, events=(), id=None, envelope=wave)
    timeline.save_timeline(empty, tmp_path / "silence.png")
    assert pixels(tmp_path / "silence.png").std() > 5


def test_a_night_is_drawn_as_fast_as_a_minute_with_every_event(tmp_path):
    night = tagging(cells=60_000, labels=3)
    timeline.save_timeline(night, tmp_path / "night.png", title="a night")
    seen = pixels(tmp_path / "night.png")
    assert seen.shape[1] < 2000
    assert (abs(seen - np.array([0xD5, 0x5E, 0x00])).sum(axis=2) < 40).sum() > 300


def test_only_labels_worth_a_row_have_one():
    scores = np.zeros((10, 30), np.float32)
    scores[5, 20:] = np.linspace(0.2, 0.9, 10)
    scores[5, :5] = 0.05
    many = tagging(cells=10, labels=30, scores=scores)
    many = dataclasses.replace(many, cells=scores, events=(Event(2.5, 3.0, "label 22", 0.3),))
    rows = timeline._rows(many)
    assert rows[0] == 22
    assert rows[1:] == [29, 28, 27, 26, 25, 24, 23, 21, 20]
    quiet = dataclasses.replace(many, cells=np.zeros((10, 30), np.float32), events=())
    assert timeline._rows(quiet) == [0, 1, 2]
    loud = dataclasses.replace(many, cells=np.full((10, 30), 0.5, np.float32))
    assert len(timeline._rows(loud)) == timeline.MOST_ROWS


@pytest.mark.parametrize(
    ("seconds", "duration_s", "words"),
    [
        (1.5, 10, "1.5"),
        (75, 90, "1:15"),
        (3599.6, 3599, "60:00"),
        (3725, 7200, "1:02:05"),
        (30, 4000, "0:00:30"),
    ],
)
def test_clocks_fit_the_length(seconds, duration_s, words):
    assert timeline._clock(seconds, duration_s) == words
