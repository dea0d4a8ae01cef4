"""Runs on recordings: tones and noise in class folders, read by the audio domain's loader."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import verticlip
from verticlip.core import stores
from verticlip.core.errors import ConfigError, DataError
from verticlip.core.recipe import load_recipe
from verticlip.core.train import Run, train
from verticlip.core.training_data import prepare_data
from verticlip.evaluation import evaluate_folder

soundfile = pytest.importorskip("soundfile")


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def changed(sounds: Path, *overrides: str):
    loaded = load_recipe(sounds / "recipe.yaml")
    return type(loaded)(loaded.recipe.with_(overrides), loaded.prompts)


@pytest.fixture(scope="module")
def finished(sounds, tmp_path_factory):
    torch.set_num_threads(1)
    return train(sounds / "recipe.yaml", sounds, tmp_path_factory.mktemp("runs") / "a")


def test_a_run_on_recordings_learns_and_its_folder_loads(finished, sounds):
    report = finished.metrics["validation"]
    assert report["score"] >= 0.8 > finished.metrics["baseline"]["score"]
    assert report["chance"] == pytest.approx(1 / 3)
    assert report["sources"]["sounds"]["recordings"] == 12
    assert np.isfinite(report["loss"])
    model = verticlip.from_pretrained(finished.model)
    assert model.primary == "audio"
    rows = [json.loads(line) for line in (finished.folder / "manifest.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["split"] == "val"]
    answers = model.classify([sounds / row["path"] for row in rows])
    hits = np.mean([one.label == row["label"] for one, row in zip(answers, rows, strict=True)])
    assert hits == pytest.approx(report["sources"]["sounds"]["accuracy"]["value"])


def test_validation_embeds_a_recording_as_the_model_does(finished, sounds):
    from verticlip.core.validation import encode_records

    data = prepare_data(load_recipe(sounds / "recipe.yaml"), sounds)
    model = verticlip.from_pretrained(finished.model)
    records = data.validation["sounds"]
    counts = [len(data.store.parts(record)) for record in records]
    assert min(counts) == 1 < max(counts), "some recordings need several windows"
    with torch.no_grad():
        ours = encode_records(model.network, data.store, data.processor, records)
    theirs = model.embed([data.manifest.file_of(record) for record in records], modality="audio")
    torch.testing.assert_close(ours, theirs.vectors, rtol=0, atol=1e-4)


def test_training_draws_a_window_anywhere_and_loss_always_the_same(sounds):
    data = prepare_data(changed(sounds, "audio_augment={}"), sounds)
    long = [record for record in data.manifest.records if len(data.store.value(record)) > 3000][:1]
    drawn = [data.store.draw(long, torch.Generator().manual_seed(seed))[0] for seed in (0, 1, 0)]
    assert drawn[0].shape == (1600,)
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])
    assert torch.equal(data.store.draw(long, None), data.store.draw(long, None))
    first, again = ([batch.inputs["audio"]["features"] for batch in data.loss_batches()] for _ in range(2))
    assert first
    assert all(map(torch.equal, first, again))
    batch = next(iter(data.loader))
    assert batch.inputs["audio"]["features"].shape == (9, 1, 26, 16)
    assert set(batch.inputs) == {"audio", "text"}


def test_a_source_may_have_its_own_augmentation(sounds):
    plain = "{name: sounds, path: sounds, audio_augment: {}}"
    data = prepare_data(changed(sounds, f"data.sources=[{plain}]"), sounds)
    record = data.manifest.records[0]
    batch = data.collate([record], torch.Generator().manual_seed(0))
    still = data.collate([record], torch.Generator().manual_seed(0), train=False)
    if len(data.store.value(record)) <= 1600:
        assert torch.equal(batch.inputs["audio"]["features"], still.inputs["audio"]["features"])
    moved = prepare_data(changed(sounds), sounds).collate([record], torch.Generator().manual_seed(0))
    assert not torch.equal(batch.inputs["audio"]["features"], moved.inputs["audio"]["features"])


class Stopped(Exception):
    pass


SHORT = ("epochs=2", "evaluation={every_epochs: 1}")


@pytest.fixture(scope="module")
def short(sounds, tmp_path_factory):
    return train(sounds / "recipe.yaml", sounds, tmp_path_factory.mktemp("runs") / "short", overrides=SHORT)


@pytest.mark.parametrize("stop_after", [3, 4])
def test_resuming_is_exact(sounds, short, tmp_path, monkeypatch, stop_after):
    from verticlip.core.checkpoint import read_weights
    from verticlip.core.trainee import KeepState

    keep = KeepState.on_train_batch_end

    def stop(self, trainer, *args):
        keep(self, trainer, *args)
        if trainer.global_step == stop_after:
            raise Stopped

    monkeypatch.setattr(KeepState, "on_train_batch_end", stop)
    with pytest.raises(Stopped):
        train(sounds / "recipe.yaml", sounds, tmp_path / "b", overrides=SHORT)
    monkeypatch.undo()
    resumed = train(sounds / "recipe.yaml", sounds, tmp_path / "b", overrides=SHORT)
    assert resumed.resumed_from == stop_after
    ours, theirs = (read_weights(run.model / "model.safetensors") for run in (resumed, short))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_damaged_recording_is_left_out_and_a_copy_stays_on_its_side(sounds, tmp_path, caplog):
    import shutil

    folder = tmp_path / "d"
    shutil.copytree(sounds, folder)
    (folder / "sounds" / "low" / "broken.wav").write_bytes(b"RIFF....WAVE")
    wave, rate = soundfile.read(folder / "sounds" / "low" / "3.wav", dtype="int16")
    # Equal samples in another file format: no file is equal.
    soundfile.write(folder / "sounds" / "low" / "copy.flac", wave, rate)
    data = prepare_data(load_recipe(folder / "recipe.yaml"), folder)
    assert len(data.manifest) == 49
    assert "1 of 50 recordings cannot be read, first sounds/low/broken.wav" in caplog.text
    by_id = {record.id: record for record in data.manifest.records}
    copy, original = by_id["sounds/low/copy.flac"], by_id["sounds/low/3.wav"]
    assert copy.group == original.group
    assert copy.split == original.split


def test_long_recordings_are_kept_up_to_a_ceiling(sounds, monkeypatch, caplog):
    monkeypatch.setattr(stores, "MAX_RECORDING_S", 0.5)
    data = prepare_data(load_recipe(sounds / "recipe.yaml"), sounds)
    assert max(len(data.store.value(record)) for record in data.manifest.records) == 2000
    assert "reach 0.5 s; what comes later in them takes no part" in caplog.text


def test_nothing_is_kept_without_a_cache(sounds):
    data = prepare_data(changed(sounds, "data.cache=none"), sounds)
    kept = prepare_data(load_recipe(sounds / "recipe.yaml"), sounds)
    record = data.manifest.records[0]
    assert not data.store._kept
    assert torch.equal(data.store.value(record), kept.store.value(record))


def test_a_classifier_of_recordings_answers_for_a_file(sounds, tmp_path):
    tower = load_recipe(sounds / "recipe.yaml").recipe.model_dump(mode="json")["model"]["towers"]["audio"]
    made = verticlip.train(
        sounds / "recipe.yaml",
        sounds,
        tmp_path / "c",
        overrides=[
            "objective={name: cross_entropy, options: {modality: audio}}",
            f"model.towers={json.dumps({'audio': tower})}",
            "prompts=null",
            "model.licence=MIT",
            "model.description=Three sounds.",
            "epochs=6",
            "evaluation={every_epochs: 3}",
        ],
    )
    assert made.metrics["validation"]["score"] >= 0.6
    model = verticlip.from_pretrained(made.model)
    answer = model.classify([sounds / "sounds" / "low" / "0.wav"], head=made.model / "head")[0]
    assert set(answer.scores) == {"low", "high", "noise"}
    card = (made.model / "README.md").read_text()
    assert 'model.classify(["clip.wav"]' in card
    assert "Recordings are read at 4000 Hz in windows of 0.4 s" in card
    assert "calibration error | chance | before training | recordings |" in card
    assert "image" not in card


def test_recordings_find_their_captions(sounds, tmp_path):
    rows = [f"sounds/{kind}/{n}.wav,{kind} number {n}" for kind in ("low", "high") for n in range(16)]
    (sounds / "captions.csv").write_text("path,text\n" + "\n".join(rows))
    made = verticlip.train(
        sounds / "recipe.yaml",
        sounds,
        tmp_path / "r",
        overrides=[
            "prompts=null",
            "data.sources=[{name: s, path: captions.csv, reader: csv, captions: text}]",
            "model.licence=MIT",
            "model.description=Captions.",
            "epochs=1",
            "evaluation={every_epochs: 1}",
        ],
    )
    report = made.metrics["validation"]["sources"]["s"]
    assert (report["recordings"], report["texts"]) == (8, 8)
    assert {"audio_to_text", "text_to_audio"} <= report.keys()
    assert set(report["chances"]) == {"audio_to_text", "text_to_audio"}
    card = (made.model / "README.md").read_text()
    assert "Audio-text retrieval" in card
    assert "| s | text to audio |" in card
    assert "image" not in card


def test_a_labelled_folder_of_recordings_is_measured(sounds, finished, tmp_path):
    model = verticlip.from_pretrained(finished.model)
    result = evaluate_folder(model, sounds / "sounds", tmp_path / "e")
    assert result.report.accuracy.value >= 0.8
    assert result.report.accuracy.n == 48
    (tmp_path / "bad" / "low").mkdir(parents=True)
    (tmp_path / "bad" / "low" / "a.wav").write_bytes(b"no sound")
    with pytest.raises(DataError, match="none of 1 recordings could be used"):
        evaluate_folder(model, tmp_path / "bad", tmp_path / "f", labels=["low", "high"])


def test_a_probe_of_recordings(sounds, finished, tmp_path):
    recipe = tmp_path / "probe.yaml"
    recipe.write_text(
        f"kind: probe\nname: sounds-probe\nstart: {{model: {finished.model}}}\n"
        "data: {sources: [{name: sounds, path: sounds}], validation: {fraction: 0.25}}\n"
        "domain: audio\nprobe: {fractions: [0.5, 1.0], seeds: [0]}\n"
    )
    probed = verticlip.train(recipe, sounds, tmp_path / "p")
    last = probed.metrics["probes"][-1]
    assert last["mean"]["balanced_accuracy"] >= 0.8
    assert last["training_recordings"] == 36
    card = (probed.model / "README.md").read_text()
    assert "verticlip classify clip.wav --head" in card
    assert "medical" not in card
    recipe.write_text(
        recipe.read_text()
        + "audio: {sampling_rate: 8000, window_s: 1, mel: {n_fft: 64, hop_length: 32, n_mels: 8}}"
    )
    with pytest.raises(ConfigError, match="reads recordings as its model does. Leave audio out"):
        verticlip.train(recipe, sounds, tmp_path / "q")


def test_graded_similarities_come_from_the_frozen_texts(sounds, tmp_path):
    loaded = changed(
        sounds, "objective={name: cwcl, options: {modalities: [text, audio]}}", "freeze=[text]", "epochs=1",
        "evaluation={every_epochs: 1}",
    )  # fmt: skip
    run = Run(loaded, sounds, tmp_path / "g", resume=True)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    result = run.fit(progress=False)
    after = run.model.state_dict()
    same = {name for name, value in before.items() if torch.equal(value, after[name])}
    assert all(name in same for name in before if name.startswith(("towers.text", "projections.text")))
    assert any(name.startswith("towers.audio") and name not in same for name in before)
    assert np.isfinite(result.metrics["validation"]["loss"])


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["audio=null"], "audio missing"),
        (["model.domain=null"], "domain is 'audio' and that of its model None, so the trained model could not"),
        (["domain=null"], "the loader of audio belongs to a domain"),
        (["data.previous_share=0.5", "data.sources=[{name: sounds, path: t.csv, reader: csv, captions: text}]"],
         "previous_share is for models that compare two images"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(sounds, overrides, said):
    (sounds / "t.csv").write_text("path,text\n" + "".join(f"sounds/low/{n}.wav,hum {n}\n" for n in range(16)))
    with pytest.raises((ConfigError, DataError), match=said):
        prepare_data(changed(sounds, *overrides), sounds)
