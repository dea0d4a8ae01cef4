"""The task mix_and_separate: it learns, goes on exactly, asks in every way, and refuses what cannot be."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from verticlip.core.checkpoint import read_weights
from verticlip.core.config import ImageProcessing, ModelConfig, ProcessorConfig
from verticlip.core.errors import ConfigError, DataError
from verticlip.core.model import build_model
from verticlip.core.processing import Processor
from verticlip.core.recipe import load_recipe
from verticlip.core.registry import room
from verticlip.core.start import Start
from verticlip.core.train import train
from verticlip.domains.audio.clipsep.training import prepare

sys.path.insert(0, str(Path(__file__).parent))

import make_separator

BY_LABEL = """
name: test/by-label
domain: audio
task: mix_and_separate
model:
{model}
options: {{queries: label, validation_s: 0.5}}
data:
  sources: [{{name: sounds, path: sounds}}]
  validation: {{fraction: 0.25}}
objective: {{name: clipsep}}
optim: {{lr: 0.001, schedule: linear, decay_steps: 2, final_share: 0.1, warmup_steps: 1}}
batch_size: 4
epochs: 1
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_separator.sounds(tmp_path_factory.mktemp("data"))


def _edited(path: Path, *changes: tuple[str, str]) -> Path:
    text = path.read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text)
    return path


def test_it_learns_to_separate_tones_and_says_so_in_decibels(data, tmp_path):
    path = _edited(
        make_separator.recipe(tmp_path),
        ("epochs: 2", "epochs: 6"),
        ("repeats: 2", "repeats: 4"),
        (
            "checkpoint_steps: 1",
            "checkpoint_steps: 100\nevaluation: {every_epochs: 6, min_above_chance: 0.5}",
        ),
    )
    found = make_separator.start()
    result = train(path, data, tmp_path / "out", start=lambda _: found)
    report = result.metrics["validation"]
    assert report["score"] > 0.5
    assert set(report["sources"]["sounds"]["classes"]) == {"low", "high", "hiss"}
    assert report["score_interval"]["low"] <= report["score"] <= report["score_interval"]["high"]
    assert report["sdr_improvement"] > 0
    assert f"SI-SDR improvement {report['score']:.3f} dB, the mixture itself 0.000 dB" in result.summary
    weights = read_weights(result.model / "model.safetensors")
    for name, value in found.network.state_dict().items():
        if value.is_floating_point() and name.startswith("towers."):
            torch.testing.assert_close(weights[name].float(), value)
    assert "separator.sound_net.bn0.weight" in weights


def test_an_interrupted_run_ends_as_if_it_had_not_been(data, tmp_path, monkeypatch):
    from verticlip.core.trainee import KeepState

    path = _edited(make_separator.recipe(tmp_path), ("epochs: 2", "epochs: 1"))
    found = make_separator.start()
    whole = train(path, data, tmp_path / "whole", start=lambda _: found)
    keep = KeepState.on_train_batch_end

    def stop(self, trainer, *args):
        keep(self, trainer, *args)
        if trainer.global_step == 2:
            raise KeyError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(KeepState, "on_train_batch_end", stop)
        with pytest.raises(KeyError, match="stopped"):
            train(path, data, tmp_path / "cut", start=lambda _: found)
    resumed = train(path, data, tmp_path / "cut", start=lambda _: found)
    assert resumed.resumed_from == 2
    ours, theirs = (read_weights(run.model / "model.safetensors") for run in (resumed, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_labels_become_the_table_of_the_model_and_it_answers_by_them(data, tmp_path):
    path = make_separator.recipe(tmp_path, BY_LABEL, towers=(), kind="label", n_labels=3)
    result = train(path, data, tmp_path / "out")
    saved = ModelConfig.model_validate_json((result.model / "config.json").read_text())
    assert saved.options["labels"] == ["high", "hiss", "low"]
    import verticlip
    from verticlip.domains.audio.tasks.separation import separate

    model = verticlip.from_pretrained(str(result.model))
    found = separate(model, make_separator.wave("low"), ["low", "high"], array_rate=make_separator.RATE)
    assert found.targets.shape == (2, 1, 4000)
    wrong = make_separator.recipe(tmp_path, BY_LABEL, towers=(), kind="label", n_labels=7)
    with pytest.raises(ConfigError, match="n_labels is 7 and the data have 3 labels. Set it to 3"):
        train(wrong, data, tmp_path / "wrong")


@pytest.mark.parametrize(
    ("kind", "objective", "query"),
    [("pit", "clipsep_pit", "none"), ("nit", "clipsep_nit", "vectors"), ("bert", "clipsep", "vectors")],
)
def test_other_kinds_train(data, tmp_path, kind, objective, query):
    path = make_separator.recipe(tmp_path, BY_LABEL, towers=(), kind=kind)
    changes = [("name: clipsep", f"name: {objective}"), ("queries: label", f"queries: {query}")]
    if query == "vectors":
        vectors = {label: torch.randn(8) for label in ("low", "high", "hiss")}
        save_file(vectors, data / "vectors.safetensors")
        changes.append(("validation_s: 0.5", "validation_s: 0.5, vectors: vectors.safetensors"))
    result = train(_edited(path, *changes), data, tmp_path / "out")
    assert np.isfinite(result.metrics["validation"]["score"])


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Sounds with frames that show what they are, as CLIPSep lists them."""
    folder = tmp_path_factory.mktemp("clips")
    make_separator.sounds(folder, each=4, seconds=5.0)
    shades = {"low": 30, "high": 130, "hiss": 230}
    for name, numbers in (("train", range(3)), ("val", range(3, 4))):
        rows = []
        for label, shade in shades.items():
            for number in numbers:
                home = folder / "frames" / f"{label}-{number}"
                home.mkdir(parents=True)
                for second in range(1, 6):
                    pixels = np.full((16, 16, 3), shade + second, np.uint8)
                    Image.fromarray(pixels).save(home / f"{second:06d}.jpg")
                rows.append(f"sounds/{label}/{number}.wav,frames/{label}-{number},5,{label}")
        (folder / f"{name}.csv").write_text("\n".join(rows) + "\n")
    return folder


TOWERS = {
    "image": {
        "backend": "timm",
        "architecture": "resnet18d",
        "options": {"channels": [4, 8, 8, 16], "stem_width": 4},
    },
    "text": make_separator.TOWERS["text"],
}


@pytest.fixture
def seeing(tmp_path, monkeypatch) -> tuple[Path, Start]:
    """A recipe whose queries are pictures, and towers for them."""
    monkeypatch.setitem(make_separator.TOWERS, "image", TOWERS["image"])
    path = make_separator.recipe(tmp_path, towers=("image", "text"), normalize_queries=False)
    _edited(
        path,
        ("queries: text", "queries: image"),
        ("freeze: [audio, text]", "freeze: [image, text]"),
        ("{name: sounds, path: sounds}", "{name: clips, reader: clipsep_csv, path: .}"),
        ("  mix: {n_mix: 2, sounding: [0.2, 0.8], distinct: true,", "  mix: {margin_s: 1, n_mix: 2,"),
        ("repeats: 2", "repeats: 2\n  frame_cache: features"),
    )
    torch.manual_seed(0)
    plain = make_separator.config(("image", "text")).model_copy(
        update={"architecture": "contrastive", "options": {}}
    )
    text = make_separator.processor()
    both = ProcessorConfig(image=ImageProcessing(size=16), text=text.config.text)
    start = Start(
        build_model(plain).eval(), Processor(both, text.tokenizer_json), make_separator.PROMPTS, "tones", "1"
    )
    return path, start


def test_pictures_ask_for_the_sound_around_them(seeing, clips):
    path, start = seeing
    made = prepare(load_recipe(path), clips, start)
    records = [record for record in made.manifest.records if record.split == "train"]
    batch = made.collate(records[:4], torch.Generator().manual_seed(0))
    again = made.collate(records[:4], torch.Generator().manual_seed(0))
    assert batch.extras["queries"].shape == (4, 2, 8)
    assert torch.equal(batch.extras["queries"], again.extras["queries"])
    assert batch.inputs["mixture"]["waves"].shape == (4, 2, 1023)
    cached = sorted(path.name for path in (clips / "features").iterdir())
    assert "identity.json" in cached
    # The mean of raw embeddings of three neighboring frames, as they leave the tower.
    from verticlip.domains.audio.clipsep.queries import ImageQueries, encoder
    from verticlip.domains.audio.loaders.embedding_cache import EmbeddingCache
    from verticlip.domains.audio.loaders.frames import load_image

    name = records[0].id
    vectors = EmbeddingCache(clips / "features")[name]
    frame = clips / "frames" / "low-0" / "000003.jpg"
    encode = encoder(start.network, normalize=False)
    torch.testing.assert_close(vectors[2], encode("image", start.processor("image", [load_image(frame)]))[0])
    from verticlip.domains.audio.clipsep.mixing import Slot

    asked = ImageQueries({name: vectors}).draw(
        [[Slot(records[0], True, center=3), Slot(records[0], True, center=1)]], None
    )
    torch.testing.assert_close(asked[0, 0], vectors[1:4].mean(dim=0))
    torch.testing.assert_close(asked[0, 1], vectors[:3].mean(dim=0))


def test_it_trains_on_clips_by_image_and_by_both(seeing, clips, tmp_path):
    path, start = seeing
    result = train(path, clips, tmp_path / "out", start=lambda _: start)
    assert result.metrics["source_splits"] == {"clips": {"train": 9, "val": 3}}
    _edited(path, ("queries: image", "queries: hybrid"), ("frame_cache: features", "frame_cache: null"))
    train(path, clips, tmp_path / "both", start=lambda _: start)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("freeze: [audio, text]", "freeze: [audio]"), "towers must stay as they are. Add text to freeze"),
        (("queries: text", "queries: label"), "queries 'label' with a separator of kind 'late'"),
        (("queries: text", "queries: image"), "need a tower for image; the model has none"),
        (("queries: text", "queries: txt"), "options: queries"),
        (("queries: text", "quaries: text"), "unknown key 'quaries'. Did you mean 'queries'"),
        (("queries: text", "queries: vectors"), "vectors names the file"),
        (("architecture: clipsep", "architecture: contrastive"), "trains architecture clipsep"),
    ],
)
def test_recipes_that_cannot_be_are_refused(data, tmp_path, change, words):
    path = _edited(make_separator.recipe(tmp_path), change)
    with pytest.raises(ConfigError, match=words):
        prepare(load_recipe(path), data, make_separator.start())


def test_damaged_recordings_are_left_out_or_stop_the_run(tmp_path, caplog):
    folder = make_separator.sounds(tmp_path, each=8)
    path = make_separator.recipe(tmp_path)
    (folder / "sounds" / "low" / "3.wav").write_bytes(b"RIFF")
    made = prepare(load_recipe(path), folder, make_separator.start())
    assert len(made.manifest) == 23
    assert "1 of 24 recordings cannot be read, first sounds/low/3.wav" in caplog.text
    for number in range(4, 7):
        (folder / "sounds" / "low" / f"{number}.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match="4 of 24 recordings cannot be read"):
        prepare(load_recipe(path), folder, make_separator.start())


@pytest.mark.parametrize("name", ["tiny-sep", "clipsep", "clipsep-nit", "clipsep-labels"])
def test_recipes_of_the_room_can_be_read_and_build_their_model(name):
    recipe = load_recipe(room("audio").folder / "recipes" / f"{name}.yaml").recipe
    assert recipe.task == "mix_and_separate"
    with torch.device("meta"):
        network = build_model(recipe.model)
    parameters = sum(one.numel() for one in network.separator.parameters())
    assert parameters == pytest.approx(2.97e6 if name == "tiny-sep" else 30.3e6, rel=0.02)
