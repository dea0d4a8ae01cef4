"""Cross-entropy on a linear layer over unit embeddings: classification by fine-tuning."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import ConfigError
from ..heads.classifiers import LinearProbe
from ..types import Batch, Modality, Outputs
from .base import Needs, Objective, register_objective


@register_objective("cross_entropy")
class CrossEntropy(Objective):
    """Classification loss ``-log softmax(sqrt(D) e W^T + b)_label`` with a linear layer of its own.

    The unit embedding ``e`` [B, D] is scaled by ``sqrt(D)``, so that features have unit size and the
    layer learns at the rates that are usual for one. The fitted layer is a :class:`LinearProbe`.

    Args:
        label_smoothing: probability mass in [0, 1) spread over all classes.
        modality: whose embeddings are classified.

    Returns ``{"loss", "classification"}``. :meth:`prepare` sizes the layer before training.
    """

    def __init__(self, label_smoothing: float = 0.0, modality: Modality = "image") -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"label_smoothing must be in [0, 1), got {label_smoothing}.")
        self.label_smoothing = label_smoothing
        self.modality: Modality = modality
        self.needs = Needs(modalities=(modality,), labels=True)
        self.linear = nn.Linear(1, 1)
        self.class_names: tuple[str, ...] = ()

    def prepare(self, width: int, class_names: Sequence[str]) -> None:
        """Size the layer: ``width`` D of the embeddings and one row per class; it starts at zero."""
        self.class_names = tuple(class_names)
        self.linear = nn.Linear(width, len(self.class_names))
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def logits(self, embeddings: Tensor) -> Tensor:
        """Return logits [B, K] of unit embeddings [B, D]."""
        return self.linear(embeddings * math.sqrt(self.linear.in_features))

    def compute(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return the mean cross-entropy over the rows."""
        logits = self.logits(outputs.embeddings[self.modality])
        return {
            "classification": F.cross_entropy(logits, batch.labels, label_smoothing=self.label_smoothing)  # pyright: ignore[reportArgumentType]
        }

    def head(self) -> LinearProbe:
        """Return the layer as a head for unit embeddings, on the CPU."""
        weight = self.linear.weight.detach().cpu() * math.sqrt(self.linear.in_features)
        # Trained by gradient steps: there is no regularization strength to record.
        return LinearProbe(
            weight, self.linear.bias.detach().cpu(), self.class_names, c=1.0, modality=self.modality
        )
