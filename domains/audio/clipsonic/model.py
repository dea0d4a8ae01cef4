"""The architecture ``clipsonic``: towers into one space, and a network that makes sound of a vector there."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ....core.config import ModelConfig, parse_config
from ....core.errors import ConfigError, InputError
from ....core.model import ContrastiveModel
from ....core.types import Batch, Outputs
from .bigvgan import Generator
from .bridge import Bridge
from .denoiser import Denoiser
from .noise import add_noise, error_scale, wanted
from .options import Bridging, ClipSonicOptions

EXTRAS = ("prediction", "wanted", "signal_to_noise", "error_scale")


class ClipSonic(ContrastiveModel):
    """Towers, and a diffusion of mel spectrograms that their embeddings drive.

    One set of weights answers images (CLIPSonic-IQ), texts directly (ZS) and texts by way of a prior (PD);
    one trained with text embeddings is the supervised variant (SD).

    Attributes:
        options: :class:`~.options.ClipSonicOptions`.
        denoiser: the U-Net. bridge: means of the modalities.
        null_condition: [D], what stands for no condition.
        vocoder: generator stored with the weights, or None.

    Raises:
        ConfigError: options that do not fit, or a condition that no tower makes.

    Reference: Dong et al., "CLIPSonic: Text-to-Audio Synthesis with Unlabeled Videos and Pretrained
    Language-Vision Models", WASPAA 2023.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.options = parse_config(ClipSonicOptions, config.options, source=f"{config.name}: options")
        if self.options.condition.modality not in config.towers:
            raise ConfigError(
                f"{config.name}: the condition is an embedding of {self.options.condition.modality!r}, and "
                f"the towers are {', '.join(config.towers) or 'none'}."
            )
        self.denoiser = Denoiser(self.options.denoiser, config.embed_dim)
        self.bridge = Bridge(tuple(config.towers), config.embed_dim)
        self.null_condition = nn.Parameter(torch.zeros(config.embed_dim))
        made = self.options.vocoder.generator
        self.vocoder = None if made is None else Generator(made)

    def condition(self, embeddings: Tensor, modality: str, *, bridge: Bridging | None = None) -> Tensor:
        """Return unit conditions float32 [B, D] of unit embeddings of a modality.

        Args:
            embeddings: float32 [B, D].
            modality: the tower they come from.
            bridge: None is what the weights say.

        Raises:
            InputError: a modality the model lacks or never measured.
        """
        own = self.options.condition
        return self.bridge(
            embeddings,
            modality,
            own.modality,
            how=own.bridge if bridge is None else bridge,
            center=own.center,
        )

    def drive(self, conditions: Tensor, kept: Tensor | None = None) -> Tensor:
        """Return what enters the U-Net, float32 [B, D]: conditions of unit variance, or the null condition.

        Args:
            conditions: unit vectors [B, D].
            kept: bool [B], False where the null condition takes their place; None keeps all.
        """
        scaled = conditions * self.config.embed_dim**0.5
        if kept is None:
            return scaled
        return torch.where(kept[:, None], scaled, self.null_condition.to(scaled.dtype))

    def forward(self, batch: Batch, *, tokens: tuple[str, ...] = (), extras: tuple[str, ...] = ()) -> Outputs:
        """Return embeddings of the modalities in ``batch`` and, where asked for, the denoiser's answer.

        Args:
            batch: tower inputs by modality; for ``extras`` also ``inputs["mel"]`` with ``target`` and
                ``noise`` float32 [B, 1, F, T], ``timesteps`` int64 [B], ``condition`` unit float32 [B, D],
                and ``kept`` bool [B], False where the condition is left out.
            tokens: modalities whose token states are kept.
            extras: of ``prediction`` and ``wanted`` float32 [B, 1, F, T], ``signal_to_noise`` and
                ``error_scale`` float32 [B]; see :mod:`.noise`.

        Raises:
            InputError: extras that do not exist, or a batch without what they need.
        """
        towers = {name: given for name, given in batch.inputs.items() if name != "mel"}
        outputs = super().forward(Batch(towers, batch.labels, batch.ids, batch.extras), tokens=tokens)
        unknown = sorted(set(extras) - set(EXTRAS))
        if unknown:
            raise InputError(f"The model has no extra {unknown[0]!r}; it has {', '.join(EXTRAS)}.")
        if not extras:
            return outputs
        found = self._denoise(batch)
        return Outputs(
            outputs.embeddings,
            outputs.logit_scale,
            outputs.logit_bias,
            outputs.tokens,
            {name: found[name] for name in extras},
        )

    def _denoise(self, batch: Batch) -> dict[str, Tensor]:
        """Return every extra of a batch."""
        given = batch.inputs.get("mel", {})
        missing = [k for k in ("target", "noise", "timesteps", "condition", "kept") if k not in given]
        if missing:
            raise InputError(f"Denoising needs inputs['mel'][{missing[0]!r}], which the batch lacks.")
        schedule, steps = self.options.noise, given["timesteps"]
        noisy = add_noise(schedule, given["target"], given["noise"], steps)
        prediction = self.denoiser(noisy, steps, self.drive(given["condition"], given["kept"]))
        ratio, scale = error_scale(schedule, steps)
        return {
            "prediction": prediction,
            "wanted": wanted(schedule, given["target"], given["noise"], steps),
            "signal_to_noise": ratio,
            "error_scale": scale,
        }
