"""A kind of training run that a domain makes of its own: a toy in place of one of the audio domain's."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import verticlip
from verticlip.core.config import Config
from verticlip.core.curves import run_curves
from verticlip.core.data import LoaderConfig, Manifest, Record, ResumableLoader
from verticlip.core.errors import ConfigError, DataError
from verticlip.core.gather import gather_rows
from verticlip.core.recipe import Recipe, load_recipe
from verticlip.core.registry import recipes, room
from verticlip.core.start import primary_modality
from verticlip.core.stores import record_loader
from verticlip.core.task_data import RunData, ScoreWords, fixed_batches
from verticlip.core.train import train
from verticlip.core.types import Batch
from verticlip.core.validation import judged, mean_loss

RECIPE = """
name: loudness
seed: 1
domain: audio
task: loudness
options: {levels: 2}
model:
  name: test/loudness
  domain: audio
  description: Tells loud from quiet, for tests.
  licence: MIT
  embed_dim: 8
  towers:
    audio:
      backend: timm
      architecture: resnet10t
      options: {channels: [8, 8, 8, 8], stem_width: 8, in_chans: 1}
audio:
  sampling_rate: 4000
  window_s: 0.4
  mel: {n_fft: 128, hop_length: 64, n_mels: 16}
  mean: -40.0
  std: 20.0
data:
  sources: [{name: sounds, path: sounds}]
  validation: {fraction: 0.25}
objective: {name: infonce, options: {modalities: [audio, audio], positives: labels}}
optim: {lr: 0.003}
batch_size: 8
epochs: 2
checkpoint_steps: 1
"""


class LoudnessConfig(Config):
    levels: int


@dataclass(frozen=True)
class Loudness:
    """Loud and quiet copies of each recording; the labels say which is which."""

    manifest: Manifest
    processor: Any
    model_config: Any
    loader: ResumableLoader[Batch]
    digest: str
    collate: Any
    prompts: None = None
    class_names: tuple[str, ...] = ()

    @property
    def facts(self) -> dict[str, Any]:
        return {
            "score_name": "separation of levels",
            "score_unit": "dB",
            "chance_name": "the unchanged input",
            "command": "verticlip audio loudness clip.wav --model MODEL",
        }

    def _held_out(self):
        records = [record for record in self.manifest.records if record.split == "val"]
        return fixed_batches(records, self.collate, 6)

    def evaluate(self, model, objective, *, settings, details=False) -> dict[str, Any]:
        with judged(model):
            spread = [float(model.encode("audio", batch.inputs["audio"]).std()) for batch in self._held_out()]
        score = sum(spread) / len(spread) - 3.0
        return {"score": score, "chance": -4.0, "sources": {"sounds": {"score": score}}}

    def validation_loss(self, model, objective) -> float | None:
        return mean_loss(model, objective, self._held_out())


def prepare(loaded, folder: Path, start) -> RunData:
    from verticlip.core.start import model_config, start_processor

    recipe = loaded.recipe
    levels = LoudnessConfig.model_validate(recipe.options).levels
    gathered = gather_rows(loaded, folder, start)
    processor = start_processor(recipe, start)
    load = record_loader(recipe, gathered.manifest, processor.config, "audio")

    def collate(records: Sequence[Record], generator: torch.Generator) -> Batch:
        waves = torch.cat([processor.fit_audio(load(record), name=record.id)[:1] for record in records])
        labels = torch.randint(levels, (len(records),), generator=generator)
        inputs = {"audio": processor.finish_audio(waves * 0.1 ** labels[:, None])}
        return Batch(inputs, labels, tuple(record.id for record in records))

    config = LoaderConfig(batch_size=recipe.batch_size, seed=recipe.seed, drop_last=True)
    return Loudness(
        manifest=gathered.manifest,
        processor=processor,
        model_config=model_config(recipe, start),
        loader=ResumableLoader(gathered.part("train"), collate, config),
        digest=gathered.digest(processor.fingerprint, str(levels)),
        collate=collate,
    )


@pytest.fixture
def toy(sounds, tmp_path, monkeypatch) -> Path:
    """A recipe of a task that the audio domain has for the length of a test."""
    module = ModuleType("verticlip.domains.audio.loudness")
    vars(module)["prepare"] = prepare
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(room("audio").tasks, "loudness", "loudness:prepare")
    path = tmp_path / "toy.yaml"
    path.write_text(RECIPE)
    return path


def test_a_task_trains_and_its_score_keeps_its_name(toy, sounds, tmp_path):
    result = verticlip.train(toy, sounds, tmp_path / "out")
    assert result.steps == 8
    report = result.metrics["validation"]
    assert report["score"] < 0
    assert report["loss"] is not None
    assert f"separation of levels {report['score']:.3f} dB, the unchanged input -4.000 dB" in result.summary
    card = (result.model / "README.md").read_text()
    assert "| source | separation of levels | the unchanged input |" in card
    assert f"| sounds | {report['score']:.3f} dB | - |" in card
    assert "verticlip audio loudness clip.wav --model ORG/NAME" in card
    assert result.metrics["source_splits"] == {"sounds": {"train": 36, "val": 12}}
    rows = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    panels = run_curves(rows, ScoreWords.of(result.metrics))
    assert set(panels) == {"separation of levels (dB), validation", "loss"}
    assert set(panels["separation of levels (dB), validation"]) == {"sounds", "the unchanged input"}


def test_an_interrupted_task_ends_as_if_it_had_not_been(toy, sounds, tmp_path, monkeypatch):
    from verticlip.core.checkpoint import read_weights
    from verticlip.core.trainee import KeepState

    whole = train(toy, sounds, tmp_path / "whole")
    keep = KeepState.on_train_batch_end

    def stop(self, trainer, *args):
        keep(self, trainer, *args)
        if trainer.global_step == 3:
            raise KeyError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(KeepState, "on_train_batch_end", stop)
        with pytest.raises(KeyError, match="stopped"):
            train(toy, sounds, tmp_path / "cut")
    resumed = train(toy, sounds, tmp_path / "cut")
    assert resumed.resumed_from == 3
    ours, theirs = (read_weights(run.model / "model.safetensors") for run in (resumed, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_score_that_is_not_above_doing_nothing_fails_in_its_unit(toy, sounds, tmp_path):
    with pytest.raises(DataError, match=r"scores -2\.\d+ dB on validation; the unchanged input is -4.000 dB"):
        train(toy, sounds, tmp_path / "out", overrides=["evaluation.min_above_chance=5", "epochs=1"])


def test_a_score_that_is_no_number_stops_the_run(toy, sounds, tmp_path, monkeypatch):
    monkeypatch.setattr(Loudness, "evaluate", lambda *_, **__: {"score": float("nan"), "chance": 0.0})
    with pytest.raises(DataError, match="The validation score is nan at step 0"):
        train(toy, sounds, tmp_path / "out")


def test_a_task_reads_settings_that_the_recipe_does_not_have(toy):
    assert load_recipe(toy).recipe.with_(["options.shades=3"]).options == {"levels": 2, "shades": 3}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("task: loudnes", "Domain 'audio' has no task 'loudnes'.*Did you mean 'loudness'"),
        ("domain: null", "task 'loudness' belongs to a domain; name it: domain"),
        ("task: null", "options are settings of a task; name the task"),
        ("start: {model: x}\nkind: probe", "a probe has no task, got 'loudness'"),
    ],
)
def test_tasks_that_cannot_be_are_refused(toy, sounds, tmp_path, change, said):
    key = change.partition(":")[0]
    text = "\n".join(line for line in RECIPE.splitlines() if not line.startswith(f"{key}:"))
    toy.write_text(f"{text}\n{change}\n")
    with pytest.raises(ConfigError, match=said):
        train(toy, sounds, tmp_path / "out")


def test_rows_are_split_without_decoding_and_copies_stay_together(toy, sounds, tmp_path):
    folder = tmp_path / "data"
    for number in range(20):
        path = folder / "sounds" / "any" / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        # Ten contents, two files each, none of them a recording.
        path.write_bytes(bytes([number // 2]) * 40)
    gathered = gather_rows(load_recipe(toy), folder)
    splits = {record.id: record.split for record in gathered.manifest.records}
    assert all(splits[f"sounds/any/{n}.wav"] == splits[f"sounds/any/{n + 1}.wav"] for n in range(0, 20, 2))
    assert set(splits.values()) == {"train", "val"}
    assert gathered.digest("a") != gathered.digest("b")
    assert len(gathered.part("train")) + len(gathered.part("val")) == 20


def test_fixed_batches_do_not_depend_on_the_order_of_the_records():
    records = [Record(id=f"{number}", path=f"{number}.wav") for number in range(7)]
    collate = lambda rows, generator: ([row.id for row in rows], float(torch.rand((), generator=generator)))  # noqa: E731
    found = list(fixed_batches(records, collate, 3))
    assert found == list(fixed_batches(records[::-1], collate, 3))
    assert [len(ids) for ids, _ in found] == [3, 3]
    assert list(fixed_batches(records[:1], collate, 3)) == []


def test_words_of_a_score_without_any():
    words = ScoreWords.of({})
    assert words.line({"score": 0.5, "chance": 0.25}) == "score 0.500, chance 0.250"


def test_a_run_without_sources_in_its_reports_has_one_line():
    rows = [{"step": 0, "score": -1.0, "chance": 0.0, "sources": {}, "train_loss": None}]
    assert run_curves(rows) == {
        "mean recall of retrieval, validation": {"all": ([0], [-1.0]), "chance": ([0], [0.0])}
    }


def test_a_model_of_texts_alone_has_no_primary_modality():
    tower = {"backend": "bert", "vocab_size": 9, "width": 8, "layers": 1, "heads": 2, "mlp_width": 8}
    recipe = Recipe.model_validate(
        {
            "name": "words",
            "model": {"name": "words", "embed_dim": 8, "towers": {"text": tower}},
            "text": {"context_length": 8},
            "data": {"sources": [{"name": "a", "path": "a"}]},
            "optim": {"lr": 1.0},
            "batch_size": 2,
            "epochs": 1,
        }
    )
    assert recipe.model is not None
    with pytest.raises(ConfigError, match="no tower beside one for text"):
        primary_modality(recipe.model)


DIGESTS = {
    "medical/tiny": "c54db94ad430cdea",
    "medical/unimed-pretrain": "32eb40797113bb50",
    "medical/conceptclip-stage1": "9e1bcb0815e02b4c",
    "medical/conceptclip-stage2": "5ce7f5945a58aaf8",
    "medical/biovil": "d1642b036cef973f",
    "medical/probe": "09f99fafadd2f128",
    "medical/lora": "1d261c2f49bb93f9",
    "medical/finetune": "802ea179efdd1077",
}


@pytest.mark.parametrize("name", DIGESTS)
def test_settings_added_later_leave_digests_as_they_were(name):
    assert load_recipe(recipes()[name].path).recipe.digest == DIGESTS[name]
