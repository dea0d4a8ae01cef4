"""The loss of MiniFASNet's training: the class, and the spectrum beside it."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ....core.errors import ConfigError, InputError
from ....core.objectives.base import Needs, Objective
from ....core.types import Batch, Outputs
from .category import checked_labels


class FourierSupervision(Objective):
    """Cross-entropy of the category, and squared error of the predicted spectrum.

    Reads ``category_logits`` [B, K] and ``fourier_map`` [B, 1, h, w] of ``outputs.extras``, which a
    MiniFASNet with a Fourier branch puts there; ``batch.labels`` int64 [B], the category; and
    ``fourier_target`` float32 [B, 1, h, w] of ``batch.extras``, made by
    :func:`~..minifasnet.spectrum.fourier_target` from the picture before its colors are changed at random, at
    the size ``model.fourier_size``.

    Args:
        fourier_weight: of the squared error; the cross-entropy gets the rest.

    Reference: minivision-ai/Silent-Face-Anti-Spoofing, ``src/train_main.py``: one half each.
    """

    def __init__(self, fourier_weight: float = 0.5) -> None:
        super().__init__()
        if not 0 <= fourier_weight <= 1:
            raise ConfigError(f"fourier_weight must lie between 0 and 1, got {fourier_weight}.")
        self.fourier_weight = fourier_weight
        self.needs = Needs(
            labels=True,
            output_extras=("category_logits", "fourier_map"),
            batch_extras=("fourier_target",),
        )

    def compute(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return the parts ``category`` and ``fourier``."""
        logits, predicted = outputs.extras["category_logits"], outputs.extras["fourier_map"]
        target = batch.extras["fourier_target"]
        if predicted.shape != target.shape:
            raise InputError(
                f"The model predicts spectra {list(predicted.shape)}, fourier_target is "
                f"{list(target.shape)}. Make targets of the size that the model's fourier_size says."
            )
        labels = checked_labels(batch, logits.shape[1])
        return {
            "category": (1 - self.fourier_weight) * F.cross_entropy(logits.float(), labels),
            "fourier": self.fourier_weight * F.mse_loss(predicted.float(), target.float()),
        }
