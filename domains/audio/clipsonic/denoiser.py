"""The network of the diffusion: a noisy mel spectrogram, a time and a condition to what is to be removed.

The U-Net is that of diffusers, with the condition as its class embedding: two layers on the vector, added
to the embedding of the time.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from ....core.errors import require
from .options import DenoiserConfig


class Denoiser(nn.Module):
    """A U-Net on mel spectrograms, driven by one vector.

    Args:
        config: sizes.
        width: values of the condition.

    Raises:
        DependencyError: ``diffusers`` is not installed (extra ``audio``).

    Reference: Dong et al., "CLIPSonic", WASPAA 2023; Dhariwal and Nichol, "Diffusion Models Beat GANs on
    Image Synthesis", 2021, for the way the condition enters; diffusers, ``UNet2DConditionModel``.
    """

    def __init__(self, config: DenoiserConfig, width: int) -> None:
        super().__init__()
        self.config = config
        down = tuple("AttnDownBlock2D" if has else "DownBlock2D" for has in config.attention)
        up = tuple("AttnUpBlock2D" if has else "UpBlock2D" for has in reversed(config.attention))
        unet: Any = require("diffusers", extra="audio").UNet2DConditionModel
        self.unet: nn.Module = unet(
            in_channels=config.patch**2,
            out_channels=config.patch**2,
            down_block_types=down,
            mid_block_type="UNetMidBlock2D",
            up_block_types=up,
            block_out_channels=config.channels,
            layers_per_block=config.layers,
            attention_head_dim=config.head_width,
            norm_num_groups=config.groups,
            class_embed_type="projection",
            projection_class_embeddings_input_dim=width,
        )

    def forward(self, mel: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
        """Return the prediction float32 [B, 1, F, T].

        Args:
            mel: noisy target float32 [B, 1, F, T]; F and T divide by ``config.multiple``.
            timesteps: int64 [B], in [0, steps).
            condition: float32 [B, D], of about unit variance.
        """
        squares = F.pixel_unshuffle(mel, self.config.patch)
        found = self.unet(squares, timesteps, encoder_hidden_states=None, class_labels=condition)
        return F.pixel_shuffle(found.sample, self.config.patch).float()
