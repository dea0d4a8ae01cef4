"""What the room's models give to other runtimes beside their towers: a product from picture and text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from ...core.graph_trials import trials
from ...core.graphs import Graph
from ...core.model import ContrastiveModel
from ...core.processing import Processor
from .encoders.fusing import unit
from .encoders.views import PARTS, ProductModel


def product(network: ContrastiveModel, processor: Processor) -> list[Graph]:
    """Return the graph from a picture and a text of each row to its product; for one of both, the towers."""
    model = cast("ProductModel", network)
    sides = {name: trials(processor, name) for name in PARTS}
    names = {part: tuple(next(iter(sides[part].values()))) for part in PARTS}
    text = processor.config.text
    kinds = [kind for kind in sides["image"] if kind in sides["text"]]

    def run(inputs: Mapping[str, Tensor]) -> Tensor:
        given = {part: {name: inputs[name] for name in names[part]} for part in PARTS}
        rows = inputs["pixels"].shape[0]
        present = {part: torch.ones(rows, dtype=torch.bool) for part in PARTS}
        return unit(model.embed_views(given, present, ["product"])["product"])

    return [
        Graph(
            name="product",
            run=run,
            trials={kind: {**sides["image"][kind], **sides["text"][kind]} for kind in kinds},
            output="embedding",
            meaning=f"unit embeddings float32 [B, {model.config.embed_dim}] of picture and text together",
            free=dict.fromkeys(names["text"], (1,)) if text is not None and text.padding == "longest" else {},
            unit=True,
        )
    ]
