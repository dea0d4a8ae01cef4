"""The architecture ``flip_v``: a classifier on the image tower of a CLIP; no text is read.

With ``x`` the class token after the last norm and before CLIP's projection::

    h = dropout(relu(W1 x + b1))      e = h / sqrt(2 max(|h|, 1e-12))      z = e (W2 / |W2|)^T + b2

where ``|W2|`` is the norm over the classes, column by column. The length of ``e`` is ``sqrt(|h| / 2)``:
FLIP's code divides by a square root where its paper speaks of unit vectors.

Reference: Srivatsan et al. 2023, FLIP, arXiv 2309.16649, section 3.1 (FLIP-V).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ....core.config import ModelConfig
from ....core.errors import ConfigError
from ....core.types import Batch, Outputs, TokenOutput
from .base import LivenessModel, LivenessOptions

_SMALLEST = 1e-12


class FlipVOptions(LivenessOptions):
    """``options`` of a model config with ``architecture: flip_v``.

    Attributes:
        dropout: share of the values of ``h`` that training leaves out.
    """

    dropout: float = Field(default=0.5, ge=0.0, lt=1.0)


class FlipVHead(NamedTuple):
    """What the head makes of features: ``hidden`` h and ``embedding`` e [B, D], ``logits`` z [B, K]."""

    hidden: Tensor
    embedding: Tensor
    logits: Tensor


class ColumnNormClassifier(nn.Linear):
    """A linear layer whose weight [K, D] has unit columns.

    In training each forward replaces the stored weight by the normalized one: the optimizer then moves the
    normalized weight, and no gradient goes through the division. At inference the stored weight stays.
    """

    def normalized(self) -> Tensor:
        """Return the weight [K, D] divided by the norm of each column."""
        weight = self.weight.detach()
        return weight / weight.norm(dim=0, keepdim=True).clamp(min=_SMALLEST)

    def forward(self, embedding: Tensor) -> Tensor:
        """Return logits [B, K] of embeddings [B, D]."""
        if not (self.training and torch.is_grad_enabled()):
            return F.linear(embedding, self.normalized(), self.bias)
        # New storage: a write in place would invalidate the graph of an earlier forward of the same step.
        self.weight.data = self.normalized()
        return F.linear(embedding, self.weight, self.bias)


class FlipV(LivenessModel):
    """FLIP-V: image tower, one hidden layer, classifier over the taxonomy.

    The hidden layer is the projection of the image tower (``projection: linear`` with a bias), so that D is
    ``embed_dim``. ``forward`` gives the extras ``category_logits`` [B, K] and ``live_margin`` [B], float32.

    Attributes:
        classifier: from embeddings to categories.

    Raises:
        ConfigError: towers other than one for images, or a projection without a bias.
    """

    options_type: ClassVar[type[LivenessOptions]] = FlipVOptions
    options: FlipVOptions

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        hidden = self.projections["image"] if self.modalities == ("image",) else None
        if not isinstance(hidden, nn.Linear) or hidden.bias is None:
            raise ConfigError(
                f"{config.name}: architecture {config.architecture!r} is one image tower with projection "
                f"'linear' and projection_bias true; it has: {', '.join(self.modalities)}."
            )
        self.classifier = ColumnNormClassifier(config.embed_dim, len(self.taxonomy.categories))
        nn.init.normal_(hidden.weight, std=0.005)
        nn.init.constant_(hidden.bias, 0.1)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)
        # Part of every model's file; nothing here depends on it.
        self.logit_scale.requires_grad_(False)

    def head(self, features: Tensor) -> FlipVHead:
        """Return what the head makes of features float [B, W], the class token before CLIP's projection."""
        hidden = F.dropout(self.projections["image"](features).relu(), self.options.dropout, self.training)
        with torch.autocast(features.device.type, enabled=False):
            hidden = hidden.float()
            length = hidden.norm(dim=-1, keepdim=True).clamp(min=_SMALLEST)
            embedding = hidden / (2 * length).sqrt()
            return FlipVHead(hidden, embedding, self.classifier(embedding.to(self.dtype)).float())

    def embed(
        self, modality: str, inputs: Mapping[str, Tensor], *, tokens: bool = False
    ) -> tuple[Tensor, TokenOutput | None]:
        """Return ``e`` float32 [B, D] and, when ``tokens``, the states of the patches."""
        output = self._run(modality, inputs, tokens=tokens)
        return self.head(output.pooled).embedding, output.tokens

    def crop_logits(self, inputs: Mapping[str, Tensor], index: int) -> Tensor:
        """Return logits float32 [B, K] of ``pixels`` [B, 3, S, S]; all crops go through the same tower."""
        return self.head(self._run("image", inputs, tokens=False).pooled).logits

    def forward(self, batch: Batch, *, tokens: tuple[str, ...] = (), extras: tuple[str, ...] = ()) -> Outputs:
        """Return unit embeddings of the batch and the ``extras`` that the text of the class names."""
        # One pass of the head: a second one would draw another dropout.
        output = self._run("image", batch.inputs["image"], tokens="image" in tokens)
        found = self.head(output.pooled)
        kept = {"image": output.tokens} if output.tokens is not None else {}
        outputs = Outputs(
            {"image": F.normalize(found.embedding, dim=-1)}, self.scale(), self.logit_bias, kept
        )
        made = self.logit_extras(found.logits)
        return replace(outputs, extras={name: made[name] for name in extras if name in made})
