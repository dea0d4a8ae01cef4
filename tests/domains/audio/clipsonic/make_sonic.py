"""A model that makes sound, of a few kilobytes, with random weights."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from verticlip.core.audio_config import AudioProcessing
from verticlip.core.config import ModelConfig, ProcessorConfig, TextProcessing
from verticlip.core.model import build_model
from verticlip.core.processing import Processor
from verticlip.facade import Model

RATE, HOP = 8000, 64
MEL: dict[str, Any] = {
    "n_fft": 256,
    "hop_length": HOP,
    "n_mels": 16,
    "power": 1,
    "padding": "half_reflect",
    "magnitude_offset": 1e-9,
    "log": "ln",
    "floor": 1e-5,
}
TOWERS: dict[str, Any] = {
    "audio": {
        "backend": "timm",
        "architecture": "resnet18d",
        "options": {"in_chans": 1, "channels": [4, 8, 8, 16], "stem_width": 4},
    },
    "text": {
        "backend": "bert",
        "vocab_size": 16,
        "width": 16,
        "layers": 1,
        "heads": 2,
        "mlp_width": 16,
        "max_positions": 16,
        "pooling": "mean",
    },
}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "rain", "dog", "tone", "on", "a", "the", "sound", "of"]


def options(**changes: Any) -> dict[str, Any]:
    """Return model options; ``changes`` replace whole sections."""
    return {
        "target": {"sampling_rate": RATE, "frames": 32, "high": 2.0, "mel": dict(MEL)},
        "denoiser": {
            "channels": [8, 16],
            "attention": [False, True],
            "layers": 1,
            "head_width": 8,
            "groups": 4,
            "patch": 2,
        },
        "condition": {"modality": "audio"},
        "vocoder": {"iterations": 8},
        **changes,
    }


def config(**changes: Any) -> ModelConfig:
    """Return the model config; ``changes`` replace sections of its options."""
    return ModelConfig.model_validate(
        {
            "name": "sonic",
            "domain": "audio",
            "architecture": "clipsonic",
            "embed_dim": 8,
            "towers": TOWERS,
            "options": options(**changes),
        }
    )


def tokenizer() -> str:
    """Return a word tokenizer as JSON."""
    words = {word: number for number, word in enumerate(WORDS)}
    made = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made.to_str()


def processor() -> Processor:
    """Return preprocessing of texts and of recordings at :data:`RATE`."""
    audio = AudioProcessing.model_validate(
        {
            "sampling_rate": RATE,
            "window_s": 0.5,
            "padding": "repeat",
            "standardize": 1.0,
            "mel": {"n_fft": 256, "hop_length": 128, "n_mels": 32, "floor": 1e-7},
        }
    )
    return Processor(ProcessorConfig(audio=audio, text=TextProcessing(context_length=16)), tokenizer())


def model(seed: int = 0, **changes: Any) -> Model:
    """Return a model to ask, its bridge measured on random vectors."""
    torch.manual_seed(seed)
    network = build_model(config(**changes))
    for name in ("audio", "text"):
        vectors = torch.nn.functional.normalize(torch.randn(10, 8) + 1, dim=-1)
        network.bridge.measure(name, vectors)  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
    return Model(network.eval(), processor())
