"""``verticlip audio generate``: one file, a folder, pictures, JSON, and messages."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import soundfile

sys.path.insert(0, str(Path(__file__).parent / "clipsonic"))
import make_sonic


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sonic.model().save(tmp_path_factory.mktemp("sonic") / "sonic")


def test_one_prompt_becomes_one_file(run, folder, tmp_path):
    out = tmp_path / "deep" / "rain.wav"
    status, printed, said = run(
        "audio", "generate", "rain on a dog", "--model", folder, "--seconds", 0.5, "--steps", 2,
        "--guidance", 3, "--seed", 1, "--out", out, "--spectrogram",
    )  # fmt: skip
    assert status == 0, said
    assert "rain.wav\train on a dog\tagreement" in printed
    info = soundfile.info(out)
    assert (info.frames, info.samplerate, info.channels) == (4000, make_sonic.RATE, 1)
    assert out.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"
    assert sorted(path.name for path in out.parent.iterdir()) == ["rain.png", "rain.wav"]


def test_several_prompts_become_a_folder_with_a_list(run, folder, tmp_path):
    out = tmp_path / "sounds"
    status, printed, said = run(
        "audio",
        "generate",
        "rain",
        "rain",
        "A dog!",
        "../x",
        "--model",
        folder,
        "--steps",
        2,
        "--out",
        out,
        "--json",
    )
    assert status == 0, said
    rows = [json.loads(line) for line in printed.splitlines()]
    assert [row["file"] for row in rows] == ["rain.wav", "rain-2.wav", "a-dog.wav", "x.wav"]
    assert [row["seed"] for row in rows] == [0, 1, 2, 3]
    assert rows[0]["revision"].startswith("sha256:")
    assert [json.loads(line) for line in (out / "generation.jsonl").read_text().splitlines()] == rows
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sounds"]


def test_the_same_seed_writes_the_same_bytes(run, folder, tmp_path):
    for name in ("a.wav", "b.wav"):
        status, _, said = run(
            "audio",
            "generate",
            "rain",
            "--model",
            folder,
            "--steps",
            2,
            "--seed",
            4,
            "--out",
            tmp_path / name,
        )
        assert status == 0, said
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


def test_a_recording_can_be_the_model_of_another(run, folder, tmp_path):
    source = tmp_path / "source.wav"
    soundfile.write(source, [0.1, -0.1] * 4000, make_sonic.RATE)
    out = tmp_path / "more"
    status, printed, said = run(
        "audio", "generate", "--audio", source, "--model", folder, "--steps", 2, "--out", out, "--json"
    )
    assert status == 0, said
    row = json.loads(printed)
    assert (row["file"], row["condition"], row["prompt"]) == ("source.wav", "audio", "source.wav")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Say what shall be heard"),
        (["rain", "--audio", "x.wav"], "only one at a time"),
        (["--audio", "x.wav", "--prior", "p"], "--prior works on words"),
        (["rain", "--out", "rain.mp3"], "sounds are written as .wav"),
        (["rain", "dog", "--out", "rain.wav"], "there are 2 sounds"),
        (["rain", "--guidance", "-1"], "guidance must be from 0"),
        (["rain", "--seconds", "0"], "seconds must be over 0"),
        (["rain", "--seconds", "1000"], "over the limit of 60"),
        (["rain", "--sampler", "ddmp"], "Did you mean 'ddpm'"),
        (["", "--out", "x.wav"], "prompt 0 is empty"),
        (["x" * 5000, "--out", "x.wav"], "5,000 characters"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(
    run, folder, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    status, printed, said = run("audio", "generate", *arguments, "--model", folder)
    assert status != 0
    assert message in said
    assert printed == ""
    assert list(tmp_path.iterdir()) == []


def test_generated_sounds_can_be_measured(folder, tmp_path):
    from verticlip.core.errors import InputError
    from verticlip.domains.audio.tasks.generation import GenerationOptions
    from verticlip.domains.audio.tasks.generation_evaluation import evaluate_generation

    model = make_sonic.model()
    files = []
    for number in range(3):
        files.append(tmp_path / f"{number}.wav")
        soundfile.write(files[-1], [0.1 * (number + 1), -0.1] * 2000, make_sonic.RATE)
    options = GenerationOptions(steps=2)
    found = evaluate_generation(model, ["rain", "dog"], options, each=2, real=files)
    assert found.sounds == 4
    assert found.chance == 0.5
    assert set(found.classes) == {"rain", "dog"}
    assert found.independent is False
    assert found.frechet is not None
    assert found.frechet.embedding == "sonic@unsaved"
    assert found.recognized == sum(found.classes.values()) / 2
    json.dumps(found.to_dict())
    again = evaluate_generation(model, ["rain", "dog"], options, each=1, judge=make_sonic.model())
    assert again.independent is False
    other = evaluate_generation(model, ["rain", "dog"], options, each=1, judge=make_sonic.model(seed=5))
    assert other.independent is True
    with pytest.raises(InputError, match="prompts that differ"):
        evaluate_generation(model, ["rain", "rain"], options)
