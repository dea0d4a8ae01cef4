"""``verticlip audio separate`` and ``verticlip audio evaluate separation`` as programs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

sys.path.insert(0, str(Path(__file__).parent / "clipsep"))

import make_separator

RATE = make_separator.RATE


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A random separator as a model folder."""
    path = tmp_path_factory.mktemp("model") / "separator"
    make_separator.model().save(path)
    return path


@pytest.fixture
def mixture(tmp_path) -> Path:
    path = tmp_path / "mix.wav"
    soundfile.write(path, make_separator.wave("low", 2.0) + make_separator.wave("hiss", 2.0), RATE)
    return path


def test_one_file_per_query_and_the_rest(run, folder, mixture, tmp_path):
    out = tmp_path / "out"
    status, printed, said = run(
        "audio", "separate", mixture, "-q", "low tone", "-q", "hiss", "--out", out, "-m", folder
    )
    assert status == 0, said
    lines = [line.split("\t") for line in printed.splitlines()]
    assert [Path(line[0]).name for line in lines] == ["mix.low-tone.wav", "mix.hiss.wav"]
    assert [line[1] for line in lines] == ["low tone", "hiss"]
    assert all(line[3].endswith(" dB") for line in lines)
    parts = [soundfile.read(out / f"mix.{name}.wav")[0] for name in ("low-tone", "hiss", "residual")]
    np.testing.assert_allclose(sum(parts), soundfile.read(mixture)[0], atol=1e-4)
    assert (out / "mix.png").is_file()
    assert "mix.residual.wav" in said


def test_json_lines_several_files_and_a_bad_one(run, folder, mixture, tmp_path):
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"RIFF")
    other = tmp_path / "more" / "mix.wav"
    other.parent.mkdir()
    soundfile.write(other, np.zeros(4000), RATE)
    status, printed, said = run(
        "audio",
        "separate",
        mixture,
        bad,
        other,
        "-q",
        "low",
        "--out",
        tmp_path / "out",
        "-m",
        folder,
        "--json",
        "--no-picture",
    )
    assert status == 3
    rows = [json.loads(line) for line in printed.splitlines()]
    assert rows[0]["targets"][0]["query"] == "low"
    assert Path(rows[0]["targets"][0]["file"]).is_file()
    assert rows[0]["picture"] is None
    assert "bad.wav" in rows[1]["id"]
    assert rows[2]["targets"][0]["verdict"] == "silent"
    assert Path(rows[2]["residual"]).name == "mix-2.residual.wav"
    assert "bad.wav" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Say what to take out, for example --query 'dog barking'"),
        (("-q", ""), "Query 1 is empty"),
        (("-q", "x" * 5000), "Query 1 has 5,000 characters"),
        (("-q", "low", "--mask", "sotf"), "mask is 'soft' or 'hard'"),
        (("-q", "low", "--overlap", "0.9"), "overlap is 0 to 0.5"),
        (("-q", "low", "--load", "volume=3"), "Unknown audio option 'volume'"),
        (("-q", "low", "--subtype", "PCM16"), "Did you mean 'PCM_16'"),
        (("--image", "dog.jpg"), "cannot be asked with a picture"),
    ],
)
def test_what_cannot_be_asked_is_said_and_nothing_is_written(
    run, folder, mixture, tmp_path, arguments, words
):
    out = tmp_path / "out"
    status, _, said = run("audio", "separate", mixture, "--out", out, "-m", folder, *arguments)
    assert status in (1, 2)
    assert words in said
    assert not out.exists() or not list(out.iterdir())


def test_a_model_that_cannot_separate_says_which_can(run, mixture):
    status, _, said = run("audio", "separate", mixture, "-q", "rain", "-m", "audio/tiny-tagger")
    assert status in (1, 2)
    assert "cannot separate" in said
    assert "audio/tiny-sep" in said


def test_evaluation_prints_a_table_and_writes_a_report(run, folder, tmp_path):
    data = make_separator.sounds(tmp_path, each=2) / "sounds"
    out = tmp_path / "report.json"
    status, printed, said = run(
        "audio",
        "evaluate",
        "separation",
        "--data",
        data,
        "-m",
        folder,
        "--seconds",
        0.5,
        "--out",
        out,
        "--name",
        "hiss=a hiss",
    )
    assert status == 0, said
    lines = printed.splitlines()
    assert lines[0].split("  ")[0] == "class"
    assert "si sdr improvement" in lines[0]
    assert [line.split()[0] for line in lines[1:]] == ["high", "hiss", "low", "all"]
    report = json.loads(out.read_text())
    assert report["sources"]["all"] == 12
    assert report["baseline"].startswith("the mixture itself")
    assert {row["query"] for row in report["rows"]} == {"high", "low", "a hiss"}
    (data / "low" / "0.wav").write_bytes(b"RIFF")
    status, _, said = run(
        "audio",
        "evaluate",
        "separation",
        "--data",
        data,
        "-m",
        folder,
        "--seconds",
        0.5,
        "--no-filters",
        "--json",
        "--out",
        out,
    )
    assert status == 3
    assert "left out: " in said
