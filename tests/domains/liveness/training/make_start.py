"""A random CLIP of a few hundred kilobytes to start from, and the recipes of the room at its size."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import torch
import verticlip
from verticlip.core.captions import train_tokenizer
from verticlip.core.config import ImageProcessing, ModelConfig, ProcessorConfig, TextProcessing
from verticlip.core.model import build_model
from verticlip.core.processing import Processor
from verticlip.core.recipe import TokenizerConfig
from verticlip.core.start import Start
from verticlip.domains.liveness.taxonomy import load_taxonomy

SIZES = {"width": 24, "layers": 2, "heads": 2, "mlp_width": 48, "quick_gelu": True}

RECIPES = Path(verticlip.__file__).parent / "domains" / "liveness" / "recipes"
SMALL = [
    "options.steps_per_epoch=2", "epochs=2", "batch_size=8", "optim.lr=0.0005",
    "evaluation.select=last", "evaluation.min_above_chance=-1", "checkpoint_steps=9", "evaluation.every_epochs=2",
]  # fmt: skip
OVERRIDES = {
    "clipc8": [],
    "clipc8-pairs": [],
    "flip-it": ["image.size=32"],
    "flip-mcl": ["image.size=32", "options.architecture_options={ssl_width: 32, ssl_dim: 8}"],
    "flip-v": [
        "image.size=32",
        "model.embed_dim=16",
        "model.towers.image.image_size=32",
        *(f"model.towers.image.{key}={str(value).lower()}" for key, value in SIZES.items()),
    ],
    "minifasnet": ["options.detector=none"],
}


@functools.cache
def make_start(size: int = 32) -> Start:
    """Return a start of two plain towers, D = 16; nobody changes it."""
    text = TextProcessing(context_length=77)
    texts = [*load_taxonomy("default").texts, *load_taxonomy("binary").texts]
    tokenizer = train_tokenizer(texts, TokenizerConfig(vocab_size=400), text)
    words = len(json.loads(tokenizer)["model"]["vocab"])
    config = ModelConfig.model_validate(
        {
            "name": "test/clip",
            "embed_dim": 16,
            "licence": "MIT",
            "towers": {
                "image": {"backend": "vit", "image_size": size, "patch_size": 16, "output_dim": 16, **SIZES},
                "text": {"backend": "clip_text", "vocab_size": words, "output_dim": 16, **SIZES},
            },
        }
    )
    torch.manual_seed(0)
    processor = Processor(ProcessorConfig(image=ImageProcessing(size=size), text=text), tokenizer)
    return Start(build_model(config), processor, None, "test/clip", "abc")
