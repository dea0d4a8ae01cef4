"""Mixtures: who sounds, where, how loud, and that a generator says it all."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from verticlip.core.audio_config import AudioAugmentConfig
from verticlip.core.data import Record
from verticlip.core.errors import ConfigError, DataError, InputError
from verticlip.core.types import Sample
from verticlip.domains.audio.clipsep.mixing import FrameCount, MixConfig, Mixer, Sounds

sys.path.insert(0, str(Path(__file__).parent))

import make_separator

RATE = make_separator.RATE
LABELS = ("low", "high", "hiss")


def _records(each: int = 3) -> list[Record]:
    return [
        Record(id=f"{label}/{n}", path=f"{label}/{n}.wav", label=label)
        for label in LABELS
        for n in range(each)
    ]


def _load(record: Record) -> Sample:
    label, number = record.id.split("/")
    wave = torch.from_numpy(make_separator.wave(label, 1.0, int(number)))
    return Sample(wave[None], "audio", {"sampling_rate": RATE})


def _mixer(config: MixConfig, **options) -> Mixer:
    records = _records()
    sounds = Sounds(_load, RATE)
    assert sounds.fill(records) == {}
    return Mixer(config, sounds, pool=records, **{"samples": 2047, **options})


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_same_generator_gives_the_same_mixtures():
    mixer = _mixer(MixConfig())
    first, again, other = (mixer.draw(_records()[:4], _generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first.waves, again.waves)
    assert first.slots == again.slots
    assert not torch.equal(first.waves, other.waves)
    assert first.waves.shape == (4, 2, 2047)
    assert [row[0].record.id for row in first.slots] == [record.id for record in _records()[:4]]


def test_published_levels_are_gains_of_the_recording_cut_and_divided():
    mixer = _mixer(MixConfig(gain=(0.5, 1.5)))
    drawn = mixer.draw(_records() * 10, _generator())
    levels = drawn.waves.square().mean(dim=-1).sqrt()
    tones = torch.tensor([[slot.record.label != "hiss" for slot in row] for row in drawn.slots])
    assert 0.02 < float(levels[tones].min()) < float(levels[tones].max()) < 0.1
    assert float(drawn.waves.abs().max()) <= 0.5
    loud = _mixer(MixConfig(gain=(20.0, 20.0))).draw(_records()[:2], _generator())
    assert float(loud.waves.abs().max()) == 0.5


def test_equal_loudness_and_gains_in_decibels():
    config = MixConfig(level_db=-20, gain=(0.5, 2.0), clip=False, divide=False)
    levels = _mixer(config).draw(_records() * 20, _generator()).waves.square().mean(dim=-1).sqrt()
    decibels = 20 * levels.log10() + 20
    assert float(decibels.abs().max()) < 6.1
    assert float(decibels.mean()) == pytest.approx(0.0, abs=0.5)


def test_queries_that_nothing_answers_are_silent_and_of_other_labels():
    config = MixConfig(n_mix=3, sounding=(0.5, 0.3, 0.2), distinct=True)
    drawn = _mixer(config, augment=AudioAugmentConfig(mix=1.0, gain_db=3)).draw(_records() * 10, _generator())
    counts = [sum(slot.sounds for slot in row) for row in drawn.slots]
    assert set(counts) == {1, 2, 3}
    assert all(len({slot.record.label for slot in row}) == 3 for row in drawn.slots)
    for waves, row in zip(drawn.waves, drawn.slots, strict=True):
        for wave, slot in zip(waves, row, strict=True):
            assert bool(wave.any()) == slot.sounds


def test_sources_may_begin_late():
    drawn = _mixer(MixConfig(late=1.0)).draw(_records() * 4, _generator())
    silent = (drawn.waves.abs() < 1e-9).float().mean(dim=-1)
    assert 0.05 < float(silent.mean()) < 0.45
    assert float(silent.max()) <= 0.52


def test_clips_with_frames_are_cut_around_a_frame_that_keeps_its_margin():
    frames = {record.id: FrameCount(10, fps=10.0) for record in _records()}
    mixer = _mixer(MixConfig(margin_s=0.3), samples=401, frames=frames)
    centers = [slot.center for row in mixer.draw(_records() * 20, _generator()).slots for slot in row]
    assert set(centers) == {4, 5, 6, 7}
    record = _records()[0]
    wave, center = mixer.cut(record, None)
    assert center == 5
    middle = int(4.5 / 10 * RATE)
    expected = _load(record).value[0, middle - 200 : middle + 200]
    torch.testing.assert_close(wave[:400], expected, atol=1e-4, rtol=0)
    assert wave[400] == 0


def test_short_recordings_are_repeated_and_the_middle_is_what_is_taken_without_a_generator():
    mixer = _mixer(MixConfig(), samples=10_000)
    wave, center = mixer.cut(_records()[0], None)
    assert (len(wave), center) == (10_000, 0)
    torch.testing.assert_close(wave[:4000], wave[4000:8000])
    short = _mixer(MixConfig(), samples=1000)
    torch.testing.assert_close(
        short.cut(_records()[0], None)[0], _load(_records()[0]).value[0, 1500:2500], atol=1e-4, rtol=0
    )


def test_unreadable_recordings_are_named_and_probing_keeps_nothing():
    def broken(record: Record) -> Sample:
        if record.id == "high/1":
            raise InputError("high/1 is damaged.")
        return _load(record)

    assert Sounds(broken, RATE).fill(_records()) == {"high/1": "high/1 is damaged."}
    seen: list[str] = []
    sounds = Sounds(broken, RATE, probe=lambda record: seen.append(record.id))
    assert sounds.fill(_records()) == {}
    assert len(seen) == 9
    with pytest.raises(InputError, match="damaged"):
        sounds.wave(_records()[4])


def test_what_cannot_be_mixed_is_refused():
    with pytest.raises(ConfigError, match="audio_augment.noise would add to a source what is not the source"):
        _mixer(MixConfig(), augment=AudioAugmentConfig(noise=0.5))
    sounds = Sounds(_load, RATE)
    alone = _records()[:3]
    with pytest.raises(
        DataError, match="need as many recordings of different labels; there are 3 recordings of 1"
    ):
        Mixer(MixConfig(distinct=True), sounds, pool=alone, samples=100)
    with pytest.raises(DataError, match="Mixtures of 2 need as many recordings; there are 1"):
        Mixer(MixConfig(), sounds, pool=alone[:1], samples=100)
    for bad, words in (
        ({"sounding": [1.0]}, "sounding needs 2 shares"),
        ({"sounding": [0.5, 0.5]}, "need distinct: true"),
        ({"gain": [2.0, 1.0]}, "gain goes from low to high"),
    ):
        with pytest.raises(ValidationError, match=words):
            MixConfig.model_validate(bad)
