"""What stored probes ask the architectures of the room beside their towers; see ``core/probe_inputs.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch

from ...core.probe_inputs import ProbeInputs, tower_answers

if TYPE_CHECKING:
    from torch import Tensor

    from ...core.model import ContrastiveModel
    from .encoders.views import ProductModel


def answers_of_products(network: ContrastiveModel, inputs: ProbeInputs) -> dict[str, Tensor]:
    """Return products of picture and text together as well; alone they are what the towers answer."""
    model = cast("ProductModel", network)
    rows = min(len(next(iter(inputs.prepared[name].values()))) for name in ("image", "text"))
    pairs = {
        name: {key: tensor[:rows] for key, tensor in inputs.prepared[name].items()}
        for name in ("image", "text")
    }
    present = {name: torch.ones(rows, dtype=torch.bool, device=model.device) for name in pairs}
    products = model.embed_views(pairs, present, ("product",))["product"]
    return {**tower_answers(model, inputs), "product.embedding": products}
