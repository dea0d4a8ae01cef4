"""Checkpoints of other libraries, of a few kilobytes."""

from __future__ import annotations

import json
from collections.abc import Mapping

import torch
from safetensors.torch import save
from tokenizers import Tokenizer, models, processors

WIDTH, LAYERS, ROWS, LENGTH = 16, 2, 30, 8
CARD = b"---\nlicense: cc-by-nc-4.0\n---\n# A model\n"


def clip_state() -> dict[str, torch.Tensor]:
    """Return random tensors under the names of a ``CLIPModel`` of transformers."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return 0.2 * torch.randn(*shape, generator=generator)

    state = {
        "logit_scale": torch.tensor(2.5),
        "visual_projection.weight": random(12, WIDTH),
        "text_projection.weight": random(12, WIDTH),
        "vision_model.embeddings.class_embedding": random(WIDTH),
        "vision_model.embeddings.patch_embedding.weight": random(WIDTH, 3, 8, 8),
        "vision_model.embeddings.position_embedding.weight": random(5, WIDTH),
        "text_model.embeddings.token_embedding.weight": random(ROWS, WIDTH),
        "text_model.embeddings.position_embedding.weight": random(LENGTH, WIDTH),
    }
    norms = ["vision_model.pre_layrnorm", "vision_model.post_layernorm", "text_model.final_layer_norm"]
    for tower in ("vision_model", "text_model"):
        for number in range(LAYERS):
            block = f"{tower}.encoder.layers.{number}"
            norms += [f"{block}.layer_norm1", f"{block}.layer_norm2"]
            sizes = {f"self_attn.{part}_proj": (WIDTH, WIDTH) for part in ("q", "k", "v", "out")}
            sizes |= {"mlp.fc1": (32, WIDTH), "mlp.fc2": (WIDTH, 32)}
            for name, shape in sizes.items():
                state[f"{block}.{name}.weight"], state[f"{block}.{name}.bias"] = (
                    random(*shape),
                    random(shape[0]),
                )
    for norm in norms:
        state[f"{norm}.weight"], state[f"{norm}.bias"] = 1 + random(WIDTH), random(WIDTH)
    return state


def clip_files(**changes: object) -> dict[str, bytes]:
    """Return the files of a CLIP as transformers saves it."""
    shared = {
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    config = {
        "model_type": "clip",
        "projection_dim": 12,
        "text_config": {
            **shared, "vocab_size": ROWS, "max_position_embeddings": LENGTH, "eos_token_id": ROWS - 1,
        },
        "vision_config": {**shared, "image_size": 16, "patch_size": 8},
        **changes,
    }  # fmt: skip
    words = {word: number for number, word in enumerate(["?", *"abcdefghijklmnopqrstuvwxyz", "<", ">"])}
    words = {**words, "end": ROWS - 1}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="?"))
    tokenizer.post_processor = processors.TemplateProcessing(
        "< $A end", special_tokens=[("<", words["<"]), ("end", words["end"])]
    )
    sizes = {"size": {"shortest_edge": 16}, "crop_size": {"height": 16, "width": 16}}
    return {
        "config.json": json.dumps(config).encode(),
        "model.safetensors": save(clip_state()),
        "tokenizer.json": tokenizer.to_str().encode(),
        "tokenizer_config.json": b'{"pad_token": "end"}',
        "preprocessor_config.json": json.dumps(sizes).encode(),
        "README.md": CARD,
    }


def in_pieces(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the same checkpoint in two pieces with an index."""
    state, names = clip_state(), sorted(clip_state())
    pieces = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    index = {"weight_map": {name: piece for piece, held in pieces.items() for name in held}}
    rest = {name: content for name, content in files.items() if name != "model.safetensors"}
    saved = {piece: save({name: state[name] for name in held}) for piece, held in pieces.items()}
    return {**rest, **saved, "model.safetensors.index.json": json.dumps(index).encode()}
