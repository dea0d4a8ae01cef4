"""Clip folders: names, numbers and formats of the reference, resumable, with bad films set aside."""

from __future__ import annotations

import pytest
from PIL import Image
from verticlip.core.errors import ConfigError, DataError
from verticlip.domains.audio.loaders import folders
from verticlip.domains.audio.loaders.audio import probe_audio
from verticlip.domains.audio.loaders.folders import ClipOptions, write_clip_folder


@pytest.fixture
def films(film, sounds, tmp_path) -> list[tuple[str, str]]:
    bad = tmp_path / "in" / "bad.mp4"
    bad.parent.mkdir()
    bad.write_bytes(film.read_bytes()[:2000])
    other = sounds.film(tmp_path / "in" / "other dog!.mp4", seconds=2.0, sound=sounds.tone(2.0))
    return [(str(film), "beep, short"), (str(bad), "beep"), (str(other), "dog")]


def test_names_numbers_and_formats(films, tmp_path) -> None:
    made = write_clip_folder(films, tmp_path / "out")
    assert made.table.read_text() == (
        'audio/beep.wav,frames/beep,4,"beep, short"\naudio/other_dog_.wav,frames/other_dog_,2,dog\n'
    )
    assert [name for name, _ in made.failures] == ["bad.mp4"]
    assert "damaged or cut off" in made.failures[0][1]
    frames = sorted(path.name for path in (tmp_path / "out/frames/beep").iterdir())
    assert frames == ["000001.jpg", "000002.jpg", "000003.jpg", "000004.jpg"]
    with Image.open(tmp_path / "out/frames/beep/000001.jpg") as picture:
        assert picture.size == (224, 224)
    info = probe_audio(tmp_path / "out/audio/beep.wav")
    assert (info.rate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
    assert not list((tmp_path / "out").rglob(".*"))


def test_an_interrupted_run_goes_on(films, tmp_path, monkeypatch) -> None:
    write = folders.write_audio

    def stops(path, *given):
        if "other" in str(path):
            raise KeyboardInterrupt
        return write(path, *given)

    monkeypatch.setattr(folders, "write_audio", stops)
    with pytest.raises(KeyboardInterrupt):
        write_clip_folder(films, tmp_path / "out")
    assert not (tmp_path / "out/clips.csv").exists()
    monkeypatch.setattr(folders, "write_audio", write)
    before = (tmp_path / "out/audio/beep.wav").stat().st_mtime_ns
    made = write_clip_folder(films, tmp_path / "out")
    assert made.resumed == 1
    assert len(made.rows) == 2
    assert (tmp_path / "out/audio/beep.wav").stat().st_mtime_ns == before


def test_what_cannot_be_written(films, tmp_path) -> None:
    write_clip_folder(films[:1], tmp_path / "out")
    with pytest.raises(ConfigError, match="holds clips made with .*'fps': 1.0"):
        write_clip_folder(films[:1], tmp_path / "out", ClipOptions(fps=2.0))
    with pytest.raises(DataError, match="Two films make clips named 'beep'"):
        write_clip_folder([films[0], films[0]], tmp_path / "a")
    with pytest.raises(DataError, match="None of 1 films could be used. The first: bad.mp4"):
        write_clip_folder(films[1:2], tmp_path / "b")
    with pytest.raises(DataError, match="The list is empty"):
        write_clip_folder([], tmp_path / "c")
    with pytest.raises(DataError, match="fewer than min_frames 9"):
        write_clip_folder(films[:1], tmp_path / "d", ClipOptions(min_frames=9))
    with pytest.raises(ConfigError, match="are over 0"):
        write_clip_folder(films[:1], tmp_path / "e", ClipOptions(fps=0))


def test_finished_clips_are_counted_as_well(films, tmp_path) -> None:
    write_clip_folder(films, tmp_path / "out")
    made = write_clip_folder(films, tmp_path / "out", ClipOptions(min_frames=3))
    assert [row.audio for row in made.rows] == ["audio/beep.wav"]
    assert made.resumed == 1
    assert made.failures[1] == ("other dog!.mp4", "other dog!.mp4: 2 frames, fewer than min_frames 3.")
    assert len(made.table.read_text().splitlines()) == 1
    assert len(write_clip_folder(films, tmp_path / "out").rows) == 2
