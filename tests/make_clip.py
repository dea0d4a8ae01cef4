"""A CLIP of a few hundred kilobytes with the vocabulary of the real one, as libraries build and share it."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

DIMENSION, WIDTH, SIZE, PATCH = 24, 64, 32, 16


def open_clip_model(
    dimension: int = DIMENSION, *, width: int = WIDTH, vocabulary: int = 49_408, context: int = 77
) -> torch.nn.Module:
    """Return a random CLIP of open_clip in evaluation mode."""
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    torch.manual_seed(0)
    vision = CLIPVisionCfg(layers=2, width=width, patch_size=PATCH, image_size=SIZE, head_width=width)
    text = CLIPTextCfg(context_length=context, vocab_size=vocabulary, width=width, heads=1, layers=2)
    return CLIP(dimension, vision, text, quick_gelu=True).eval()


def transformers_model(
    *,
    vocabulary: int = 49_408,
    context: int = 77,
    dimension: int = DIMENSION,
    width: int = WIDTH,
    size: int = SIZE,
    patch: int = PATCH,
) -> torch.nn.Module:
    """Return a random CLIP of transformers in evaluation mode."""
    import transformers

    torch.manual_seed(0)
    sizes = {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
    }
    settings = transformers.CLIPConfig(
        text_config={
            **sizes,
            "vocab_size": vocabulary,
            "max_position_embeddings": context,
            "eos_token_id": vocabulary - 1,
            "bos_token_id": vocabulary - 2,
        },
        vision_config={**sizes, "image_size": size, "patch_size": patch},
        projection_dim=dimension,
    )
    return transformers.CLIPModel(settings).eval()


def save(network: torch.nn.Module, path: Path) -> Path:
    """Write a network's tensors as safetensors."""
    save_file({name: one.contiguous().clone() for name, one in network.state_dict().items()}, path)
    return path
