"""``verticlip audio tag``: tables and pictures per file, folders, bad files, JSON, and messages."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from verticlip.core.errors import ConfigError
from verticlip.domains.audio.commands.tag import recordings, unique_names


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    (folder / "more").mkdir(parents=True)
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000)
    soundfile.write(folder / "noise.wav", noise, 8000)
    soundfile.write(folder / "more" / "noise.flac", noise[:8000], 16_000)
    soundfile.write(folder / "silence.wav", np.zeros(8000), 8000)
    (folder / "notes.txt").write_text("not a recording")
    return folder


def test_a_folder_becomes_a_table_and_a_picture_per_recording(run, clips, tmp_path):
    out = tmp_path / "out"
    status, printed, said = run("audio", "tag", clips, "--out", out, "--json", "--window", 1, "--hop", 0.5)
    assert status == 0, said
    rows = [json.loads(line) for line in printed.splitlines()]
    assert [Path(row["id"]).name for row in rows] == ["noise.flac", "noise.wav", "silence.wav"]
    names = sorted(path.name for path in out.iterdir())
    assert names == ["noise-2.csv", "noise-2.png", "noise.csv", "noise.png", "silence.csv", "silence.png"]
    assert rows[2]["events"] == []
    assert (out / "silence.csv").read_text() == "start_s,end_s,label,score\n"
    assert rows[0]["window_s"] == 1.0
    assert (out / "noise.png").read_bytes()[:4] == b"\x89PNG"


def test_a_bad_file_is_told_and_the_others_are_done(run, clips):
    bad = clips / "bad.wav"
    bad.write_bytes(b"RIFF")
    status, printed, said = run("audio", "tag", bad, clips / "silence.wav", "--labels", "rain,dog barking")
    assert status == 3
    assert printed.splitlines() == [f"{clips / 'silence.wav'}\t\t\tno event\tsilence"]
    assert "bad.wav" in said
    assert run("audio", "tag", bad)[0] == 1


def test_results_that_cannot_be_written_are_told_and_the_others_are_done(run, clips, tmp_path):
    long = clips / f"{'n' * 245}.wav"
    (clips / "silence.wav").rename(long)
    out = tmp_path / "out"
    status, printed, said = run(
        "audio", "tag", long, clips / "noise.wav", "--labels", "rain,dog barking", "--out", out
    )
    assert status == 3
    assert printed.startswith(str(clips / "noise.wav"))
    assert "its results cannot be written (File name too long)" in said
    assert sorted(path.name for path in out.iterdir()) == ["noise.csv", "noise.png"]
    (tmp_path / "file").write_text("kept")
    assert "file is a file. Name a folder" in run("audio", "tag", clips, "--out", tmp_path / "file")[2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--window", "60"), "window_s 60 is outside what audio/tiny-tagger sees at once"),
        (("--threshold", "2"), "threshold is 0 to 1, got 2"),
        (("--labels", "rain,rain"), "read the same"),
        (("-m", "medical/tiny"), "compares image and text; tagging needs audio and text"),
    ],
)
def test_what_cannot_be_asked_is_said_before_any_file(run, clips, arguments, words):
    status, printed, said = run("audio", "tag", clips / "noise.wav", *arguments)
    assert status != 0
    assert printed == ""
    assert words in said


def test_a_folder_without_recordings(tmp_path):
    (tmp_path / "readme.txt").write_text("x")
    with pytest.raises(ConfigError, match="no recordings in this folder"):
        recordings([tmp_path])


def test_names_of_results_never_meet():
    files = [Path("a/x.wav"), Path("b/X.wav"), Path("c/x-2.wav"), Path("x.flac")]
    assert unique_names(files) == ["x", "X-2", "x-2-2", "x-3"]
