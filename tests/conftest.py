"""Fixtures every test file can use. Nothing here touches the network."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

if "PYTEST_XDIST_WORKER" in os.environ:
    # One thread for each of the processes that share the cores.
    os.environ["OMP_NUM_THREADS"] = "1"
# Set before any library is imported: a test that would reach for the Hub fails instead.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

# The same examples at every run; without the profile (--hypothesis-profile default) they are new ones.
settings.register_profile("fixed", derandomize=True)
settings.load_profile("fixed")


def _folder(variable: str, default: Path) -> Path:
    path = Path(os.environ.get(variable, default))
    if not path.is_dir():
        pytest.skip(f"{path} is absent; set {variable} to run this test")
    return path


@pytest.fixture(scope="session")
def root() -> Path:
    """Folder of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Development data; tests that use it skip, saying so, where it is absent."""
    return _folder("VERTICLIP_DATA", ROOT.parent / "shared" / "data")


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """All golden cases; the small ones are in ``tests/golden``."""
    return _folder("VERTICLIP_GOLDEN", ROOT.parent / "shared" / "golden")


@pytest.fixture(scope="session")
def small_golden() -> Path:
    """Golden cases that are part of the checkout."""
    return ROOT / "tests" / "golden"


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-tower model of a few kilobytes in the format of every model folder."""
    import torch
    import yaml
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from verticlip.core.checkpoint import save_weights
    from verticlip.core.config import ImageProcessing, ModelConfig, ProcessorConfig, TextProcessing
    from verticlip.core.files import write_json_atomic, write_text_atomic
    from verticlip.core.model import ContrastiveModel
    from verticlip.core.processing import Processor

    folder = tmp_path_factory.mktemp("models") / "random"
    words = [
        "a",
        "an",
        "image",
        "of",
        "red",
        "green",
        "blue",
        "cat",
        "dog",
        "no",
        "tumor",
        "glioma",
        "square",
    ]
    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    vit = {
        "backend": "vit",
        "image_size": 16,
        "patch_size": 8,
        "width": 16,
        "layers": 1,
        "heads": 2,
        "mlp_width": 32,
    }
    bert = {
        "backend": "bert",
        "vocab_size": len(vocabulary),
        "width": 16,
        "layers": 1,
        "heads": 2,
        "mlp_width": 32,
    }
    config = ModelConfig.model_validate(
        {
            "name": "random",
            "embed_dim": 12,
            "towers": {"image": {**vit, "projection": "linear"}, "text": {**bert, "projection": "linear"}},
            "licence": "Apache-2.0",
            "prompts": "random",
        }
    )
    text = TextProcessing(context_length=16)
    processor = Processor(ProcessorConfig(image=ImageProcessing(size=16), text=text), tokenizer.to_str())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = ContrastiveModel(config)
        for parameter in network.towers.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.5)
    write_json_atomic(folder / "config.json", config.model_dump(mode="json"))
    processor.save(folder)
    save_weights(network, folder / "model.safetensors")
    prompts = {
        "name": "random",
        "version": "1",
        "templates": ["{}", "an image of {}"],
        "classes": {"red square": ["red square", "red"], "blue square": ["blue square", "blue"]},
    }
    write_text_atomic(folder / "prompts.yaml", yaml.safe_dump(prompts, sort_keys=False))
    return folder


SHAPES_PROMPTS = """
name: shapes
templates: ["{}", "a picture of a {}"]
classes:
  circle: [circle, disc]
  square: [square, box]
"""
SHAPES_RECIPE = """
name: shapes
seed: 3
prompts: words
model:
  name: test/shapes
  embed_dim: 16
  towers:
    image: {backend: timm, architecture: resnet10t, options: {channels: [8, 8, 16, 16], stem_width: 8}}
    text: {backend: bert, vocab_size: 99, width: 16, layers: 1, heads: 2, mlp_width: 32, max_positions: 16, dropout: 0.1}
image: {size: 24, resize: squash}
text: {context_length: 16}
tokenizer: {vocab_size: 200}
data:
  sources: [{name: shapes, path: photos}]
  validation: {fraction: 0.25, near_duplicate_bits: 0}
augment: {flip_horizontal: 0.5, noise: 0.05}
optim: {lr: 0.01, ema_decay: 0.8, warmup_steps: 2}
batch_size: 8
epochs: 20
checkpoint_steps: 1
evaluation: {every_epochs: 4, min_above_chance: 0.2}
"""


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe, its prompt set and 48 pictures of circles and squares."""
    import numpy as np
    from PIL import Image

    folder = tmp_path_factory.mktemp("shapes")
    (folder / "recipe.yaml").write_text(SHAPES_RECIPE)
    (folder / "words.yaml").write_text(SHAPES_PROMPTS)
    rng = np.random.default_rng(0)
    for name in ("circle", "square"):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(24):
            rows, columns = np.mgrid[:32, :32] - rng.integers(12, 20, 2)[:, None, None]
            inside = (
                np.hypot(rows, columns) < 9 if name == "circle" else np.maximum(abs(rows), abs(columns)) < 8
            )
            picture = np.where(inside, 200, 40) + rng.integers(-20, 20, (32, 32))
            Image.fromarray(picture.astype(np.uint8)).save(folder / "photos" / name / f"{number}.png")
    return folder


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the program and return (exit status, stdout, stderr)."""
    from verticlip import cli

    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    # What the program sets for its own process must not outlive it here.
    monkeypatch.setenv("HF_HUB_VERBOSITY", "error")

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["verticlip", *map(str, arguments)])
        with warnings.catch_warnings(), pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return call
