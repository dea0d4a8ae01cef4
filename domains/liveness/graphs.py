"""What the room's models give to other runtimes beside their towers: the logits of the categories."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor

from ...core.graph_trials import BATCHES, pictures
from ...core.graphs import Graph
from ...core.model import ContrastiveModel
from ...core.processing import Processor
from .models.base import LivenessModel
from .models.categories import CategoryModel


def logits(network: ContrastiveModel, processor: Processor) -> list[Graph]:
    """Return one graph for each crop that a model looks at: from its pixels to logits [B, K].

    The texts of the categories are part of it, encoded.
    """
    model = cast("LivenessModel", network)
    model.use_processor(processor)
    names = ", ".join(category.id for category in model.taxonomy.categories)
    several = len(model.crops) > 1
    found = []
    for index in range(len(model.crops)):
        inputs = model.prepare_crop(processor, pictures(), index)
        found.append(
            Graph(
                name=f"logits_{index}" if several else "logits",
                run=_logits(model, index),
                trials={
                    f"batch of {rows}": {name: value[-rows:] for name, value in inputs.items()}
                    for rows in BATCHES
                },
                output="logits",
                meaning=f"logits float32 [B, {len(model.taxonomy.categories)}] of the categories: {names}",
                expect=_expected(model, index),
                note="The input is the picture cropped as options.crops of config.json say"
                + (
                    ", one file per crop; the model's answer is the mean of their softmaxes."
                    if several
                    else "."
                ),
            )
        )
    return found


def _expected(model: LivenessModel, index: int) -> Callable[[Mapping[str, Tensor]], Tensor]:
    return lambda inputs: model.crop_logits(inputs, index)


def _logits(model: LivenessModel, index: int) -> Callable[[Mapping[str, Tensor]], Tensor]:
    if not isinstance(model, CategoryModel):
        return _expected(model, index)
    with torch.no_grad():
        categories = model.category_embeddings().clone()
    return lambda inputs: model.compare(model.encode("image", inputs), categories)
