"""Published audio checkpoints: where they are, what they are under, what they may be used for. Plain data."""

from __future__ import annotations

from ...core.registry import ModelSpec, PublishedFile, PublishedWeights

_NIT = "https://drive.google.com/file/d/1pYQ05BClqT6Z-OSkngDKsQ2PJRF70oQL"
_CLIP = "timm/vit_base_patch32_clip_224.openai"

PUBLISHED: tuple[ModelSpec, ...] = (
    ModelSpec(
        name="audio/clipsep-nit",
        domain="audio",
        summary="takes a sound out of a recording by words or a picture; 16 kHz, learned from videos",
        modalities=("image", "text"),
        embed_dim=512,
        weights=PublishedWeights(
            # Not on the Hub: the authors link one file, and CLIP comes from where it is published.
            files=(
                PublishedFile("weights", "", "best_model.pt", page=_NIT),
                PublishedFile("args", "", "train-args.json", page=_NIT, optional=True),
                PublishedFile(
                    "clip",
                    "timm/vit_base_patch32_clip_224.openai",
                    "open_clip_model.safetensors",
                    optional=True,
                ),
                PublishedFile("labels", "", "labels.json", optional=True),
            ),
            converter="clipsep",
        ),
        licence="MIT",
        intended_use=(
            "Research and demonstration of sound separation; the weights lie beside MIT code and have no "
            "licence of their own."
        ),
        paper="arXiv 2212.07065",
        extra="audio",
    ),
)
