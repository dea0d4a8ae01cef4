"""A random CoCa model of a few kilobytes, in the format of every model folder."""

from __future__ import annotations

from pathlib import Path

import torch
from verticlip.core.captions import train_tokenizer
from verticlip.core.checkpoint import save_weights
from verticlip.core.config import ImageProcessing, ModelConfig, ProcessorConfig, TextProcessing
from verticlip.core.files import write_json_atomic
from verticlip.core.model import build_model
from verticlip.core.processing import Processor
from verticlip.core.recipe import TokenizerConfig

WORDS = "a satellite image of the city river forest with houses roads and trees near water lake green dark"


def coca(folder: Path, *, bpe: bool = False) -> Path:
    """Write a model; ``bpe`` takes CLIP's vocabulary, as the published ones do."""
    context = 12
    text = TextProcessing(context_length=context, overlong="truncate")
    tokenizer = None if bpe else train_tokenizer([WORDS], TokenizerConfig(vocab_size=200), text)
    size = 49408
    if tokenizer is None:
        text = TextProcessing(tokenizer="open_clip_bpe", context_length=context, overlong="truncate")
    else:
        import json

        size = len(json.loads(tokenizer)["model"]["vocab"])
    sees = {
        "image_size": 16,
        "patch_size": 8,
        "width": 16,
        "layers": 1,
        "head_width": 8,
        "output_tokens": True,
    }
    sees |= {"attentional_pool": True, "attn_pooler_queries": 3, "attn_pooler_heads": 2}
    reads = {"context_length": context, "vocab_size": size, "width": 16, "heads": 2, "layers": 1}
    reads |= {"embed_cls": True, "output_tokens": True}
    shared = {"backend": "open_clip", "output_dim": 16}
    special = {} if bpe else {"start_id": 2, "end_id": 3}
    config = ModelConfig.model_validate(
        {
            "name": "test/coca",
            "domain": "urban",
            "architecture": "coca",
            "embed_dim": 16,
            "licence": "Apache-2.0",
            "description": "For tests.",
            "towers": {
                "image": {**shared, "kind": "vision", "options": sees},
                "text": {**shared, "kind": "text", "options": reads},
            },
            "options": {
                "tile_px": 16,
                "decoder": {"width": 16, "heads": 2, "layers": 1, "context_length": context},
                **special,
            },
        }
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_model(config)
        for parameter in network.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.4)
    write_json_atomic(folder / "config.json", config.model_dump(mode="json"))
    Processor(ProcessorConfig(image=ImageProcessing(size=16), text=text), tokenizer).save(folder)
    save_weights(network, folder / "model.safetensors")
    return folder
