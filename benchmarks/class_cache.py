"""What a second zero-shot call on the same labels costs beside the image tower: next to nothing.

The first call encodes the prompts of every label and keeps the class embeddings; the second only
reads them. The peer is the image tower alone, so a ratio near one is the best there can be.
"""

from __future__ import annotations

from functools import partial

import torch

from ..core.config import ImageProcessing
from ..core.errors import VerticlipError
from ..facade import Model
from .models import BERT_BASE_SIZE, make_phrases, random_model
from .runner import Workload

GATE = 0.9
_VIT_B16 = {
    "backend": "vit", "image_size": 224, "patch_size": 16, "width": 768, "layers": 12, "heads": 12,
    "mlp_width": 3072, "output_dim": 512,
}  # fmt: skip


def check(model: Model, images: torch.Tensor, labels: list[str]) -> dict[str, float]:
    """Return how many texts were encoded by a first and a second call; raise unless the second has none."""
    counts: list[int] = []
    encode = model.network.encode

    def counted(modality: str, *given: object, **named: object) -> torch.Tensor:
        counts[-1] += modality == "text"
        return encode(modality, *given, **named)  # pyright: ignore[reportArgumentType]

    model.network.encode = counted  # pyright: ignore[reportAttributeAccessIssue]
    try:
        for _ in range(2):
            counts.append(0)
            model.classify(images, labels)
    finally:
        del model.network.encode
    if not counts[0] or counts[1]:
        raise VerticlipError(
            f"A first call made {counts[0]} and a second {counts[1]} passes of the text tower; the second "
            "must make none."
        )
    return {"text_passes_first": float(counts[0]), "text_passes_second": float(counts[1])}


def workloads(quick: bool = False) -> list[Workload]:
    """Return the one comparison: one image and 200 labels (20 when ``quick``), ViT-B/16 and BERT base."""
    text = {**BERT_BASE_SIZE, "projection": "linear"}
    model = random_model(_VIT_B16, text, ImageProcessing(size=224), embed_dim=512)
    images = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    labels = make_phrases(20 if quick else 200)
    return [
        Workload(
            f"zero-shot again, 1 image, {len(labels)} labels",
            partial(model.classify, images, labels),
            partial(model.embed, images, modality="image"),
            "the image tower alone",
            GATE,
            partial(check, model, images, labels),
            note="class embeddings live in memory with the model; nothing is written to disk",
        )
    ]
