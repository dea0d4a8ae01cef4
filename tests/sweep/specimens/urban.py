"""Satellite CLIPs, and the CoCas that UrbanCLIP starts from."""

from __future__ import annotations

import json
from pathlib import Path

from urban.coca import make_coca
from verticlip.core.registry import ModelSpec

from .clips import RESNET, SIGLIP, VOCABULARY, clip, transformers_clip
from .specimen import Specimen, put

WIDTH, HEAD = 32, 16
"""Of every part and so of the joint space, which is as wide as the decoder; and of an attention head."""


def coca(patch: int) -> Specimen:
    """Return a narrow CoCa with one block in each tower and in the decoder."""

    def make(spec: ModelSpec, folder: Path) -> dict[str, Path]:
        from open_clip.coca_model import CoCa

        narrow = {"width": WIDTH, "heads": 2, "layers": 1, "vocab_size": VOCABULARY, "context_length": 76}
        changes = {f"{part}__{name}": value for part in ("text", "decoder") for name, value in narrow.items()}
        image = {"image_size": 224, "patch_size": patch, "width": WIDTH, "head_width": HEAD}
        changes |= {f"vision__{name}": value for name, value in {**image, "attn_pooler_heads": 8}.items()}
        arguments = json.loads(json.dumps(make_coca.arguments(embed_dim=WIDTH, **changes)))
        network = make_coca.random_weights(CoCa(**arguments))
        return {"weights": put(spec, folder, network.state_dict())}

    return Specimen("coca", make, {"head_width": HEAD}, dimension=WIDTH)


SPECIMENS = {
    "urban/remoteclip-rn50": RESNET,
    "urban/remoteclip-vit-b32": clip(32),
    "urban/remoteclip-vit-l14": clip(14),
    "urban/georsclip-vit-b32": clip(32),
    "urban/georsclip-vit-b32-ret2": clip(32),
    "urban/georsclip-vit-b32-rsicd": clip(32),
    "urban/georsclip-vit-l14": clip(14),
    "urban/georsclip-vit-l14-336": clip(14),
    # Its heads are of 80 values: two of them.
    "urban/georsclip-vit-h14": clip(14, width=160),
    "urban/skyclip-vit-l14-top30": clip(14),
    "urban/skyclip-vit-l14-top50": clip(14),
    "urban/skyclip-vit-l14-top30-laion-rs": clip(14),
    "urban/skyclip-vit-l14-top30-multi-objects": clip(14),
    "urban/skyclip-vit-b32-top50": clip(32),
    "urban/clip-laion-rs-vit-l14": clip(14),
    "urban/clip-rsicd-v2": transformers_clip(32),
    "urban/clip-rsicd": transformers_clip(32),
    "urban/git-rsclip-base": SIGLIP,
    "urban/git-rsclip": SIGLIP,
    "urban/openai-clip-vit-b32": clip(32),
    "urban/openai-clip-vit-l14": clip(14),
    "urban/coca-vit-l14-mscoco": coca(14),
    "urban/coca-vit-l14": coca(14),
    "urban/coca-vit-b32-mscoco": coca(32),
    "urban/coca-vit-b32": coca(32),
}
