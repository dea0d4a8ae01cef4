"""The objective ``clipsonic``: how far the denoiser is from what it shall predict."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from ....core.errors import ConfigError
from ....core.objectives.base import Needs, Objective
from ....core.types import Batch, Outputs


class DiffusionLoss(Objective):
    """Mean squared error of the prediction, each row as it is or weighed by its signal-to-noise ratio.

    Args:
        weighting: ``none``, or ``min_snr``: the error of x_0 times min(ratio, gamma), so that nearly clean
            inputs, whose errors mean little, do not rule the gradient.
        gamma: where the weight stops growing.

    Reference: Ho et al., "Denoising Diffusion Probabilistic Models", 2020; Hang et al., "Efficient Diffusion
    Training via Min-SNR Weighting Strategy", 2023.
    """

    needs = Needs(output_extras=("prediction", "wanted", "signal_to_noise", "error_scale"))

    def __init__(self, weighting: Literal["none", "min_snr"] = "none", gamma: float = 5.0) -> None:
        super().__init__()
        if gamma <= 0:
            raise ConfigError(f"gamma must be over 0, got {gamma:g}.")
        self.weighting, self.gamma = weighting, gamma

    def compute(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return ``{"diffusion": scalar}``."""
        extras = outputs.extras
        error = (extras["prediction"].float() - extras["wanted"].float()).square().mean(dim=(1, 2, 3))
        if self.weighting == "min_snr":
            weight = extras["signal_to_noise"].clamp(max=self.gamma) / extras["error_scale"].clamp(min=1e-8)
            error = error * weight
        return {"diffusion": error.mean()}
