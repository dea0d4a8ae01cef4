"""A SigLIP of a few hundred kilobytes, as transformers builds and shares it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[3]))

import make_clip

TEXT = {
    "vocab_size": 40, "hidden_size": 24, "intermediate_size": 50, "num_hidden_layers": 2,
    "num_attention_heads": 3, "max_position_embeddings": 10, "projection_size": 32,
    "eos_token_id": 1, "bos_token_id": 2, "pad_token_id": 1,
}  # fmt: skip
VISION = {
    "hidden_size": 32, "intermediate_size": 70, "num_hidden_layers": 2, "num_attention_heads": 4,
    "image_size": 40, "patch_size": 16,
}  # fmt: skip


def siglip(text=(), vision=()):
    import transformers

    torch.manual_seed(0)
    config = transformers.SiglipConfig(
        text_config={**TEXT, **dict(text)}, vision_config={**VISION, **dict(vision)}
    )
    model = transformers.SiglipModel(config).eval()
    for parameter in model.parameters():
        # A fresh network's positions and biases are too small to show a mistake.
        torch.nn.init.normal_(parameter, std=0.2)
    torch.nn.init.constant_(model.logit_scale, 4.76)
    torch.nn.init.constant_(model.logit_bias, -12.9)
    return model


def tokenizer(rows: int) -> str:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["<pad>", "</s>", "<unk>", "a", "satellite", "image", "of", "river"]
    words += [f"word{number}" for number in range(rows - len(words))]
    made = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    return made.to_str()


def saved(model: torch.nn.Module, folder: Path, *, text=TEXT, vision=VISION) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = {"weights": make_clip.save(model, folder / "model.safetensors")}
    for role, content in (
        ("config", json.dumps({"model_type": "siglip", "text_config": text, "vision_config": vision})),
        ("tokenizer", tokenizer(text.get("vocab_size", 32000))),
    ):
        files[role] = folder / f"{role}.json"
        files[role].write_text(content)
    return files
