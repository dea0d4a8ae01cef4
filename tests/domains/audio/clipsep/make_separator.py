"""A separator of a few kilobytes with towers for audio and text, and recordings to separate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from verticlip.core.audio_config import AudioProcessing
from verticlip.core.config import ModelConfig, ProcessorConfig, TextProcessing
from verticlip.core.model import ContrastiveModel, build_model
from verticlip.core.processing import Processor
from verticlip.core.prompts import PromptSet
from verticlip.core.start import Start
from verticlip.facade import Model

RATE = 4000
OPTIONS: dict[str, Any] = {
    "kind": "late",
    "layers": 5,
    "channels": 4,
    "ngf": 2,
    "query_dim": 8,
    "normalize_queries": True,
    "sampling_rate": RATE,
    "frames": 32,
    "spectra": {
        "n_fft": 128,
        "hop_length": 32,
        "win_length": 128,
        "rows": 32,
        "epsilon": 1e-3,
        "level": "window",
    },
}
TOWERS: dict[str, Any] = {
    "audio": {
        "backend": "timm",
        "architecture": "resnet18d",
        "options": {"in_chans": 1, "channels": [4, 8, 8, 16], "stem_width": 4},
    },
    "text": {
        "backend": "bert",
        "vocab_size": 12,
        "width": 16,
        "layers": 1,
        "heads": 2,
        "mlp_width": 16,
        "max_positions": 16,
        "pooling": "mean",
    },
}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "low", "high", "hiss", "a", "tone", "sound", "of"]
PROMPTS = PromptSet(
    name="tones",
    classes={"low": ("low", "low tone"), "high": ("high", "high tone"), "hiss": ("hiss",)},
    templates=("{}", "a sound of {}"),
)
RECIPE = """
name: test/separation
domain: audio
task: mix_and_separate
seed: 3
prompts: tones
start: {{model: tones, new: ["separator.*"]}}
freeze: [audio, text]
model:
{model}
options:
  queries: text
  initial: scaled
  repeats: 2
  validation_s: 0.5
  mix: {{n_mix: 2, sounding: [0.2, 0.8], distinct: true, level_db: -20, gain: [0.5, 2.0], clip: false, divide: false}}
data:
  sources: [{{name: sounds, path: sounds}}]
  validation: {{fraction: 0.25}}
objective: {{name: separation, options: {{shape_weight: 1.0}}}}
optim: {{lr: 0.01, weight_decay: 0.0}}
batch_size: 4
epochs: 2
checkpoint_steps: 1
"""


def config(towers: tuple[str, ...] = ("audio", "text"), **changes: Any) -> ModelConfig:
    """Return the config of a separator; ``changes`` go into its options."""
    return ModelConfig.model_validate(
        {
            "name": "test/separation",
            "domain": "audio",
            "architecture": "clipsep",
            "description": "Tells tones apart, for tests.",
            "licence": "MIT",
            "prompts": "tones" if towers else None,
            "embed_dim": 8 if towers else 0,
            "towers": {name: TOWERS[name] for name in towers},
            "options": {**OPTIONS, **changes},
        }
    )


def recipe(
    folder: Path, text: str = RECIPE, *, towers: tuple[str, ...] = ("audio", "text"), **changes: Any
) -> Path:
    """Write the recipe and its prompt set into a folder; ``changes`` go into the model's options."""
    import yaml

    model = config(towers, **changes).model_dump(mode="json", exclude_defaults=True)
    block = "\n".join(f"  {line}" for line in yaml.safe_dump(model).splitlines())
    (folder / "recipe.yaml").write_text(text.format(model=block))
    (folder / "tones.yaml").write_text(yaml.safe_dump(PROMPTS.model_dump(mode="json", exclude_none=True)))
    return folder / "recipe.yaml"


def processor() -> Processor:
    """Return the processor of both towers."""
    words = {word: number for number, word in enumerate(WORDS)}
    made = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    mel = {"n_fft": 128, "hop_length": 32, "n_mels": 16}
    audio = AudioProcessing.model_validate(
        {"sampling_rate": RATE, "window_s": 0.5, "padding": "repeat", "standardize": 1.0, "mel": mel}
    )
    return Processor(ProcessorConfig(audio=audio, text=TextProcessing(context_length=16)), made.to_str())


def towers(seed: int = 0) -> ContrastiveModel:
    """Return random towers, as a tagger has them."""
    torch.manual_seed(seed)
    plain = config().model_copy(update={"architecture": "contrastive", "options": {}, "name": "tones"})
    return build_model(plain).eval()


def start(seed: int = 0) -> Start:
    """Return towers as a start for training."""
    return Start(towers(seed), processor(), PROMPTS, "tones", "sha256:0")


def model(seed: int = 0, kinds: tuple[str, ...] = ("audio", "text"), **changes: Any) -> Model:
    """Return a random separator as users hold it; its gates differ by query."""
    torch.manual_seed(seed)
    network = build_model(config(kinds, **changes)).eval()
    with torch.no_grad():
        for part in network.separator.modules():  # pyright: ignore[reportAttributeAccessIssue]
            if isinstance(part, (torch.nn.Conv2d, torch.nn.Linear)):
                part.reset_parameters()
                part.weight.mul_(3.0)
    made = processor() if kinds else Processor(ProcessorConfig())
    return Model(network, made, prompts=PROMPTS if kinds else None)


def wave(label: str, seconds: float = 1.0, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """Return float32 [T] of one of three kinds of sound."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    if label == "hiss":
        return (0.1 * rng.standard_normal(len(time))).astype(np.float32)
    hz = {"low": 150, "high": 1200}[label] * rng.uniform(0.9, 1.1)
    beat = 0.6 + 0.4 * np.sin(2 * np.pi * rng.uniform(2, 5) * time)
    return (0.2 * beat * np.sin(2 * np.pi * hz * time)).astype(np.float32)


def sounds(folder: Path, each: int = 6, seconds: float = 1.0, rate: int = RATE) -> Path:
    """Write labelled recordings into ``folder/sounds/<label>`` and return ``folder``."""
    for label in ("low", "high", "hiss"):
        home = folder / "sounds" / label
        home.mkdir(parents=True)
        for number in range(each):
            soundfile.write(home / f"{number}.wav", wave(label, seconds, number, rate), rate)
    return folder
