"""The architecture ``fused_product``: two towers, and a product as the weighted mean of both embeddings.

``options``:

* ``image_share``: of the picture at the start, 0.9;
* ``learn``: whether training moves the shares, True. They are the softmax of two numbers, so they stay
  positive and sum to one.

With equal towers it loads the weights of any two-tower model: ``fusion`` is all that is new.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from ....core.config import Config, ModelConfig, parse_config
from .fusing import fuse
from .views import Inputs, ProductModel, View


class FusedOptions(Config):
    """``options`` of a model config with ``architecture: fused_product``."""

    image_share: float = Field(default=0.9, gt=0, lt=1)
    learn: bool = True


class FusedDualEncoder(ProductModel):
    """``normalize(w_i image + w_t text)`` with ``(w_i, w_t) = softmax(fusion)``.

    Attributes:
        fusion: float [2], image before text; a parameter where it is learned, a buffer otherwise.
    """

    fusion: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        options = parse_config(FusedOptions, config.options, source=f"{config.name}: options")
        start = torch.tensor([math.log(options.image_share), math.log(1 - options.image_share)])
        if options.learn:
            self.fusion = nn.Parameter(start)
        else:
            self.register_buffer("fusion", start)

    def shares(self) -> Tensor:
        """Return the shares of image and text, float [2], which sum to 1."""
        return self.fusion.softmax(dim=0)

    def embed_views(
        self, inputs: Inputs, present: Mapping[str, Tensor], views: Sequence[View]
    ) -> dict[str, Tensor]:
        """Return raw embeddings by view; see the base class."""
        found = {name: self.embed(name, tensors)[0] for name, tensors in inputs.items()}
        if "product" in views:
            found["product"] = (
                fuse(found["image"], found["text"], self.shares().float(), present)
                if len(inputs) == 2
                else next(iter(found.values()))
            )
        return {view: found[view] for view in views}
