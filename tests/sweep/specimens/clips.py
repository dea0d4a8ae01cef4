"""CLIPs and SigLIPs in the layouts that several domains share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import make_clip
import torch
from ecommerce.checkpoints import make_open_clip_siglip
from liveness.models import flip_oracle
from torch import Tensor
from urban.checkpoints import make_siglip
from verticlip.core.registry import ModelSpec

from .specimen import Maker, Specimen, place, published, put

VOCABULARY = 49_408
TEXT_WIDTH, WIDTH = 16, 128


def sizes(dimension: int, size: int, patch: int, *, width: int = WIDTH) -> dict[str, Any]:
    """Return the sizes of a CLIP whose tensors are small where nothing of the outside depends on them."""
    return flip_oracle.sizes(
        embed_dim=dimension,
        image_resolution=size,
        vision_patch_size=patch,
        vision_width=width,
        context_length=77,
        vocab_size=VOCABULARY,
        transformer_width=TEXT_WIDTH,
        transformer_heads=1,
    )


def clip_state(dimension: int, size: int, patch: int, *, width: int = WIDTH) -> dict[str, Tensor]:
    """Return random weights of a CLIP under open_clip's names, float32."""
    made = flip_oracle.clip_state(
        sizes(dimension, size, patch, width=width), torch.Generator().manual_seed(0)
    )
    return {name: tensor.float() for name, tensor in made.items()}


def clip(patch: int, *, width: int = WIDTH, kind: str = "clip") -> Specimen:
    """Return a CLIP with the registered picture size and joint width, one narrow block in each tower."""

    def make(spec: ModelSpec, folder: Path) -> dict[str, Path]:
        options = published(spec).options
        size = options.get("image_size", 224)
        return {"weights": put(spec, folder, clip_state(spec.embed_dim, size, patch, width=width))}

    return Specimen(kind, make)


def _resnet(spec: ModelSpec, folder: Path) -> dict[str, Path]:
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    torch.manual_seed(0)
    vision = CLIPVisionCfg(layers=(1, 1, 1, 1), width=16, image_size=224)
    text = CLIPTextCfg(context_length=77, vocab_size=VOCABULARY, width=TEXT_WIDTH, heads=1, layers=1)
    network = CLIP(spec.embed_dim, vision, text, quick_gelu=True)
    for module in network.modules():
        # A fresh network's last norm of each block is zero: nothing before it would count.
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.7, 1.3)
    return {"weights": put(spec, folder, network.state_dict())}


RESNET = Specimen("clip with a resnet", _resnet)


def transformers_clip(patch: int) -> Specimen:
    """Return a CLIP as transformers saves it, with its ``config.json``."""

    def make(spec: ModelSpec, folder: Path) -> dict[str, Path]:
        options = published(spec).options
        network = make_clip.transformers_model(
            dimension=spec.embed_dim, width=TEXT_WIDTH, size=options["image_size"], patch=patch
        )
        config = place(spec, folder, "config")
        config.write_text(json.dumps(network.config.to_dict()))
        return {"weights": put(spec, folder, network.state_dict()), "config": config}

    return Specimen("clip", make)


def _siglip(spec: ModelSpec, folder: Path) -> dict[str, Path]:
    text = {**make_siglip.TEXT, "projection_size": make_siglip.VISION["hidden_size"]}
    return make_siglip.saved(make_siglip.siglip(text), folder, text=text)


def _of_width(kind: str, make: Maker, width: int) -> Specimen:
    """Return a SigLIP of another joint width than registered: that of its image tower, narrow here."""
    return Specimen(kind, make, {"embed_dim": width}, dimension=width)


SIGLIP = _of_width("siglip", _siglip, make_siglip.VISION["hidden_size"])
"""As transformers saves it."""


def _open_clip_siglip(spec: ModelSpec, folder: Path) -> dict[str, Path]:
    network = make_open_clip_siglip.siglip(size=published(spec).options["image_size"])
    return make_open_clip_siglip.saved(network, folder)


OPEN_CLIP_SIGLIP = _of_width("siglip", _open_clip_siglip, make_open_clip_siglip.WIDTH)
"""As open_clip saves it, with the registered picture size."""
