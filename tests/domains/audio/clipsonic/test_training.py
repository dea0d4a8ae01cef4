from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml

sys.path.insert(0, str(Path(__file__).parent))
import make_sonic
from verticlip.core.config import ModelConfig
from verticlip.core.errors import ConfigError, DataError
from verticlip.core.model import build_model
from verticlip.core.recipe import load_recipe
from verticlip.core.start import Start
from verticlip.core.train import Run, train
from verticlip.domains.audio.clipsonic.training import DiffusionData, prepare


@pytest.fixture(scope="module")
def start() -> Start:
    raw = make_sonic.config().model_dump(mode="json")
    torch.manual_seed(1)
    network = build_model(ModelConfig.model_validate({**raw, "architecture": "contrastive", "options": {}}))
    return Start(network.eval(), make_sonic.processor(), None, "towers", "0" * 40)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of five short recordings."""
    folder = tmp_path_factory.mktemp("sounds")
    for label, hz in (("rain", 200.0), ("dog", 1500.0)):
        for number in range(5):
            time = np.arange(make_sonic.RATE) / make_sonic.RATE
            wave = 0.3 * np.sin(2 * np.pi * hz * (1 + number / 10) * time)
            file = folder / "set" / label / f"{number}.wav"
            file.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(file, wave, make_sonic.RATE)
    return folder


def recipe(folder: Path, **changes: object) -> Path:
    """Write a recipe and return its path."""
    raw = {
        "name": "sonic",
        "domain": "audio",
        "task": "diffusion",
        "start": {"model": "towers", "new": ["denoiser.*", "bridge.*", "null_condition"]},
        "freeze": ["audio", "text"],
        "model": make_sonic.config().model_dump(mode="json", exclude_defaults=True),
        "data": {
            "sources": [{"name": "set", "path": "set"}],
            "validation": {"fraction": 0.4},
        },
        "options": {
            "conditions": {"audio": 0.5, "text": 0.5},
            "condition_noise": 0.2,
            "windows": 2,
            "gain_db": 3,
            "judge": {"samples": 1, "final_samples": 2, "steps": 2},
        },
        "objective": {"name": "clipsonic", "options": {"weighting": "min_snr"}},
        "optim": {"lr": 1e-3, "ema_decay": 0.9},
        "batch_size": 4,
        "epochs": 2,
        **changes,
    }
    path = folder / "sonic.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def prepared(path: Path, data: Path, start: Start) -> DiffusionData:
    return prepare(load_recipe(path), data, start)


def test_a_run_writes_a_model_with_means_and_says_what_is_recognized(
    data: Path, start: Start, tmp_path: Path
) -> None:
    pytest.importorskip("lightning", reason="the train extra is not installed")
    result = train(recipe(tmp_path), data, tmp_path / "run", start=lambda _: start)
    found = json.loads((result.model / "metrics.json").read_text())["validation"]
    assert found["chance"] == 0.5
    assert 0 <= found["score"] <= 1
    assert set(found["conditions"]) == {"text", "text without bridge", "audio"}
    assert set(found["real"]) == {"recordings", "windows after vocoding"}
    assert found["frechet"]["generated"] == 4
    assert found["frechet"]["warning"]
    assert "samples recognized as asked" in result.summary
    from safetensors.torch import load_file

    weights = load_file(result.model / "model.safetensors")
    assert weights["bridge.text_mean"].norm() > 0.1
    assert weights["bridge.audio_mean"].norm() > 0.1
    frozen = start.network.state_dict()
    assert all(torch.equal(weights[name], frozen[name]) for name in frozen if name.startswith("towers"))


def test_training_lowers_the_loss(data: Path, start: Start, tmp_path: Path) -> None:
    pytest.importorskip("lightning", reason="the train extra is not installed")
    path = recipe(
        tmp_path,
        epochs=12,
        options={"conditions": {"text": 1.0}, "windows": 6, "judge": {"samples": 0}},
        optim={"lr": 3e-3},
        evaluation={"every_epochs": 12},
    )
    train(path, data, tmp_path / "run", start=lambda _: start)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["valid_loss"] < 0.8 * rows[0]["valid_loss"]
    assert rows[-1]["score"] == pytest.approx(rows[-1]["explained"])
    assert rows[-1]["score"] > 0.2


def test_batches_repeat_and_hold_what_the_model_takes(data: Path, start: Start, tmp_path: Path) -> None:
    made = prepared(recipe(tmp_path), data, start)
    records = made.loader.records[:3]
    first, again = (made.collate(records, torch.Generator().manual_seed(5)) for _ in range(2))
    given = first.inputs["mel"]
    assert given["target"].shape == (3, 1, 16, 32)
    assert given["target"].abs().max() <= 1
    assert torch.allclose(given["condition"].norm(dim=1), torch.ones(3))
    for name, value in given.items():
        assert torch.equal(value, again.inputs["mel"][name])
    other = made.collate(records, torch.Generator().manual_seed(6))
    assert not torch.equal(other.inputs["mel"]["noise"], given["noise"])


def test_the_digest_and_the_number_of_draws_follow_the_recipe(
    data: Path, start: Start, tmp_path: Path
) -> None:
    made = prepared(recipe(tmp_path), data, start)
    assert len(made.loader.records) == 2 * 6
    assert len(made.validation) == 4
    assert made.digest == prepared(recipe(tmp_path), data, start).digest


def test_features_are_kept_in_the_cache_folder(data: Path, start: Start, tmp_path: Path) -> None:
    options = {"conditions": {"audio": 1.0}, "cache": "cache"}
    made = prepared(recipe(tmp_path, options=options), data, start)
    files = sorted((data / "cache").rglob("*.safetensors"))
    assert len(files) == 10
    stamps = [file.stat().st_mtime_ns for file in files]
    again = prepared(recipe(tmp_path, options=options), data, start)
    assert [file.stat().st_mtime_ns for file in files] == stamps
    batches = [
        one.collate(one.loader.records[:2], torch.Generator().manual_seed(1)).inputs["mel"]
        for one in (made, again)
    ]
    assert torch.equal(batches[0]["target"], batches[1]["target"])


def test_silent_recordings_are_left_out(
    data: Path, start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "data"
    for file in (data / "set").rglob("*.wav"):
        target = folder / "set" / file.parent.name / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    soundfile.write(folder / "set" / "dog" / "quiet.wav", np.full(make_sonic.RATE, 1e-4), make_sonic.RATE)
    made = prepared(recipe(tmp_path), folder, start)
    assert "1 of 11 recordings are silent and left out" in caplog.text
    assert not any("quiet" in record.id for record in (*made.loader.records, *made.validation))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": None}, "needs a start"),
        ({"options": {"conditions": {"image": 1.0}}}, "conditions name 'image'"),
        ({"options": {"conditions": {"text": 0.0}}}, "leave it out"),
        ({"options": {"conditions": {"text": 1.0}, "place": "condition"}}, "a text is of no moment"),
        ({"options": {"conditions": {"text": 1.0}, "cache": "../x"}}, "cache"),
        ({"options": {"conditions": {"text": 1.0}, "window": 3}}, "window"),
        ({"objective": {"name": "infonce"}}, "needs objective clipsonic"),
    ],
)
def test_recipes_that_do_not_fit_are_refused(
    changes: dict[str, object], message: str, data: Path, start: Start, tmp_path: Path
) -> None:
    towers = dict(make_sonic.config().model_dump(mode="json", exclude_defaults=True))
    own = None if changes.get("start", ...) is None else start
    if own is None:
        changes = {
            **changes,
            "audio": make_sonic.processor().config.audio.model_dump(mode="json"),  # pyright: ignore[reportOptionalMemberAccess]
            "text": {"context_length": 16},
            "model": towers,
        }
    with pytest.raises(ConfigError, match=message):
        prepare(load_recipe(recipe(tmp_path, **changes)), data, own)


def test_a_damaged_recording_stops_the_run_where_many_are(data: Path, start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "set" / "dog"
    folder.mkdir(parents=True)
    for number in range(3):
        (folder / f"{number}.wav").write_bytes(b"RIFF nothing %d" % number)
    other = tmp_path / "data" / "set" / "rain"
    other.mkdir()
    (other / "0.wav").write_bytes((data / "set" / "rain" / "0.wav").read_bytes())
    with pytest.raises(DataError, match="3 of 4 recordings cannot be used"):
        prepared(recipe(tmp_path), tmp_path / "data", start)


def test_resuming_continues_with_the_next_batch(data: Path, start: Start, tmp_path: Path) -> None:
    path = recipe(tmp_path, epochs=1)
    run = Run(load_recipe(path), data, tmp_path / "run", start=start, resume=True)
    whole = [batch.ids for batch in run.data.loader]
    again = Run(load_recipe(path), data, tmp_path / "run", start=start, resume=True)
    found = iter(again.data.loader)
    next(found)
    state = again.data.loader.state_dict()
    third = Run(load_recipe(path), data, tmp_path / "run", start=start, resume=True)
    third.data.loader.load_state_dict(state)
    assert [batch.ids for batch in third.data.loader] == whole[1:]
